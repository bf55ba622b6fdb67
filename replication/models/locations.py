"""Sources and destinations of objects."""

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from replication.mapping.capabilities import Capabilities
from replication.mapping.oss_names import oss_mistakes
from replication.mapping.place_names import Mistakes, web_mistakes
from replication.mapping.s3_names import s3_mistakes
from replication.models.validators import NAME, PROFILE

_domain = RegexValidator(
    # A Host header omits the default ports, so a domain with one of them would never match.
    r"^[a-z0-9.-]+(?!:80$|:443$)(:[0-9]+)?$",
    _("Enter a host name in lower case, without scheme or path, e.g. files.example.com"),
)
_http_url = RegexValidator(
    r"^https?://[^/?#@\s]+/?$",
    _("Enter an http:// or https:// address without a path, e.g. https://host:9000"),
)


class SourceKind(models.TextChoices):
    S3 = "s3", _("S3 bucket")
    HTTP = "http", _("HTTP(S) domain")


class Source(models.Model):
    """An S3 bucket or a plain web server that objects are read from."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    kind = models.CharField(_("kind"), max_length=8, choices=SourceKind, default=SourceKind.S3)
    bucket = models.CharField(_("bucket"), max_length=255, blank=True, db_index=True)
    region = models.CharField(_("region"), max_length=40, blank=True, help_text=_("e.g. ap-east-1"))
    endpoint_url = models.CharField(
        _("endpoint URL"),
        max_length=255,
        blank=True,
        validators=[_http_url],
        help_text=_("S3: leave empty for AWS. HTTP: the address that objects are fetched from."),
    )
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        default="default",
        validators=[PROFILE],
        help_text=_("The profile that holds the credentials; they are never in the database."),
    )
    requester_pays = models.BooleanField(
        _("requester pays"),
        default=False,
        db_default=False,
        help_text=_(
            "For a bucket of another account that makes the requester pay: the account of the "
            "credential profile is charged for requests and traffic."
        ),
    )

    class Meta:
        verbose_name = _("source")
        verbose_name_plural = _("sources")
        permissions = [("approve_source", "Can use credential profiles with new sources")]
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

    def clean(self) -> None:
        """Refuse names that boto3 does not take, or that can't work.

        Raises:
            ValidationError: by field.
        """
        if mistakes := self.mistakes:
            raise ValidationError(dict(mistakes))

    @property
    def mistakes(self) -> Mistakes:
        """What is wrong with the source's names, by field."""
        if self.kind == SourceKind.HTTP:
            payer = "Only a bucket of S3 can make the requester pay." if self.requester_pays else ""
            return web_mistakes(endpoint_url=self.endpoint_url) | (
                {"requester_pays": payer} if payer else {}
            )
        return s3_mistakes(bucket=self.bucket, region=self.region, endpoint_url=self.endpoint_url)

    @property
    def location(self) -> str:
        """The bucket's name or the web server's URL, as marks of ownership name it."""
        return self.bucket if self.kind == SourceKind.S3 else self.endpoint_url.rstrip("/")


class SourceDomain(models.Model):
    """A domain that serves a source's objects; API callers identify the source by it."""

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
    VIRTUAL_HOST = "virtual_host", _("bucket.endpoint (default)")
    CUSTOM_DOMAIN = "custom_domain", _("custom domain (CNAME) of the bucket")
    PATH = "path", _("endpoint/bucket (private installations)")


class Takes(models.TextChoices):
    """Whether a bucket takes something that OSS does not document."""

    UNKNOWN = "unknown", _("not known yet")
    YES = "yes", _("yes")
    NO = "no", _("no")


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
        _("region"), max_length=40, help_text=_("e.g. cn-hangzhou; required for V4 signatures")
    )
    addressing = models.CharField(
        _("addressing"), max_length=16, choices=Addressing, default=Addressing.VIRTUAL_HOST
    )
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        default="default",
        validators=[PROFILE],
        help_text=_("The profile that holds the credentials; they are never in the database."),
    )
    max_requests_per_second = models.PositiveIntegerField(
        _("maximum requests per second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Limit for the writes that all lanes together start; empty: no limit."),
    )
    max_bytes_per_second = models.PositiveBigIntegerField(
        _("maximum bytes per second"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Limit for the bytes that all lanes together send; empty: no limit."),
    )

    # Only `record_capabilities` writes these. A trigger forgets them with a new endpoint or bucket.
    takes_non_ascii_metadata = models.CharField(
        _("takes user metadata beyond ASCII"),
        max_length=8,
        choices=Takes,
        db_default=Takes.UNKNOWN,
        editable=False,
    )
    takes_non_ascii_tags = models.CharField(
        _("takes tags beyond ASCII"),
        max_length=8,
        choices=Takes,
        db_default=Takes.UNKNOWN,
        editable=False,
    )
    learned_at = models.DateTimeField(_("learned at"), null=True, editable=False)

    # Only jobs/rate_limits.py writes these.
    throttled_until = models.DateTimeField(
        _("throttled until"),
        null=True,
        editable=False,
        help_text=_("OSS asked for fewer requests; until then, no lane starts a transfer to it."),
    )
    width = models.FloatField(
        _("concurrent transfers when last throttled"),
        null=True,
        editable=False,
        help_text=_("The limit after the throttling; it doubles every few seconds."),
    )
    width_at = models.DateTimeField(_("growing since"), null=True, editable=False)
    # At the configured rate, the requests or bytes granted so far fill the time until then. Unused
    # capacity of the last second, and no more, can still be granted.
    requests_paced_until = models.DateTimeField(null=True, editable=False)
    bytes_paced_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("destination")
        verbose_name_plural = _("destinations")
        permissions = [("approve_destination", "Can use credential profiles with new destinations")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def capabilities(self) -> Capabilities:
        """What the bucket is known to take; where that is unknown, what OSS documents."""
        return Capabilities(
            non_ascii_metadata=self.takes_non_ascii_metadata == Takes.YES,
            non_ascii_tags=self.takes_non_ascii_tags == Takes.YES,
        )

    def lacks_answer_for(self, wanted: Capabilities) -> bool:
        """Whether it is unknown if the bucket has one of these capabilities."""
        return (wanted.non_ascii_metadata and self.takes_non_ascii_metadata == Takes.UNKNOWN) or (
            wanted.non_ascii_tags and self.takes_non_ascii_tags == Takes.UNKNOWN
        )

    def record_capabilities(self, *, non_ascii_metadata: Takes, non_ascii_tags: Takes) -> None:
        """Keep what the bucket takes, unless the destination has another bucket by now.

        UNKNOWN changes nothing.
        """
        answers = {
            "takes_non_ascii_metadata": non_ascii_metadata,
            "takes_non_ascii_tags": non_ascii_tags,
        }
        known = {name: takes for name, takes in answers.items() if takes != Takes.UNKNOWN}
        if known:
            same = Destination.objects.filter(
                pk=self.pk, endpoint=self.endpoint, bucket=self.bucket
            )
            same.update(**known, learned_at=Now())

    def clean(self) -> None:
        """Refuse names that oss2 does not take, or that can't work.

        Raises:
            ValidationError: by field.
        """
        if mistakes := self.mistakes:
            raise ValidationError(dict(mistakes))

    @property
    def mistakes(self) -> Mistakes:
        """What is wrong with the destination's names, by field."""
        return oss_mistakes(
            bucket=self.bucket,
            region=self.region,
            endpoint=self.endpoint,
            is_virtual_host=self.addressing == Addressing.VIRTUAL_HOST,
        )
