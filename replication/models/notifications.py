"""Notification targets, and the conditions that each target is notified of."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule
from replication.models.validators import NAME, PROFILE


class ConditionKind(models.TextChoices):
    """The kinds of problems; monitoring/notifications/evaluation.py says when each one exists."""

    FAILURES = "failures", _("many jobs fail")
    LAG = "lag", _("a rule is behind")
    PARKED = "parked", _("a rule is parked")
    BRAKED = "braked", _("a rule's deletes are braked")
    DEAD_LETTERS = "dead_letters", _("new dead letters")
    QUEUE = "queue", _("a queue can't be polled")
    NO_EVENTS = "no_events", _("no event for a long time")
    CANARY = "canary", _("a rule's canary fails")
    CREDENTIALS = "credentials", _("a host's credentials don't work")
    NOT_RUNNING = "not_running", _("no lane or no poller is alive")


def usual_kinds() -> list[str]:
    """All kinds but NO_EVENTS: a bucket without writes at night or on Sundays is normal."""
    return [kind.value for kind in ConditionKind if kind is not ConditionKind.NO_EVENTS]


class NotificationTarget(models.Model):
    """A group of people to notify by e-mail or chat, and the problems to notify them of."""

    id: int
    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    enabled = models.BooleanField(_("enabled"), default=True)
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        validators=[PROFILE],
        help_text=_(
            "Name of the profile that holds the addresses as Apprise URLs: in the profile's file "
            "notify_urls, or in S3SYNC_PROFILE_…_NOTIFY_URLS. The URLs contain secrets, so the "
            "database never holds them. docs/guides/notifications.md has examples."
        ),
    )
    kinds = ArrayField(
        models.CharField(max_length=12, choices=ConditionKind),
        verbose_name=_("notify of"),
        default=usual_kinds,
    )
    rules = models.ManyToManyField(
        ReplicationRule,
        blank=True,
        verbose_name=_("rules"),
        help_text=_("Notify of these rules only; empty: of all rules. Queues are always included."),
    )
    failures_at_least = models.PositiveIntegerField(
        _("jobs failed"), default=10, validators=[MinValueValidator(1)]
    )
    failures_minutes = models.PositiveIntegerField(
        _("… within minutes"), default=5, validators=[MinValueValidator(1)]
    )
    lag_seconds = models.PositiveIntegerField(
        _("seconds behind"),
        default=900,  # as the status page
        validators=[MinValueValidator(1)],
        help_text=_("Age of the oldest change that is not replicated yet."),
    )
    lag_minutes = models.PositiveIntegerField(_("… for minutes"), default=5)
    silence_hours = models.PositiveIntegerField(
        _("hours without an event"),
        default=24,
        validators=[MinValueValidator(1)],
        help_text=_("For each queue, and for the Lambda function after its first call."),
    )
    remind_hours = models.PositiveIntegerField(
        _("remind after hours"),
        default=6,
        help_text=_("Repeat the message this often while the problem lasts; 0: never."),
    )

    # Only monitoring/notifications/ writes these.
    claimed_until = models.DateTimeField(null=True, editable=False)
    last_told_at = models.DateTimeField(_("last notified"), null=True, editable=False)
    last_error = models.TextField(_("last error"), db_default="", editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, editable=False)
    errors_in_a_row = models.PositiveIntegerField(db_default=0, editable=False)
    try_again_at = models.DateTimeField(_("next try at"), null=True, editable=False)

    class Meta:
        verbose_name = _("notification target")
        verbose_name_plural = _("notification targets")
        ordering = ["name"]
        permissions = [("operate_notificationtarget", "Can send test messages")]

    def __str__(self) -> str:
        return self.name


class Condition(models.Model):
    """A present or past problem, as one target is notified of it.

    A condition is recorded when it is first seen, confirmed after it has lasted as long as its
    kind requires, sent to the target, and closed when the problem ends. A condition that ends
    before it is confirmed is deleted.
    """

    id: int
    target = models.ForeignKey(
        NotificationTarget,
        models.CASCADE,
        related_name="conditions",
        db_index=False,
        verbose_name=_("target"),
    )
    kind = models.CharField(_("kind"), max_length=12, choices=ConditionKind)
    # Names, because they outlive the rule or queue. Both are empty for the service as a whole.
    rule = models.CharField(_("rule"), max_length=63, blank=True)
    queue = models.CharField(_("queue"), max_length=63, blank=True)
    detail = models.TextField(_("as last seen"))
    closing = models.TextField(_("how it ended"), blank=True)
    worst_lag_seconds = models.FloatField(_("maximum seconds behind"), null=True)
    began_at = models.DateTimeField(_("since"))
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True)
    told_at = models.DateTimeField(_("first notified at"), null=True)
    last_told_at = models.DateTimeField(_("last notified at"), null=True)
    closed_at = models.DateTimeField(_("ended at"), null=True)
    closing_told_at = models.DateTimeField(_("end notified at"), null=True)

    class Meta:
        verbose_name = _("notification condition")
        verbose_name_plural = _("notification conditions")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="condition_kind_is_known", condition=Q(kind__in=ConditionKind.values)
            ),
            # One message for one problem, however many processes evaluate it at once.
            models.UniqueConstraint(
                name="condition_open_once",
                fields=["target", "kind", "rule", "queue"],
                condition=Q(closed_at__isnull=True),
            ),
        ]
        indexes = [
            # notifications: closed conditions whose end was not sent yet
            models.Index(
                name="condition_to_tell",
                fields=["target"],
                condition=Q(closed_at__isnull=False, closing_told_at__isnull=True),
            ),
            # retention: the oldest closed conditions
            models.Index(
                name="condition_closed", fields=["closed_at"], condition=Q(closed_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        about = self.rule or self.queue
        return f"{self.get_kind_display()}: {about}" if about else self.get_kind_display()
