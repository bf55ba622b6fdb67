"""Ends what is past its retention: drops days of the history, and deletes other rows in small
batches that disturb no other work."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from replication.cluster import loops
from replication.intake import signed_calls
from replication.jobs import history
from replication.models import (
    AuditEntry,
    ConfigurationChange,
    DeadLetter,
    JobState,
    SweepFinding,
    TransferAttempt,
    TransferJob,
)
from replication.monitoring.metrics import fold_minutes

log = structlog.get_logger(__name__)

BATCH_ROWS = 2_000  # some tens of milliseconds, so that their locks are short
PAUSE_SECONDS = 0.05  # leaves the disk to the lanes
KEEP_MINUTES_DAYS = 2  # the status reads one day


@dataclass(frozen=True)
class Rows:
    """The number of rows of each kind."""

    finished_jobs: int = 0  # completed, cancelled or superseded; about so many
    failed_jobs: int = 0
    attempts: int = 0
    dead_letters: int = 0
    findings: int = 0  # of sweeps

    def __add__(self, other: "Rows") -> "Rows":
        names = [field.name for field in fields(self)]
        return Rows(*(getattr(self, name) + getattr(other, name) for name in names))

    def __bool__(self) -> bool:
        return self != Rows()


@dataclass(frozen=True)
class Pruned:
    """The deleted rows; `is_complete` is False if rows that are due may be left."""

    rows: Rows
    is_complete: bool


def prune(*, seconds: float) -> Pruned:
    """Delete rows that are due, for at most `seconds`, but at least one batch.

    Each batch is a transaction of its own, so it is safe to interrupt at any moment. Ends early
    when the cluster is being stopped. Any number of calls may run at once: they share the work.
    """
    ends = time.monotonic() + seconds
    has_all_days = history.make_days()
    fold_minutes()  # before the minutes are deleted
    _delete_minutes()
    _delete_audit()
    _delete_conditions()
    rows = Rows()
    is_complete = True
    for deleted in _batches(moves_ended=has_all_days):
        rows += deleted
        if time.monotonic() >= ends or loops.are_told_to_stop():
            is_complete = False
            break
        time.sleep(PAUSE_SECONDS)
    if rows:
        log.info("history.pruned", is_complete=is_complete, **vars(rows))
    return Pruned(rows, is_complete)


def count_due() -> Rows:
    """Count the rows that `prune` would delete with enough time; reads all of them."""
    days = history.due_days(older_than_days=settings.S3SYNC.keep_jobs_days)
    failed = _failed_jobs()
    return Rows(
        finished_jobs=sum(day.rows for day in days),
        failed_jobs=failed.count(),
        attempts=TransferAttempt.objects.filter(job__in=failed).count(),
        dead_letters=_dead_letters().count(),
        findings=_findings().count(),
    )


# -- what is due -------------------------------------------------------------------------------


def _failed_jobs() -> QuerySet[TransferJob]:
    return TransferJob.objects.filter(
        state=JobState.FAILED, finalized_at__lt=_days_ago(settings.S3SYNC.keep_failures_days)
    )


def _dead_letters() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(received_at__lt=_days_ago(settings.S3SYNC.keep_failures_days))


def _findings() -> QuerySet[SweepFinding]:
    """Those of sweeps that ended long ago; the sweeps themselves are few, and stay."""
    return SweepFinding.objects.filter(
        sweep__ended_at__lt=_days_ago(settings.S3SYNC.keep_jobs_days)
    )


def _days_ago(days: int) -> CombinedExpression:
    return Now() - timedelta(days=days)


# -- batches -----------------------------------------------------------------------------------


def _batches(*, moves_ended: bool) -> Iterator[Rows]:
    """Delete batch after batch until nothing is due; yield the rows of each batch."""
    # Before days are dropped: ended jobs that are moved may be past their retention, too.
    moved = BATCH_ROWS if moves_ended else 0
    while moved == BATCH_ROWS:
        moved = history.move_ended(limit=BATCH_ROWS)
        yield Rows()
    for day in history.drop_days(older_than_days=settings.S3SYNC.keep_jobs_days):
        yield Rows(finished_jobs=day.rows)
    for jobs, attempts in _job_batches(_failed_jobs()):
        yield Rows(failed_jobs=jobs, attempts=attempts)
    letters = BATCH_ROWS
    while letters == BATCH_ROWS:
        letters = _delete_letters()
        yield Rows(dead_letters=letters)
    findings = BATCH_ROWS
    while findings == BATCH_ROWS:
        findings = _delete_findings()
        yield Rows(findings=findings)
    signatures = BATCH_ROWS
    while signatures == BATCH_ROWS:
        signatures = signed_calls.delete_expired(limit=BATCH_ROWS)
        yield Rows()
    sessions = BATCH_ROWS
    while sessions == BATCH_ROWS:
        sessions = _delete_sessions()
        yield Rows()


def _job_batches(due: QuerySet[TransferJob]) -> Iterator[tuple[int, int]]:
    jobs = BATCH_ROWS
    while jobs == BATCH_ROWS:
        jobs, attempts = _delete_jobs(due)
        yield jobs, attempts


def _delete_jobs(due: QuerySet[TransferJob]) -> tuple[int, int]:
    """Delete a batch of the oldest jobs with their tries. Returns (jobs, tries)."""
    with transaction.atomic(), connection.cursor() as cursor:
        job_ids = _lock_batch(due.order_by("finalized_at"))
        if not job_ids:
            return 0, 0
        cursor.execute("DELETE FROM replication_transferattempt WHERE job_id = ANY(%s)", [job_ids])
        attempts = cursor.rowcount
        cursor.execute("DELETE FROM replication_transferjob WHERE id = ANY(%s)", [job_ids])
    return len(job_ids), attempts


def _delete_letters() -> int:
    with transaction.atomic():
        letter_ids = _lock_batch(_dead_letters().order_by("received_at"))
        DeadLetter.objects.filter(id__in=letter_ids).delete()
    return len(letter_ids)


def _delete_findings() -> int:
    with transaction.atomic():
        ids = _lock_batch(_findings())
        if ids:
            SweepFinding.objects.filter(id__in=ids).delete()
    return len(ids)


def _delete_sessions() -> int:
    """Sessions that are over; strangers begin some, who go to the login and no further."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_session WHERE session_key IN ("
            "SELECT session_key FROM django_session "
            "WHERE expire_date < now() ORDER BY expire_date LIMIT %s FOR UPDATE SKIP LOCKED)",
            [BATCH_ROWS],
        )
        return cursor.rowcount


def _delete_minutes() -> None:
    """Delete all at once: a day has at most some ten thousand small rows, an hour a fraction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_completedminute "
            "WHERE minute < now() - make_interval(days => %s)",
            [KEEP_MINUTES_DAYS],
        )


def _delete_audit() -> None:
    """Delete one batch of each: people and their programs make fewer entries in an hour."""
    days_ago = _days_ago(settings.S3SYNC.keep_audit_days)
    entries = AuditEntry.objects.filter(began_at__lt=days_ago).order_by("began_at")
    changes = ConfigurationChange.objects.filter(made_at__lt=days_ago).order_by("made_at")
    with transaction.atomic():
        AuditEntry.objects.filter(id__in=_lock_batch(entries)).delete()
        ConfigurationChange.objects.filter(id__in=_lock_batch(changes)).delete()


def _delete_conditions() -> None:
    """Delete closed conditions all at once: there is a handful a day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_condition WHERE closed_at < now() - make_interval(days => %s)",
            [settings.S3SYNC.keep_failures_days],
        )


def _lock_batch(due: QuerySet) -> list[int]:
    """Lock a batch; skip rows that a retry, a replay or another pruner has locked.

    A pruner that never waits for a lock can't be part of a deadlock. A lock around all of the
    pruning would have to outlast its transactions, which a transaction-pooling proxy forbids.
    """
    free = due.select_for_update(skip_locked=True, of=("self",))
    return list(free.values_list("id", flat=True)[:BATCH_ROWS])
