"""The form of a rule: its fields in the order in which one thinks, each with what it does."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from replication.mapping.keys import KeyPolicy
from replication.mapping.metadata import MetadataPolicy
from replication.mapping.tags import TagPolicy
from replication.models import EncryptionMethod, ReplicationRule

LINES = ("include", "exclude", "storage_classes")
# White space at either end of these is a part of the key; a text of lines stays as a file has it.
KEPT_WHOLE = {"source_prefix", "source_suffix", "destination_prefix", *LINES}

_LINES_LOOK = {"rows": 3, "class": "vLargeTextField lines", "spellcheck": "false"}

FIELDSETS: tuple[tuple[Any, Any], ...] = (
    (None, {"fields": ("name", "enabled")}),
    (
        gettext_lazy("Which objects"),
        {
            "fields": ("source", "source_prefix", "source_suffix", "include", "exclude"),
            "description": gettext_lazy(
                "Left empty, every object of the source. What is entered must all hold, and is "
                "compared as it stands, with capitals; in prefix and suffix with spaces too."
            ),
        },
    ),
    (
        gettext_lazy("Where the replicas go"),
        {
            "fields": ("destination", "destination_prefix", "strip_source_prefix"),
            "description": gettext_lazy(
                "A replica has its object's key, unless you say otherwise here."
            ),
        },
    ),
    (
        gettext_lazy("What OSS can't have"),
        {
            "fields": ("key_policy", "metadata_policy", "tag_policy"),
            "description": gettext_lazy(
                "S3 allows some keys, metadata and tags that OSS refuses or would change. They are "
                "found before a byte moves. What is left out or rewritten is noted on the job."
            ),
        },
    ),
    (
        gettext_lazy("Storage class, access, encryption"),
        {"fields": ("storage_classes", "acl", "encryption", "kms_key_id")},
    ),
    (
        gettext_lazy("Deletes"),
        {"fields": ("delete_policy", "max_deletes_per_hour", "max_delete_percent")},
    ),
    (
        gettext_lazy("Archived objects"),
        {"fields": ("archive_policy", "restore_days", "restore_tier")},
    ),
    (gettext_lazy("Limits"), {"fields": ("max_concurrency",)}),
)

HELP_TEXTS = {
    "include": gettext_lazy(
        "One glob on each line; a key must match one of them. A glob is about the whole key: "
        "* is anything within a folder, ** anything at all, ? one character, [a-z] one of these; "
        "e.g. photos/**/*.jpg"
    ),
    "exclude": gettext_lazy("One glob on each line; a key must match none of them; e.g. **/tmp/**"),
    "key_policy": gettext_lazy(
        "Empty or over 1,023 bytes, with a slash in front, with control characters."
    ),
    "metadata_policy": gettext_lazy(
        "User metadata with underscores in names or anything but ASCII in values, or over 8 KB."
    ),
    "tag_policy": gettext_lazy(
        "More than 10, over-long ones, or with @ or letters beyond a to z. "
        "Tags are never rewritten: lifecycle rules and policies go by them."
    ),
    "storage_classes": gettext_lazy(
        "From S3's to OSS's: STANDARD_IA=IA, GLACIER=Archive, *=Standard; or natural, the closest "
        "for each. Empty: Standard for all. OSS bills at least 30 days of IA, 60 of Archive, 180 "
        "of ColdArchive, even if the replica is overwritten the next day."
    ),
    "delete_policy": gettext_lazy(
        "Only where S3 says cleanly that the object is not there; never after an error."
    ),
}

_FAILS = gettext_lazy("The job is among the failures, with what to do about it, until you act.")
# What each choice does, beside its name.
EFFECTS: dict[str, dict[str, Any]] = {
    "key_policy": {
        KeyPolicy.FAIL: _FAILS,
        KeyPolicy.SKIP: gettext_lazy("The job ends as “skipped”; nothing is copied."),
        KeyPolicy.REWRITE: gettext_lazy(
            "The replica is found at .s3sync-key/… behind the destination prefix, and has its own "
            "key in its metadata."
        ),
    },
    "metadata_policy": {
        MetadataPolicy.FAIL: _FAILS,
        MetadataPolicy.DROP: gettext_lazy("The replica goes without the field."),
        MetadataPolicy.REWRITE: gettext_lazy(
            "The field is kept as x-oss-meta-s3sync-meta-…, from which it can be had back."
        ),
    },
    "tag_policy": {
        TagPolicy.FAIL: _FAILS,
        TagPolicy.DROP: gettext_lazy("The replica goes without the tag."),
    },
}


class RuleForm(forms.ModelForm):
    class Meta:
        model = ReplicationRule
        fields = tuple(name for _title, options in FIELDSETS for name in options["fields"])
        help_texts = HELP_TEXTS
        widgets = dict.fromkeys(LINES, forms.Textarea(attrs=_LINES_LOOK))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, effects in EFFECTS.items():
            field: Any = self.fields.get(name)  # none where the page can only be read
            if field is not None:
                field.choices = [
                    (value, format_html('{}. <span class="help">{}</span>', label, effects[value]))
                    for value, label in field.choices
                ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in LINES:
            # Browsers end lines by CRLF; files and the database by LF.
            if name in cleaned:
                cleaned[name] = cleaned[name].replace("\r\n", "\n")
        if cleaned.get("kms_key_id") and cleaned.get("encryption") != EncryptionMethod.KMS:
            self.add_error(
                "kms_key_id",
                ValidationError(
                    _("A KMS key id needs the encryption KMS; choose it, or empty this.")
                ),
            )
        return cleaned
