"""SQS queues that S3 events arrive in, and their dead letters."""

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from replication.mapping.place_names import Mistakes
from replication.mapping.s3_names import queue_mistakes
from replication.models.validators import NAME, PROFILE

_queue_url = RegexValidator(
    r"^https?://[^/?#@\s]+/[^\s?#]+$", _("Enter the queue's URL as the SQS console shows it.")
)


class EventQueue(models.Model):
    """An SQS queue that S3 events arrive in."""

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    url = models.CharField(
        _("queue URL"),
        max_length=255,
        unique=True,
        validators=[_queue_url],
        help_text=_("e.g. https://sqs.ap-east-1.amazonaws.com/123456789012/s3sync"),
    )
    region = models.CharField(_("region"), max_length=40)
    credential_profile = models.CharField(
        _("credential profile"), max_length=40, default="default", validators=[PROFILE]
    )
    enabled = models.BooleanField(_("enabled"), default=True)

    # Only the pollers write these.
    messages_received = models.BigIntegerField(_("messages received"), default=0, editable=False)
    records_unmatched = models.BigIntegerField(
        _("records without a rule"),
        default=0,
        editable=False,
        help_text=_(
            "Records for objects that no enabled rule covers; they are counted and dropped."
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
        permissions = [("approve_eventqueue", "Can use credential profiles with new queues")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a URL or a region that boto3 does not take, or that do not fit each other.

        Raises:
            ValidationError: by field.
        """
        if mistakes := self.mistakes:
            raise ValidationError(dict(mistakes))

    @property
    def mistakes(self) -> Mistakes:
        """What is wrong with the queue's URL or region, by field."""
        return queue_mistakes(url=self.url, region=self.region)


class DeadLetter(models.Model):
    """A record of a message that could not be taken in, or a message that could not be read at all.

    The body is the whole message if it has no other record. Otherwise it is a message that has this
    record alone, because the others have been taken: a replay must not look at their keys again.
    """

    queue = models.ForeignKey(
        EventQueue, models.PROTECT, related_name="dead_letters", verbose_name=_("queue")
    )
    message_id = models.CharField(_("message id"), max_length=100)
    record = models.IntegerField(
        _("record"),
        null=True,
        help_text=_(
            "The record's number in the message, from 0; empty if the whole message can't be read."
        ),
    )
    body = models.TextField(_("body"))
    reason = models.TextField(_("reason"))
    received_at = models.DateTimeField(_("received at"))

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        permissions = [("operate_deadletter", "Can replay dead letters")]
        ordering = ["-received_at"]
        constraints = [
            # SQS delivers each message at least once. -1 stands for the whole message, because
            # PostgreSQL 14 has no NULLS NOT DISTINCT.
            models.UniqueConstraint(
                "queue", "message_id", Coalesce("record", -1), name="dead_letter_once_per_record"
            ),
        ]

    def __str__(self) -> str:
        if self.record is None:
            return self.message_id
        return f"{self.message_id}, record {self.record}"
