"""Where objects come from and where replicas go."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.models.validators import NAME, PROFILE

_domain = RegexValidator(
    # The usual ports are left out of a Host header, so a domain with one would never be found.
    r"^[a-z0-9.-]+(?!:80$|:443$)(:[0-9]+)?$",
    _("A host name in lower case without scheme or path, e.g. files.example.com"),
)
_http_url = RegexValidator(
    r"^https?://[^/?#@\s]+/?$",
    _("An http:// or https:// address without a path, e.g. https://host:9000"),
)


class SourceKind(models.TextChoices):
    S3 = "s3", _("S3 bucket")
    HTTP = "http", _("HTTP(S) domain")


class Source(models.Model):
    """Where objects come from: an S3 bucket, or a plain web server."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
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
        validators=[PROFILE],
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

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
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
        validators=[PROFILE],
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
