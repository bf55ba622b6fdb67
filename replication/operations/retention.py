"""Deletes the history that has served its time, a little at a time, in nobody's way."""

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
from replication.models import (
    DeadLetter,
    JobState,
    TransferAttempt,
    TransferJob,
)
from replication.monitoring.metrics import fold_minutes

log = structlog.get_logger(__name__)

BATCH_ROWS = 2_000  # some tens of milliseconds: nobody waits long for their locks
PAUSE_SECONDS = 0.05  # leaves the disk to the lanes
KEEP_MINUTES_DAYS = 2  # status reads one day of them


@dataclass(frozen=True)
class Rows:
    """How many rows of each kind."""

    finished_jobs: int = 0  # completed, cancelled or superseded
    failed_jobs: int = 0
    attempts: int = 0
    dead_letters: int = 0

    def __add__(self, other: "Rows") -> "Rows":
        names = [field.name for field in fields(self)]
        return Rows(*(getattr(self, name) + getattr(other, name) for name in names))

    def __bool__(self) -> bool:
        return self != Rows()


@dataclass(frozen=True)
class Pruned:
    """What was deleted; `is_complete` is False if the time was up before the end was seen."""

    rows: Rows
    is_complete: bool


def prune(*, seconds: float) -> Pruned:
    """Delete what is due, for that long at most, but at least one batch.

    Each batch is a transaction of its own, so that an end at any moment loses nothing. Ends
    early where the cluster is told to stop. Any number may run at once: they share the work.
    """
    ends = time.monotonic() + seconds
    fold_minutes()  # before they are deleted
    _delete_minutes()
    _delete_audit()
    _delete_conditions()
    rows = Rows()
    is_complete = True
    for deleted in _batches():
        rows += deleted
        if time.monotonic() >= ends or loops.are_told_to_stop():
            is_complete = False
            break
        time.sleep(PAUSE_SECONDS)
    if rows:
        log.info("history.pruned", is_complete=is_complete, **vars(rows))
    return Pruned(rows, is_complete)


def count_due() -> Rows:
    """What `prune` would delete, given the time; reads all of it."""
    finished, failed = _finished_jobs(), [_failed_jobs()]
    return Rows(
        finished_jobs=sum(jobs.count() for jobs in finished),
        failed_jobs=sum(jobs.count() for jobs in failed),
        attempts=sum(
            TransferAttempt.objects.filter(job__in=jobs).count() for jobs in finished + failed
        ),
        dead_letters=_dead_letters().count(),
    )


# -- what is due -------------------------------------------------------------------------------


def _finished_jobs() -> list[QuerySet[TransferJob]]:
    """Apart, as each has its index."""
    ended = TransferJob.objects.filter(finalized_at__lt=_days_ago(settings.S3SYNC.keep_jobs_days))
    return [
        ended.filter(state=JobState.COMPLETED),
        ended.filter(state__in=[JobState.CANCELLED, JobState.SUPERSEDED]),
    ]


def _failed_jobs() -> QuerySet[TransferJob]:
    return TransferJob.objects.filter(
        state=JobState.FAILED, finalized_at__lt=_days_ago(settings.S3SYNC.keep_failures_days)
    )


def _dead_letters() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(received_at__lt=_days_ago(settings.S3SYNC.keep_failures_days))


def _days_ago(days: int) -> CombinedExpression:
    return Now() - timedelta(days=days)


# -- batches -----------------------------------------------------------------------------------


def _batches() -> Iterator[Rows]:
    """Delete batch after batch until nothing is due, and say what each was."""
    for finished in _finished_jobs():
        for jobs, attempts in _job_batches(finished):
            yield Rows(finished_jobs=jobs, attempts=attempts)
    for jobs, attempts in _job_batches(_failed_jobs()):
        yield Rows(failed_jobs=jobs, attempts=attempts)
    letters = BATCH_ROWS
    while letters == BATCH_ROWS:
        letters = _delete_letters()
        yield Rows(dead_letters=letters)
    signatures = BATCH_ROWS
    while signatures == BATCH_ROWS:
        signatures = signed_calls.delete_expired(limit=BATCH_ROWS)
        yield Rows()


def _job_batches(due: QuerySet[TransferJob]) -> Iterator[tuple[int, int]]:
    jobs = BATCH_ROWS
    while jobs == BATCH_ROWS:
        jobs, attempts = _delete_jobs(due)
        yield jobs, attempts


def _delete_jobs(due: QuerySet[TransferJob]) -> tuple[int, int]:
    """Delete the oldest of them with their tries: (jobs, tries)."""
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


def _delete_minutes() -> None:
    """A day's are some ten thousand small rows at most, and an hour's a fraction of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_completedminute "
            "WHERE minute < now() - make_interval(days => %s)",
            [KEEP_MINUTES_DAYS],
        )


def _delete_audit() -> None:
    """So many at a time: people and their programs don't make more in an hour."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_auditentry WHERE id IN ("
            "SELECT id FROM replication_auditentry "
            "WHERE began_at < now() - make_interval(days => %s) ORDER BY began_at LIMIT %s)",
            [settings.S3SYNC.keep_audit_days, BATCH_ROWS],
        )


def _delete_conditions() -> None:
    """What people were told of and is over: a handful a day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_condition WHERE closed_at < now() - make_interval(days => %s)",
            [settings.S3SYNC.keep_failures_days],
        )


def _lock_batch(due: QuerySet) -> list[int]:
    """Take a batch, without those that somebody works on: a retry, a replay, another pruner.

    Who never waits for a lock can't be part of a deadlock. A lock for all of pruning would have
    to outlast its transactions, and so would not pass a transaction-pooling proxy.
    """
    free = due.select_for_update(skip_locked=True)
    return list(free.values_list("id", flat=True)[:BATCH_ROWS])
