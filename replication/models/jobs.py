"""Jobs, their states, and their unsuccessful attempts."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from replication.errors import MEANINGS, ErrorCode, Meaning
from replication.models.rules import ReplicationRule


class JobState(models.TextChoices):
    """docs/reference/job-states.md shows how jobs/ moves a job from state to state."""

    PENDING = "pending", _("pending")  # → running by claim, cancelled by cancel
    # → any other by complete, retry_later, hand_over, await_confirmation, await_restore, rescue,
    # fail
    RUNNING = "running", _("running")
    COMPLETED = "completed", _("completed")  # final
    FAILED = "failed", _("failed")  # → pending by retry
    CANCELLED = "cancelled", _("cancelled")  # final
    SUPERSEDED = "superseded", _("superseded")  # final: a newer job of the key took over


FINAL_STATES = [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.SUPERSEDED]


class Outcome(models.TextChoices):
    COPIED = "copied", _("copied")
    UNCHANGED = "unchanged", _("unchanged")
    DELETED = "deleted", _("deleted")
    SKIPPED = "skipped", _("skipped")  # OSS does not accept the key, and the rule says to skip it
    ABSENT = "absent", _("absent")  # the source has no such object, and nothing had to be done
    # The rule was changed after the job was made, and does not cover the key any more.
    UNWANTED = "unwanted", _("no longer asked for")


class DeletePermit(models.TextChoices):
    """Whether a job may delete its replica, if its rule has a brake; see jobs/delete_brake.py."""

    NONE = "", _("not requested")
    AWAITED = "awaited", _("waits for a person")  # only pending jobs; never claimed
    GRANTED = "granted", _("granted")
    CONFIRMED = "confirmed", _("confirmed by a person")


class HoldReason(models.TextChoices):
    """Why a delete waits for a person."""

    BRAKE = "brake", _("more deletes than the rule allows")
    UNMARKED = "unmarked", _("the replica has no mark: another program may have written it")
    OTHER_MARK = "other_mark", _("the replica is marked as a copy of another object")


class JobOrigin(models.TextChoices):
    EVENT = "event", _("S3 event")
    API = "api", _("HTTP API")
    ADMIN = "admin", _("look again")
    LOST_LEASE = "lost_lease", _("written after the lease was lost")
    DOUBT = "doubt", _("an earlier write may have landed late")
    RULE_CHANGED = "rule_changed", _("the rule was changed meanwhile")
    SWEEP = "sweep", _("a comparison of both buckets")


class JobFields(models.Model):
    """What a job has in the queue as well as in the history."""

    id: int
    rule_id: int
    # Byte order: S3 lists keys by their UTF-8 bytes, and the index for prefix search needs it.
    key = models.TextField(_("key"), db_collation="C")
    state = models.CharField(_("state"), max_length=12, choices=JobState, default=JobState.PENDING)
    origin = models.CharField(_("origin"), max_length=12, choices=JobOrigin)
    priority = models.SmallIntegerField(
        _("priority"), default=0, help_text=_("The smaller number goes first.")
    )
    attempt = models.IntegerField(_("unsuccessful tries"), default=0)
    ignores_filters = models.BooleanField(
        _("ignores filters"),
        db_default=False,
        editable=False,
        help_text=_("A person asked for this key, whatever the rule's filters say."),
    )
    only_tags = models.BooleanField(
        _("only tags"),
        db_default=False,
        editable=False,
        help_text=_("Only tags changed: the object is not copied if the replica is a copy of it."),
    )
    attempt_limit = models.IntegerField(_("maximum tries"))

    event_at = models.DateTimeField(
        _("event at"), help_text=_("When the oldest change that this job serves was announced.")
    )
    enqueued_at = models.DateTimeField(_("enqueued at"))
    available_at = models.DateTimeField(_("due at"))
    started_at = models.DateTimeField(_("started at"), null=True)
    finalized_at = models.DateTimeField(_("finished at"), null=True)
    write_in_doubt_until = models.DateTimeField(
        _("write in doubt until"),
        null=True,
        help_text=_(
            "Until then, an earlier write that got no answer may still overwrite a newer one; "
            "after that, s3sync looks at the key once more."
        ),
    )

    delete_permit = models.CharField(
        _("delete permit"),
        max_length=9,
        choices=DeletePermit,
        blank=True,
        db_default=DeletePermit.NONE,
    )
    # Empty for a delete that was held by an earlier version of s3sync: the brake held it.
    hold_reason = models.CharField(
        _("held because"),
        max_length=10,
        choices=HoldReason,
        blank=True,
        db_default="",
        editable=False,
    )
    size_bytes = models.BigIntegerField(_("size in bytes"), null=True)

    # From the last unsuccessful attempt, so that a list of failures reads one table.
    error_code = models.CharField(_("error"), max_length=32, db_default="")
    error_detail = models.TextField(_("error detail"), db_default="")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key

    @property
    def error(self) -> Meaning | None:
        """What an operator reads about the last unsuccessful attempt; None if there was none."""
        return MEANINGS[ErrorCode(self.error_code)] if self.error_code else None

    @property
    def is_retrying(self) -> bool:
        return self.state == JobState.PENDING and self.attempt > 0

    @property
    def awaits_confirmation(self) -> bool:
        """Whether the job waits for a person to confirm its delete."""
        return self.delete_permit == DeletePermit.AWAITED

    @property
    def is_being_restored(self) -> bool:
        return self.state == JobState.PENDING and self.error_code == ErrorCode.SOURCE_RESTORING


class TransferJob(JobFields):
    """An order to make one key at the destination equal to the source, as the source is now.

    This table is the queue: pending, running and failed jobs. A job that ends leaves it for the
    history in the statement that ends it; see models/history.py.

    `token` is the fencing token. Each claim raises it: a lane that settles a job names the token of
    its claim, and changes nothing if the job has moved on.
    """

    rule = models.ForeignKey(
        ReplicationRule, models.PROTECT, related_name="+", db_index=False, verbose_name=_("rule")
    )
    token = models.IntegerField(_("claims"), db_default=0, editable=False)
    lease_expires_at = models.DateTimeField(_("lease until"), null=True)
    claimed_by = models.UUIDField(_("lane"), null=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [("operate_transferjob", "Can retry and cancel jobs")]
        constraints = [
            models.CheckConstraint(
                name="job_state_is_known", condition=Q(state__in=JobState.values)
            ),
            models.CheckConstraint(
                name="job_is_finalized_exactly_in_final_states",
                condition=Q(state__in=FINAL_STATES, finalized_at__isnull=False)
                | (~Q(state__in=FINAL_STATES) & Q(finalized_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="job_has_a_lease_exactly_while_running",
                condition=Q(
                    state=JobState.RUNNING, lease_expires_at__isnull=False, claimed_by__isnull=False
                )
                | (
                    ~Q(state=JobState.RUNNING)
                    & Q(lease_expires_at__isnull=True, claimed_by__isnull=True)
                ),
            ),
            models.CheckConstraint(
                name="job_awaits_a_permit_only_while_pending",
                condition=~Q(delete_permit=DeletePermit.AWAITED) | Q(state=JobState.PENDING),
            ),
            # Coalesces a burst of events for a key into one job.
            models.UniqueConstraint(
                name="job_one_pending_per_key",
                fields=["rule", "key"],
                condition=Q(state=JobState.PENDING),
            ),
            # Serialises the writers of a key. Also serves rescue: the running jobs are few.
            models.UniqueConstraint(
                name="job_one_running_per_key",
                fields=["rule", "key"],
                condition=Q(state=JobState.RUNNING),
            ),
        ]
        indexes = [
            # jobs.claim: from one rule with jobs of a priority to the next, and its jobs in order
            models.Index(
                name="job_turns",
                fields=["priority", "rule", "available_at"],
                condition=Q(state=JobState.PENDING) & ~Q(delete_permit=DeletePermit.AWAITED),
            ),
            # status: the waiting jobs of a rule
            models.Index(
                name="job_due",
                fields=["rule", "priority", "available_at"],
                # Covers the status page, which then does not read the table.
                include=["event_at", "attempt", "error_code"],
                condition=Q(state=JobState.PENDING) & ~Q(delete_permit=DeletePermit.AWAITED),
            ),
            # status, jobs/held_deletes.py: deletes that wait for a person, oldest first
            models.Index(
                name="job_held",
                fields=["rule", "available_at", "id"],
                condition=Q(state=JobState.PENDING, delete_permit=DeletePermit.AWAITED),
            ),
            # delete_brake: pending jobs that may delete
            models.Index(
                name="job_permitted",
                fields=["rule", "delete_permit"],
                condition=Q(state=JobState.PENDING)
                & ~Q(delete_permit__in=[DeletePermit.NONE, DeletePermit.AWAITED]),
            ),
            # the list of failures, newest first
            models.Index(
                name="job_failed",
                fields=["-finalized_at", "rule"],
                condition=Q(state=JobState.FAILED),
            ),
            # the admin's search by key prefix
            models.Index(name="job_key", fields=["key"]),
        ]


class FailedJobs(models.Manager["FailedJob"]):
    def get_queryset(self) -> models.QuerySet["FailedJob"]:
        return super().get_queryset().filter(state=JobState.FAILED)


class FailedJob(TransferJob):
    """A failed job: a proxy that gives failures a list of their own in the admin."""

    objects = FailedJobs()  # type: ignore[misc]

    class Meta:
        proxy = True
        default_permissions = ()  # the permissions of TransferJob apply
        verbose_name = _("failure")
        verbose_name_plural = _("failures")


class TransferAttempt(models.Model):
    """One unsuccessful attempt at a job of the queue."""

    # The transitions move a job's tries into the history with it; PostgreSQL need not check that.
    job = models.ForeignKey(
        TransferJob,
        models.CASCADE,
        related_name="attempts",
        db_constraint=False,
        verbose_name=_("job"),
    )
    number = models.IntegerField(_("number"))
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"))
    code = models.CharField(_("error"), max_length=32)
    detail = models.TextField(_("detail"), default="")
    request_id = models.TextField(_("request id"), default="")

    class Meta:
        verbose_name = _("unsuccessful try")
        verbose_name_plural = _("unsuccessful tries")
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(name="attempt_number_is_unique", fields=["job", "number"]),
            models.CheckConstraint(
                name="attempt_code_is_known",
                condition=Q(code__in=[code.value for code in ErrorCode]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.code}"

    @property
    def length(self) -> timedelta:
        return self.ended_at - self.started_at

    @property
    def cause(self) -> str:
        return MEANINGS[ErrorCode(self.code)].cause

    @property
    def hint(self) -> str:
        return MEANINGS[ErrorCode(self.code)].hint
