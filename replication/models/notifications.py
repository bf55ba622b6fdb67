"""Whom to tell of what is wrong, and what they were told."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.models.rules import ReplicationRule
from replication.models.validators import NAME, PROFILE


class ConditionKind(models.TextChoices):
    """What people are told of; notifications/conditions.py says when each is the case."""

    FAILURES = "failures", _("many jobs fail")
    LAG = "lag", _("a rule is behind")
    PARKED = "parked", _("a rule is parked")
    BRAKED = "braked", _("a rule's deletes are braked")
    DEAD_LETTERS = "dead_letters", _("new dead letters")
    QUEUE = "queue", _("a queue can't be polled")
    NO_EVENTS = "no_events", _("no event for long")
    NOT_RUNNING = "not_running", _("no lane or no poller is alive")


def usual_kinds() -> list[str]:
    """All but one: a bucket that nobody writes to at night or on Sundays is no trouble."""
    return [kind.value for kind in ConditionKind if kind is not ConditionKind.NO_EVENTS]


class NotificationTarget(models.Model):
    """People who are told, by e-mail or in a chat, and of what."""

    id: int
    name = models.CharField(_("name"), max_length=63, unique=True, validators=[NAME])
    enabled = models.BooleanField(_("enabled"), default=True)
    credential_profile = models.CharField(
        _("credential profile"),
        max_length=40,
        validators=[PROFILE],
        help_text=_(
            "Where the addresses are found, which hold secrets and are never kept in the database: "
            "the file notify_urls of the profile, or S3SYNC_PROFILE_…_NOTIFY_URLS, with "
            "apprise's URLs; docs/guides/notifications.md has examples."
        ),
    )
    kinds = ArrayField(
        models.CharField(max_length=12, choices=ConditionKind),
        verbose_name=_("tell of"),
        default=usual_kinds,
    )
    rules = models.ManyToManyField(
        ReplicationRule,
        blank=True,
        verbose_name=_("rules"),
        help_text=_("Of these rules alone; none chosen: of all. Queues are told of anyway."),
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
        help_text=_("The age of the oldest change that is not served yet."),
    )
    lag_minutes = models.PositiveIntegerField(_("… for minutes"), default=5)
    silence_hours = models.PositiveIntegerField(
        _("hours without an event"),
        default=24,
        validators=[MinValueValidator(1)],
        help_text=_("Of a queue, or of the Lambda function once it was heard from."),
    )
    remind_hours = models.PositiveIntegerField(
        _("remind after hours"),
        default=6,
        help_text=_("What is still wrong is told again so often; 0: never."),
    )

    # notifications/telling.py and operating.py alone write these.
    claimed_until = models.DateTimeField(null=True, editable=False)
    last_told_at = models.DateTimeField(_("last told"), null=True, editable=False)
    last_error = models.TextField(_("last error"), db_default="", editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, editable=False)
    errors_in_a_row = models.PositiveIntegerField(db_default=0, editable=False)
    try_again_at = models.DateTimeField(_("tried again at"), null=True, editable=False)

    class Meta:
        verbose_name = _("notification target")
        verbose_name_plural = _("notification targets")
        ordering = ["name"]
        permissions = [("operate_notificationtarget", "Can send test messages")]

    def __str__(self) -> str:
        return self.name


class Condition(models.Model):
    """Something that is or was wrong, as one target is told of it.

    Noted when it is first seen, confirmed once it has lasted as long as its kind must, told, and
    closed when it is over. One that is over before it was confirmed is forgotten.
    """

    id: int
    target = models.ForeignKey(
        NotificationTarget,
        models.CASCADE,
        related_name="conditions",
        db_index=False,
        verbose_name=_("target"),
    )
    kind = models.CharField(_("what"), max_length=12, choices=ConditionKind)
    # By their names: they outlive the rule or queue. Both are empty of the service as a whole.
    rule = models.CharField(_("rule"), max_length=63, blank=True)
    queue = models.CharField(_("queue"), max_length=63, blank=True)
    detail = models.TextField(_("as last seen"))
    closing = models.TextField(_("how it ended"), blank=True)
    worst_lag_seconds = models.FloatField(_("at worst behind by seconds"), null=True)
    began_at = models.DateTimeField(_("since"))
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True)
    told_at = models.DateTimeField(_("first told at"), null=True)
    last_told_at = models.DateTimeField(_("last told at"), null=True)
    closed_at = models.DateTimeField(_("over at"), null=True)
    closing_told_at = models.DateTimeField(_("its end was told at"), null=True)

    class Meta:
        verbose_name = _("notification condition")
        verbose_name_plural = _("notification conditions")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="condition_kind_is_known", condition=Q(kind__in=ConditionKind.values)
            ),
            # Whoever evaluates, and however many do: one message for one thing.
            models.UniqueConstraint(
                name="condition_open_once",
                fields=["target", "kind", "rule", "queue"],
                condition=Q(closed_at__isnull=True),
            ),
        ]
        indexes = [
            # telling: what is closed and was not told yet
            models.Index(
                name="condition_to_tell",
                fields=["target"],
                condition=Q(closed_at__isnull=False, closing_told_at__isnull=True),
            ),
            # retention: the oldest
            models.Index(
                name="condition_closed", fields=["closed_at"], condition=Q(closed_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        about = self.rule or self.queue
        return f"{self.get_kind_display()}: {about}" if about else self.get_kind_display()
