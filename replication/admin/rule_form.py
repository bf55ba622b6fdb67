"""The form of a rule: the fields in the order of the decisions, each with its effect."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from replication.admin.approval import ApprovedForm
from replication.admin.collisions import CollisionFreeForm
from replication.mapping.keys import KeyPolicy
from replication.mapping.metadata import MetadataPolicy
from replication.mapping.tags import TagPolicy
from replication.models import EncryptionMethod, ReplicationRule

MULTILINE_FIELDS = ("include", "exclude", "storage_classes")
# Not stripped: white space at either end belongs to the key, and multi-line texts must stay
# exactly as a rules file has them.
NOT_STRIPPED = {"source_prefix", "source_suffix", "destination_prefix", *MULTILINE_FIELDS}

_MULTILINE_ATTRS = {"rows": 3, "class": "vLargeTextField lines", "spellcheck": "false"}

FIELDSETS: tuple[tuple[Any, Any], ...] = (
    (None, {"fields": ("name", "enabled")}),
    (
        gettext_lazy("Which objects"),
        {
            "fields": (
                *("source", "source_prefix", "source_suffix", "include", "exclude"),
                "backfill",
            ),
            "description": gettext_lazy(
                "Empty fields select every object of the source. A key must match every field that "
                "you fill in. Upper and lower case matter; in prefix and suffix, spaces too."
            ),
        },
    ),
    (
        gettext_lazy("Where the replicas go"),
        {
            "fields": ("destination", "destination_prefix", "strip_source_prefix"),
            "description": gettext_lazy(
                "A replica has the same key as its object, unless you change that here."
            ),
        },
    ),
    (
        gettext_lazy("What OSS does not accept"),
        {
            "fields": ("key_policy", "metadata_policy", "tag_policy"),
            "description": gettext_lazy(
                "S3 allows some keys, metadata and tags that OSS refuses or would change. s3sync "
                "finds them before it copies anything. The job shows what was left out or "
                "rewritten."
            ),
        },
    ),
    (
        gettext_lazy("Storage class, access, encryption"),
        {"fields": ("storage_classes", "acl", "encryption", "kms_key_id")},
    ),
    (
        gettext_lazy("Deletes"),
        {
            "fields": (
                "delete_policy",
                "unmarked_policy",
                "max_deletes_per_hour",
                "max_delete_percent",
            )
        },
    ),
    (
        gettext_lazy("Archived objects"),
        {"fields": ("archive_policy", "restore_days", "restore_tier")},
    ),
    (gettext_lazy("Limits"), {"fields": ("max_concurrency",)}),
    (gettext_lazy("Lost events"), {"fields": ("canary",)}),
)

HELP_TEXTS = {
    "include": gettext_lazy(
        "One glob per line; a key must match at least one. A glob must match the whole key: "
        "* matches anything within a folder, ** anything, also across folders, ? one character, "
        "[a-z] one of these characters; e.g. photos/**/*.jpg"
    ),
    "exclude": gettext_lazy("One glob per line; a key must match none of them; e.g. **/tmp/**"),
    "key_policy": gettext_lazy(
        "Keys that are empty or over 1,023 bytes, begin with a slash, or have control characters."
    ),
    "metadata_policy": gettext_lazy(
        "User metadata with underscores in names, with non-ASCII values if the bucket refuses "
        "them, or over 8 KB in total."
    ),
    "tag_policy": gettext_lazy(
        "More than 10 tags, tags that are too long, or tags with @, or with letters other than "
        "A-Z, a-z if the bucket refuses them. "
        "Tags are never rewritten, because lifecycle rules and policies depend on them."
    ),
    "storage_classes": gettext_lazy(
        "S3 class=OSS class: STANDARD_IA=IA, GLACIER=Archive, *=Standard; or natural: the closest "
        "class for each. Empty: Standard for all. OSS bills at least 30 days of IA, 60 of Archive, "
        "180 of ColdArchive, even if the replica is overwritten the next day."
    ),
    "delete_policy": gettext_lazy(
        "Applies only if the source clearly says that the object does not exist, never after an "
        "error."
    ),
}

_FAIL_EFFECT = gettext_lazy(
    "The job fails. It stays in the list of failures, which says what to do, until you act."
)
# What each choice does, shown beside its name.
CHOICE_EFFECTS: dict[str, dict[str, Any]] = {
    "key_policy": {
        KeyPolicy.FAIL: _FAIL_EFFECT,
        KeyPolicy.SKIP: gettext_lazy("The job ends as “skipped”; nothing is copied."),
        KeyPolicy.REWRITE: gettext_lazy(
            "The replica's key is the destination prefix and .s3sync-key/…; the original key is in "
            "the replica's metadata."
        ),
    },
    "metadata_policy": {
        MetadataPolicy.FAIL: _FAIL_EFFECT,
        MetadataPolicy.DROP: gettext_lazy("The replica does not have the field."),
        MetadataPolicy.REWRITE: gettext_lazy(
            "The field is kept as x-oss-meta-s3sync-meta-…, and can be restored from there."
        ),
    },
    "tag_policy": {
        TagPolicy.FAIL: _FAIL_EFFECT,
        TagPolicy.DROP: gettext_lazy("The replica does not have the tag."),
    },
}


class RuleForm(ApprovedForm, CollisionFreeForm):
    class Meta:
        model = ReplicationRule
        fields = tuple(name for _title, options in FIELDSETS for name in options["fields"])
        help_texts = HELP_TEXTS
        widgets = dict.fromkeys(MULTILINE_FIELDS, forms.Textarea(attrs=_MULTILINE_ATTRS))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, effects in CHOICE_EFFECTS.items():
            field: Any = self.fields.get(name)  # missing on a read-only page
            if field is not None:
                field.choices = [
                    (value, format_html('{}. <span class="help">{}</span>', label, effects[value]))
                    for value, label in field.choices
                ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in MULTILINE_FIELDS:
            # Browsers send CRLF; rules files and the database have LF.
            if name in cleaned:
                cleaned[name] = cleaned[name].replace("\r\n", "\n")
        if cleaned.get("kms_key_id") and cleaned.get("encryption") != EncryptionMethod.KMS:
            self.add_error(
                "kms_key_id",
                ValidationError(
                    _("A KMS key id requires the encryption KMS: choose KMS, or clear the key id.")
                ),
            )
        return cleaned
