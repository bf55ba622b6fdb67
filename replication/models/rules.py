"""Which objects of a source are kept equal at which place of a destination, and how."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning
from replication.mapping.filters import key_filter
from replication.mapping.keys import KeyPolicy
from replication.mapping.metadata import MetadataPolicy
from replication.mapping.tags import TagPolicy
from replication.models.locations import Destination, Source
from replication.models.validators import NAME, validate_globs, validate_storage_classes


class DeletePolicy(models.TextChoices):
    KEEP = "keep", _("keep the replica")
    MIRROR = "mirror", _("delete the replica")


class ArchivePolicy(models.TextChoices):
    FAIL = "fail", _("fail: restore first")
    RESTORE = "restore", _("restore it, and wait for that")


class RestoreTier(models.TextChoices):
    """S3's words."""

    STANDARD = "Standard", _("Standard")
    BULK = "Bulk", _("Bulk")
    EXPEDITED = "Expedited", _("Expedited (not of DEEP_ARCHIVE)")


class ObjectAcl(models.TextChoices):
    DEFAULT = "default", _("the bucket's")
    PRIVATE = "private", _("private")
    PUBLIC_READ = "public-read", _("public read")
    PUBLIC_READ_WRITE = "public-read-write", _("public read and write")


class EncryptionMethod(models.TextChoices):
    BUCKET = "", _("as the bucket says")
    AES256 = "AES256", _("AES256, with keys of OSS's")
    KMS = "KMS", _("KMS")
    SM4 = "SM4", _("SM4")


class ReplicationRule(models.Model):
    """Which objects of a source are kept equal at which place of a destination."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    source = models.ForeignKey(
        Source, models.PROTECT, related_name="rules", verbose_name=_("source")
    )
    destination = models.ForeignKey(
        Destination, models.PROTECT, related_name="rules", verbose_name=_("destination")
    )
    source_prefix = models.CharField(
        _("source prefix"), max_length=1024, blank=True, help_text=_("Only keys that begin so.")
    )
    source_suffix = models.CharField(
        _("source suffix"), max_length=1024, blank=True, help_text=_("Only keys that end so.")
    )
    include = models.TextField(
        _("include"),
        blank=True,
        validators=[validate_globs],
        help_text=_("Only keys that match one of these globs, one on each line: photos/**/*.jpg"),
    )
    exclude = models.TextField(
        _("exclude"),
        blank=True,
        validators=[validate_globs],
        help_text=_("No key that matches one of these globs."),
    )
    destination_prefix = models.CharField(
        _("destination prefix"),
        max_length=1024,
        blank=True,
        help_text=_("Put in front of each key at the destination."),
    )
    strip_source_prefix = models.BooleanField(
        _("strip source prefix"),
        default=False,
        help_text=_("Take the source prefix off before the destination prefix is put in front."),
    )
    delete_policy = models.CharField(
        _("when an object is deleted"),
        max_length=8,
        choices=DeletePolicy,
        default=DeletePolicy.KEEP,
    )
    key_policy = models.CharField(
        _("keys that OSS can't have"),
        max_length=8,
        choices=[
            (KeyPolicy.FAIL.value, _("fail, with the reason")),
            (KeyPolicy.SKIP.value, _("leave the object out, on record")),
            (KeyPolicy.REWRITE.value, _("rewrite the key, reversibly")),
        ],
        default=KeyPolicy.FAIL.value,
    )
    metadata_policy = models.CharField(
        _("metadata that OSS can't keep"),
        max_length=8,
        choices=[
            (MetadataPolicy.FAIL.value, _("fail, with the reason")),
            (MetadataPolicy.DROP.value, _("copy without it, on record")),
            (MetadataPolicy.REWRITE.value, _("rewrite it, reversibly")),
        ],
        default=MetadataPolicy.FAIL.value,
    )
    tag_policy = models.CharField(
        _("tags that OSS can't have"),
        max_length=8,
        choices=[
            (TagPolicy.FAIL.value, _("fail, with the reason")),
            (TagPolicy.DROP.value, _("copy without them, on record")),
        ],
        default=TagPolicy.FAIL.value,
    )
    storage_classes = models.TextField(
        _("storage classes"),
        blank=True,
        validators=[validate_storage_classes],
        help_text=_(
            "From S3's to OSS's: STANDARD_IA=IA, GLACIER=Archive, *=Standard; or natural. "
            "Empty: Standard for all."
        ),
    )
    acl = models.CharField(
        _("access of replicas"), max_length=17, choices=ObjectAcl, default=ObjectAcl.DEFAULT
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
        help_text=_("With KMS; empty for the key that OSS manages."),
    )
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("Events of a disabled rule are counted and dropped."),
    )
    max_concurrency = models.PositiveIntegerField(
        _("transfers at once at most"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Of all lanes together; empty: as many as the lanes have places."),
    )
    max_deletes_per_hour = models.PositiveIntegerField(
        _("deletes in an hour at most"),
        null=True,
        blank=True,
        help_text=_("More of them wait until a person confirms them; empty: any number."),
    )
    max_delete_percent = models.PositiveSmallIntegerField(
        _("deletes in percent of an hour's jobs at most"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        help_text=_("As above, counted from the hundredth job of the hour on; empty: any share."),
    )
    archive_policy = models.CharField(
        _("objects in GLACIER or DEEP_ARCHIVE"),
        max_length=8,
        choices=ArchivePolicy,
        default=ArchivePolicy.FAIL,
        help_text=_("Restoring costs money, and needs the right s3:RestoreObject."),
    )
    restore_days = models.PositiveSmallIntegerField(
        _("restored for how many days"), default=3, validators=[MinValueValidator(1)]
    )
    restore_tier = models.CharField(
        _("restored how"), max_length=9, choices=RestoreTier, default=RestoreTier.STANDARD
    )
    paused_at = models.DateTimeField(
        _("paused since"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Jobs of a paused rule are kept and wait."),
    )

    # parking.py alone writes these.
    errors_in_a_row = models.PositiveIntegerField(
        _("errors in a row that need a person"), default=0, editable=False
    )
    parked_at = models.DateTimeField(
        _("parked since"),
        null=True,
        editable=False,
        help_text=_("Jobs of a parked rule wait; one is tried now and then, until one succeeds."),
    )
    parked_code = models.CharField(_("parked for"), max_length=32, default="", editable=False)
    parked_detail = models.TextField(_("parked for, in detail"), default="", editable=False)
    probe_at = models.DateTimeField(_("tried again at"), null=True, editable=False)

    # brake.py alone writes this.
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
            )
        ]
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="rule_kms_key_goes_with_kms",
                condition=Q(kms_key_id="") | Q(encryption=EncryptionMethod.KMS),
                violation_error_message=_("A KMS key id needs the encryption KMS."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def matches(self, key: str) -> bool:
        """Whether the rule asks for this key of its source."""
        keys = key_filter(self.source_prefix, self.source_suffix, self.include, self.exclude)
        return keys.matches(key)

    def destination_key(self, key: str) -> str:
        """Where the rule keeps the replica of a key of its source."""
        if self.strip_source_prefix:
            key = key.removeprefix(self.source_prefix)
        return self.destination_prefix + key

    @property
    def has_brake(self) -> bool:
        """Whether its deletes have to be asked for."""
        return (
            self.max_deletes_per_hour is not None
            or self.max_delete_percent is not None
            or self.braked_at is not None
        )

    @property
    def parked_for(self) -> Meaning | None:
        """What holds the rule up, in words."""
        return MEANINGS[ErrorCode(self.parked_code)] if self.parked_at else None

    @classmethod
    def pause(cls, rules: models.QuerySet["ReplicationRule"]) -> int:
        """Stop working on these rules' jobs; events go on making them. Returns how many changed."""
        return rules.filter(paused_at__isnull=True).update(paused_at=Now())
