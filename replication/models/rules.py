"""What is to be kept equal: sources, destinations, the rules between them, and the queues."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning

_name = RegexValidator(
    r"^[a-z0-9][a-z0-9-]*$",
    _("Use lower-case letters, digits and hyphens; start with a letter or digit."),
)
_profile = RegexValidator(
    r"^[a-z0-9][a-z0-9_]*$", _("Use lower-case letters, digits and underscores.")
)
_domain = RegexValidator(
    # The usual ports are left out of a Host header, so a domain with one would never be found.
    r"^[a-z0-9.-]+(?!:80$|:443$)(:[0-9]+)?$",
    _("A host name in lower case without scheme or path, e.g. files.example.com"),
)
_http_url = RegexValidator(
    r"^https?://[^/?#@\s]+/?$",
    _("An http:// or https:// address without a path, e.g. https://host:9000"),
)
_queue_url = RegexValidator(
    r"^https?://[^/?#@\s]+/[^\s?#]+$", _("The queue's URL as the SQS console shows it.")
)


class SourceKind(models.TextChoices):
    S3 = "s3", _("S3 bucket")
    HTTP = "http", _("HTTP(S) domain")


class Source(models.Model):
    """Where objects come from: an S3 bucket, or a plain web server."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[_name])
    kind = models.CharField(_("kind"), max_length=8, choices=SourceKind, default=SourceKind.S3)
    bucket = models.CharField(_("bucket"), max_length=255, blank=True, db_index=True)
    region = models.CharField(_("region"), max_length=40, blank=True, help_text=_("e.g. ap-east-1"))
    endpoint_url = models.CharField(
        _("endpoint URL"),
        max_length=255,
        blank=True,
        validators=[_http_url],
        help_text=_("For S3: empty for AWS. For HTTP: the address objects are fetched from."),
    )
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        default="default",
        validators=[_profile],
        help_text=_("Where the credentials are found; they are never kept in the database."),
    )

    class Meta:
        verbose_name = _("source")
        verbose_name_plural = _("sources")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="source_has_what_its_kind_needs",
                condition=Q(kind=SourceKind.S3, bucket__gt="", region__gt="")
                | Q(kind=SourceKind.HTTP, bucket="", endpoint_url__gt=""),
                violation_error_message=_(
                    "An S3 source needs a bucket and a region; "
                    "an HTTP source needs an endpoint URL and no bucket."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SourceDomain(models.Model):
    """A domain under which a source's objects can be downloaded; callers of the API name it."""

    source = models.ForeignKey(
        Source, models.CASCADE, related_name="domains", verbose_name=_("source")
    )
    domain = models.CharField(_("domain"), max_length=255, unique=True, validators=[_domain])

    class Meta:
        verbose_name = _("domain")
        verbose_name_plural = _("domains")
        ordering = ["domain"]

    def __str__(self) -> str:
        return self.domain


class Addressing(models.TextChoices):
    VIRTUAL_HOST = "virtual_host", _("bucket.endpoint (usual)")
    CUSTOM_DOMAIN = "custom_domain", _("custom domain (CNAME) that stands for the bucket")
    PATH = "path", _("endpoint/bucket (private installations)")


class Destination(models.Model):
    """An OSS bucket that replicas are written to."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[_name])
    bucket = models.CharField(_("bucket"), max_length=63)
    endpoint = models.CharField(
        _("endpoint"),
        max_length=255,
        validators=[_http_url],
        help_text=_("e.g. https://oss-cn-hangzhou.aliyuncs.com"),
    )
    region = models.CharField(
        _("region"), max_length=40, help_text=_("e.g. cn-hangzhou; V4 signatures need it")
    )
    addressing = models.CharField(
        _("addressing"), max_length=16, choices=Addressing, default=Addressing.VIRTUAL_HOST
    )
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        default="default",
        validators=[_profile],
        help_text=_("Where the credentials are found; they are never kept in the database."),
    )
    max_requests_per_second = models.PositiveIntegerField(
        _("requests per second at most"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Writes that all lanes together start; empty: no limit."),
    )
    max_bytes_per_second = models.PositiveBigIntegerField(
        _("bytes per second at most"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("What all lanes together send; empty: no limit."),
    )

    # pace.py alone writes these.
    throttled_until = models.DateTimeField(
        _("throttled until"),
        null=True,
        editable=False,
        help_text=_("OSS asked for fewer requests; no lane starts a transfer to it before."),
    )
    width = models.FloatField(
        _("transfers at once, when last throttled"),
        null=True,
        editable=False,
        help_text=_("As many as OSS can take for now; they double every few seconds."),
    )
    width_at = models.DateTimeField(_("growing since"), null=True, editable=False)
    # All that was started or sent so far fits into the time until then, at the limit's rate; up to
    # a second of the past is still to be had.
    requests_paced_until = models.DateTimeField(null=True, editable=False)
    bytes_paced_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class DeletePolicy(models.TextChoices):
    KEEP = "keep", _("keep the replica")
    MIRROR = "mirror", _("delete the replica")


class ReplicationRule(models.Model):
    """Which objects of a source are kept equal at which place of a destination."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[_name])
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

    class Meta:
        verbose_name = _("replication rule")
        verbose_name_plural = _("replication rules")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def matches(self, key: str) -> bool:
        """Whether the rule asks for this key of its source."""
        return key.startswith(self.source_prefix) and key.endswith(self.source_suffix)

    def destination_key(self, key: str) -> str:
        """Where the rule keeps the replica of a key of its source."""
        if self.strip_source_prefix:
            key = key.removeprefix(self.source_prefix)
        return self.destination_prefix + key

    @property
    def parked_for(self) -> Meaning | None:
        """What holds the rule up, in words."""
        return MEANINGS[ErrorCode(self.parked_code)] if self.parked_at else None

    @classmethod
    def pause(cls, rules: models.QuerySet["ReplicationRule"]) -> int:
        """Stop working on these rules' jobs; events go on making them. Returns how many changed."""
        return rules.filter(paused_at__isnull=True).update(paused_at=Now())


class EventQueue(models.Model):
    """An SQS queue that S3 events arrive in."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[_name])
    url = models.CharField(
        _("queue URL"),
        max_length=255,
        unique=True,
        validators=[_queue_url],
        help_text=_("e.g. https://sqs.ap-east-1.amazonaws.com/123456789012/s3sync"),
    )
    region = models.CharField(_("region"), max_length=40)
    credential_profile = models.CharField(
        _("credential profile"), max_length=40, default="default", validators=[_profile]
    )
    enabled = models.BooleanField(_("enabled"), default=True)

    # What the pollers found; they alone write these.
    messages_received = models.BigIntegerField(_("messages received"), default=0, editable=False)
    records_unmatched = models.BigIntegerField(
        _("records without a rule"),
        default=0,
        editable=False,
        help_text=_(
            "Records of objects that no enabled rule asks for; they are counted, not kept."
        ),
    )
    last_message_at = models.DateTimeField(_("last message"), null=True, editable=False)
    last_polled_at = models.DateTimeField(_("last polled"), null=True, editable=False)
    last_error = models.TextField(_("last error"), blank=True, editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, editable=False)
    depth = models.BigIntegerField(
        _("depth"),
        null=True,
        editable=False,
        help_text=_("Messages that wait in SQS; unknown without sqs:GetQueueAttributes."),
    )

    class Meta:
        verbose_name = _("event queue")
        verbose_name_plural = _("event queues")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
