"""Replication rules: which objects of a source are copied to a destination, and how."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning
from replication.mapping.filters import key_filter
from replication.mapping.keys import KeyPolicy
from replication.mapping.metadata import MetadataPolicy
from replication.mapping.tags import TagPolicy
from replication.models.locations import Destination, Source, SourceKind
from replication.models.validators import NAME, validate_globs, validate_storage_classes


class DeletePolicy(models.TextChoices):
    KEEP = "keep", _("keep the replica")
    MIRROR = "mirror", _("delete the replica")


class UnmarkedPolicy(models.TextChoices):
    HOLD = "hold", _("hold the delete for a person")
    DELETE = "delete", _("delete them like replicas of s3sync")


class ArchivePolicy(models.TextChoices):
    FAIL = "fail", _("fail: restore them in S3 first")
    RESTORE = "restore", _("restore them, and wait for the restore")


class RestoreTier(models.TextChoices):
    """S3's names for the restore tiers."""

    STANDARD = "Standard", _("Standard")
    BULK = "Bulk", _("Bulk")
    EXPEDITED = "Expedited", _("Expedited (not for DEEP_ARCHIVE)")


class ObjectAcl(models.TextChoices):
    DEFAULT = "default", _("as the bucket's")
    PRIVATE = "private", _("private")
    PUBLIC_READ = "public-read", _("public read")
    PUBLIC_READ_WRITE = "public-read-write", _("public read and write")


PUBLIC_ACLS = frozenset({ObjectAcl.PUBLIC_READ, ObjectAcl.PUBLIC_READ_WRITE})


class EncryptionMethod(models.TextChoices):
    BUCKET = "", _("as the bucket's")
    AES256 = "AES256", _("AES256, with keys that OSS manages")
    KMS = "KMS", _("KMS")
    SM4 = "SM4", _("SM4")


# The last part of a canary's key, before the rule's suffix.
CANARY_NAME = ".s3sync-canary"


class ReplicationRule(models.Model):
    """Which objects of a source are kept equal at a destination, and under which keys."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    source = models.ForeignKey(
        Source, models.PROTECT, related_name="rules", verbose_name=_("source")
    )
    destination = models.ForeignKey(
        Destination, models.PROTECT, related_name="rules", verbose_name=_("destination")
    )
    source_prefix = models.CharField(
        _("source prefix"),
        max_length=1024,
        blank=True,
        help_text=_("Only keys that begin with this."),
    )
    source_suffix = models.CharField(
        _("source suffix"),
        max_length=1024,
        blank=True,
        help_text=_("Only keys that end with this."),
    )
    include = models.TextField(
        _("include"),
        blank=True,
        validators=[validate_globs],
        help_text=_("Only keys that match one of these globs; one per line, e.g. photos/**/*.jpg"),
    )
    exclude = models.TextField(
        _("exclude"),
        blank=True,
        validators=[validate_globs],
        help_text=_("No keys that match one of these globs; one per line."),
    )
    destination_prefix = models.CharField(
        _("destination prefix"),
        max_length=1024,
        blank=True,
        help_text=_("Added in front of each key at the destination."),
    )
    strip_source_prefix = models.BooleanField(
        _("strip source prefix"),
        default=False,
        help_text=_("Remove the source prefix before the destination prefix is added."),
    )
    delete_policy = models.CharField(
        _("when an object is deleted"),
        max_length=8,
        choices=DeletePolicy,
        default=DeletePolicy.KEEP,
    )
    unmarked_policy = models.CharField(
        _("replicas without a mark of s3sync"),
        max_length=8,
        choices=UnmarkedPolicy,
        default=UnmarkedPolicy.HOLD,
        db_default=UnmarkedPolicy.HOLD,
        help_text=_(
            "What to do when their object is deleted. Choose delete if another tool made the first "
            "copy, and nothing else writes below the destination prefix."
        ),
    )
    key_policy = models.CharField(
        _("keys that OSS does not accept"),
        max_length=8,
        choices=[
            (KeyPolicy.FAIL.value, _("fail, with the reason")),
            (KeyPolicy.SKIP.value, _("skip the object, and record it")),
            (KeyPolicy.REWRITE.value, _("rewrite the key, reversibly")),
        ],
        default=KeyPolicy.FAIL.value,
    )
    metadata_policy = models.CharField(
        _("metadata that OSS does not accept"),
        max_length=8,
        choices=[
            (MetadataPolicy.FAIL.value, _("fail, with the reason")),
            (MetadataPolicy.DROP.value, _("copy without it, and record it")),
            (MetadataPolicy.REWRITE.value, _("rewrite it, reversibly")),
        ],
        default=MetadataPolicy.FAIL.value,
    )
    tag_policy = models.CharField(
        _("tags that OSS does not accept"),
        max_length=8,
        choices=[
            (TagPolicy.FAIL.value, _("fail, with the reason")),
            (TagPolicy.DROP.value, _("copy without them, and record it")),
        ],
        default=TagPolicy.FAIL.value,
    )
    storage_classes = models.TextField(
        _("storage classes"),
        blank=True,
        validators=[validate_storage_classes],
        help_text=_(
            "S3 class = OSS class, e.g. STANDARD_IA=IA, GLACIER=Archive, *=Standard; or natural. "
            "Empty: Standard for all."
        ),
    )
    acl = models.CharField(
        _("ACL of replicas"), max_length=17, choices=ObjectAcl, default=ObjectAcl.DEFAULT
    )
    encryption = models.CharField(
        _("encryption of replicas"),
        max_length=6,
        choices=EncryptionMethod,
        default=EncryptionMethod.BUCKET,
        blank=True,
    )
    kms_key_id = models.CharField(
        _("KMS key id"),
        max_length=255,
        blank=True,
        help_text=_("Only with KMS; empty: the key that OSS manages."),
    )
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("Events for a disabled rule are counted and dropped."),
    )
    backfill = models.BooleanField(
        _("copy what is there already"),
        default=False,
        db_default=False,
        help_text=_(
            "Once: the first backfill of the rule starts by itself. Without it, only what changes "
            "from now on is copied."
        ),
    )
    max_concurrency = models.PositiveIntegerField(
        _("maximum concurrent transfers"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("For all lanes together; empty: limited only by the lanes' own concurrency."),
    )
    max_deletes_per_hour = models.PositiveIntegerField(
        _("maximum deletes per hour"),
        null=True,
        blank=True,
        help_text=_("Further deletes wait until a person confirms them; empty: no limit."),
    )
    max_delete_percent = models.PositiveSmallIntegerField(
        _("maximum deletes as a percentage of an hour's jobs"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text=_(
            "Further deletes wait until a person confirms them; counts from the hundredth job of "
            "the hour on; empty: no limit."
        ),
    )
    archive_policy = models.CharField(
        _("objects in GLACIER or DEEP_ARCHIVE"),
        max_length=8,
        choices=ArchivePolicy,
        default=ArchivePolicy.FAIL,
        help_text=_("A restore costs money, and needs the permission s3:RestoreObject."),
    )
    restore_days = models.PositiveSmallIntegerField(
        _("days to keep restored objects"), default=3, validators=[MinValueValidator(1)]
    )
    restore_tier = models.CharField(
        _("restore tier"), max_length=9, choices=RestoreTier, default=RestoreTier.STANDARD
    )
    canary = models.BooleanField(
        _("put a canary at the source"),
        default=False,
        db_default=False,
        help_text=_(
            "Every 5 minutes s3sync overwrites the object <source prefix>.s3sync-canary<source "
            "suffix> in the source bucket. If its event does not arrive, the status page says so "
            "within minutes. Needs s3:PutObject on that key; costs some 300 small PUTs a day, and "
            "a version each if the bucket keeps versions. The object stays when you switch this "
            "off."
        ),
    )
    paused_at = models.DateTimeField(
        _("paused since"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Jobs of a paused rule are kept and wait until the rule is resumed."),
    )

    # What changed before is no lost event, but older than the rule.
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)

    # A trigger of the database raises it with each change that an operator makes to the rule, its
    # source or its destination. What the service itself writes does not count.
    version = models.BigIntegerField(_("version"), db_default=1, editable=False)

    # Only jobs/circuits.py writes these: the oldest open circuit that the rule is behind.
    parked_at = models.DateTimeField(
        _("parked since"),
        null=True,
        editable=False,
        help_text=_("Jobs of a parked rule wait; one is tried at intervals until one succeeds."),
    )
    parked_code = models.CharField(_("parked for"), max_length=32, default="", editable=False)
    parked_detail = models.TextField(_("parked for (detail)"), default="", editable=False)

    # Only jobs/delete_brake.py writes this.
    braked_at = models.DateTimeField(
        _("deletes braked since"),
        null=True,
        editable=False,
        help_text=_("Deletes of a braked rule wait until a person confirms them."),
    )

    class Meta:
        verbose_name = _("replication rule")
        verbose_name_plural = _("replication rules")
        permissions = [
            (
                "operate_replicationrule",
                "Can pause, resume, look again, and confirm deletes of replication rules",
            ),
            ("approve_replicationrule", "Can make replicas public"),
        ]
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="rule_kms_key_goes_with_kms",
                condition=Q(kms_key_id="") | Q(encryption=EncryptionMethod.KMS),
                violation_error_message=_("A KMS key id needs the encryption method KMS."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a backfill from what can't be listed, and a canary that can't be put, or whose
        event no job would come of.

        Raises:
            ValidationError: of the fields `backfill` and `canary`.
        """
        super().clean()
        mistakes = {}
        if self.backfill and self.source_id is not None and self.source.kind == SourceKind.HTTP:
            mistakes["backfill"] = gettext(
                "A web server can't be listed, so there is nothing to copy at once."
            )
        if self.canary and (mistake := self._canary_mistake()):
            mistakes["canary"] = mistake
        if mistakes:
            raise ValidationError(mistakes)

    def _canary_mistake(self) -> str:
        if self.source_id and self.source.kind != SourceKind.S3:
            return gettext(
                "Only a bucket of S3 can have a canary: nothing is written to a web server."
            )
        try:
            is_covered = self.matches(self.canary_key)
        except ValueError:  # a glob is wrong, which is said where it stands
            return ""
        if is_covered:
            return ""
        return gettext(
            "The rule's filters leave out the canary %(key)s, so its event would never count: add "
            "a line with this key to include, or remove the glob of exclude that matches it."
        ) % {"key": self.canary_key}

    @property
    def canary_key(self) -> str:
        """The key of the rule's canary. It passes the prefix and the suffix of the rule."""
        return f"{self.source_prefix}{CANARY_NAME}{self.source_suffix}"

    def matches(self, key: str) -> bool:
        """Whether the rule covers this key of its source."""
        keys = key_filter(self.source_prefix, self.source_suffix, self.include, self.exclude)
        return keys.matches(key)

    def asks_for(self, key: str, *, ignoring_filters: bool = False) -> bool:
        """Whether a job of the rule may touch this key. No job may touch one outside the prefix."""
        return key.startswith(self.source_prefix) and (ignoring_filters or self.matches(key))

    def destination_key(self, key: str) -> str:
        """The destination key for a key of the source."""
        if self.strip_source_prefix:
            key = key.removeprefix(self.source_prefix)
        return self.destination_prefix + key

    @property
    def has_brake(self) -> bool:
        """Whether each delete needs a permit first."""
        return (
            self.max_deletes_per_hour is not None
            or self.max_delete_percent is not None
            or self.braked_at is not None
        )

    @property
    def parked_for(self) -> Meaning | None:
        """What an operator reads about the error that parked the rule; None if it is not parked."""
        return MEANINGS[ErrorCode(self.parked_code)] if self.parked_at else None

    @classmethod
    def pause(cls, rules: models.QuerySet["ReplicationRule"]) -> int:
        """Stop work on the rules' jobs; events still create jobs. Returns how many were paused."""
        return rules.filter(paused_at__isnull=True).update(paused_at=Now())
