"""The days of the history: made ahead, dropped whole, and filled from what others left elsewhere.

Each day of UTC is a partition. A row whose day has none goes to the default partition, from where
the next call moves it; status tells of rows that stay there.

PostgreSQL locks the whole history for the moment in which a day is added or dropped. Readers that
take long, such as a backup, are not waited for: lanes would wait behind. The next hour tries again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import structlog
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from replication.jobs.ending import leave
from replication.models import EndedJob, JobState, TransferJob

log = structlog.get_logger(__name__)

DAYS_AHEAD = 7
LOCK_SECONDS = 0.5  # so long lanes may wait for a lock that this module waits for
DEFAULT = "replication_endedjob_default"
_DAYS_LOCK = 0x53335332  # the number of a PostgreSQL advisory lock
# A smaller table is counted: PostgreSQL may have estimated it when it had a few rows.
_COUNTED_ROWS = 100_000
_PREFIX = "replication_endedjob_"


@dataclass(frozen=True)
class Day:
    """A day's partition; `rows` is PostgreSQL's estimate, exact for a small one."""

    day: date
    table: str
    rows: int


def days() -> list[Day]:
    """The days that have a partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT child.relname, child.reltuples::bigint
            FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
            WHERE inhparent = 'replication_endedjob'::regclass AND child.relname <> %s
            ORDER BY child.relname
            """,
            [DEFAULT],
        )
        return [
            Day(datetime.strptime(name, f"{_PREFIX}%Y%m%d").date(), name, rows)  # noqa: DTZ007
            for name, rows in cursor.fetchall()
        ]


def _counted(day: Day) -> Day:
    if day.rows > _COUNTED_ROWS:
        return day
    # By the whole history's name: another call may have dropped this day meanwhile.
    start, end = _bounds(day.day)
    rows = EndedJob.objects.filter(finalized_at__gte=start, finalized_at__lt=end).count()
    return replace(day, rows=rows)


def _bounds(day: date) -> tuple[datetime, datetime]:
    """Where the day begins, and where the next one does."""
    start = datetime.combine(day, time.min, UTC)
    return start, start + timedelta(days=1)


def make_days() -> bool:
    """Make the days that lack a partition, until DAYS_AHEAD from now, and move rows of theirs that
    are in the default partition. Returns whether all are made.
    """
    today = datetime.now(UTC).date()
    wanted = {today + timedelta(days=number) for number in range(DAYS_AHEAD + 1)}
    wanted |= _days_without_partition()
    for day in sorted(wanted - _made()):
        make_day(day)
    return wanted <= _made()


def _made() -> set[date]:
    return {made.day for made in days()}


def _days_without_partition() -> set[date]:
    """The days of rows in the default partition, and of ended jobs in the queue."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT (finalized_at AT TIME ZONE 'UTC')::date "
            "FROM replication_endedjob_default"
        )
        found = {day for (day,) in cursor.fetchall()}
        for states in ("= 'completed'", "IN ('cancelled', 'superseded')"):
            # The first job of each day, from an index, however many there are.
            cursor.execute(
                f"""
                WITH RECURSIVE first (at) AS (
                    SELECT min(finalized_at) FROM replication_transferjob WHERE state {states}
                    UNION ALL
                    SELECT (SELECT min(finalized_at) FROM replication_transferjob
                            WHERE state {states} AND finalized_at >=
                                date_trunc('day', first.at, 'UTC') + interval '1 day')
                    FROM first WHERE first.at IS NOT NULL)
                SELECT (at AT TIME ZONE 'UTC')::date FROM first WHERE at IS NOT NULL
                """  # noqa: S608 - inserts our own constants only
            )
            found |= {day for (day,) in cursor.fetchall()}
    return found


def make_day(day: date) -> None:
    """Make the day's partition with its rows that are in the default one, unless it exists."""
    with _locked_briefly(day) as cursor:
        if day not in _made():
            _make_day(cursor, day)


def _make_day(cursor: CursorWrapper, day: date) -> None:
    table = f"{_PREFIX}{day:%Y%m%d}"
    start, end = _bounds(day)
    # Adding a finished table locks the others for a moment only; CREATE … PARTITION OF waits for
    # all readers.
    cursor.execute(
        f"CREATE TABLE {table} (LIKE replication_endedjob INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
    )
    cursor.execute(f"LOCK TABLE {DEFAULT}")
    cursor.execute(
        f"""
        WITH moved AS (
            DELETE FROM {DEFAULT} WHERE finalized_at >= %s AND finalized_at < %s RETURNING *)
        INSERT INTO {table} SELECT * FROM moved
        """,  # noqa: S608 - a date is all that comes from outside
        [start, end],
    )
    cursor.execute(
        f"ALTER TABLE replication_endedjob ATTACH PARTITION {table} "
        f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )


def drop_days(*, older_than_days: int) -> list[Day]:
    """Drop the days that ended so long ago. Returns those that were dropped."""
    dropped = []
    for day in due_days(older_than_days=older_than_days):
        with _locked_briefly(day.day) as cursor:
            if day.day in _made():
                cursor.execute(f"DROP TABLE {day.table}")
                dropped.append(day)
    return dropped


def due_days(*, older_than_days: int) -> list[Day]:
    """The days that ended so long ago."""
    first_kept = datetime.now(UTC).date() - timedelta(days=older_than_days)
    return [_counted(day) for day in days() if day.day < first_kept]


@contextmanager
def _locked_briefly(day: date) -> Iterator[CursorWrapper]:
    """A transaction that gives up, with a line in the log, where a lock is not to be had soon."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_DAYS_LOCK])
            yield cursor
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != "55P03":  # lock_not_available
            raise
        log.warning(
            "history.day_is_locked",
            day=day.isoformat(),
            hint="Something reads the history for long, perhaps a backup. This is tried again.",
        )


def move_ended(*, limit: int) -> int:
    """Move ended jobs that an earlier version of s3sync left in the queue. Returns how many.

    To be called once all days are made: a job whose day is missing would go to the default
    partition, and from there to its day while all readers wait.
    """
    with transaction.atomic():
        left = TransferJob.objects.filter(state=JobState.COMPLETED)
        ids = _locked(left, limit)
        if len(ids) < limit:
            dropped = [JobState.CANCELLED, JobState.SUPERSEDED]
            ids += _locked(TransferJob.objects.filter(state__in=dropped), limit - len(ids))
        return leave(ids) if ids else 0


def _locked(jobs: QuerySet[TransferJob], limit: int) -> list[int]:
    """Lock the oldest of these jobs; others that move jobs now take the next ones."""
    free = jobs.select_for_update(skip_locked=True).order_by("finalized_at")
    return list(free.values_list("pk", flat=True)[:limit])
