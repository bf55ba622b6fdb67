"""A small upgrade without the old code: its schema, filled by SQL, is migrated, and `migrate` and
the moves into the history are killed. `make upgrade` has the old code run, too."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from replication import jobs
from replication.jobs import history
from replication.models import JobState, Outcome, TransferJob
from replication.transfer.results import Completion
from sandbox.child import Child
from tests.support.examples import a_rule
from tests.support.processes import eventually, manage
from tests.support.processes import test_database_url as database_url
from tests.upgrade import migrating, notes, rows
from tests.upgrade.installation import kill

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = "0033"  # the last migration of the version before
ENDED = 5000  # some batches of the moves
OF_EACH = 10
KEEP = {"S3SYNC_KEEP_JOBS_DAYS": "400", "S3SYNC_KEEP_FAILURES_DAYS": "400"}


@pytest.fixture
def database() -> Iterator[psycopg.Connection]:
    """The database as the version before had it; migrated and without notes afterwards."""
    days = {day.day for day in history.days()}
    albums, carried = (a_rule(name).pk for name in ("albums", "carried"))
    call_command("migrate", "replication", BEFORE, verbosity=0)
    with psycopg.connect(database_url(), autocommit=True) as database:
        try:
            rows.insert_ended(database, jobs=ENDED, rule_id=albums)
            rows.insert_unfinished(database, of_each=OF_EACH, rule_id=carried)
            notes.begin(database)
            yield database
        finally:
            with suppress(psycopg.errors.InvalidSchemaName):
                notes.forget(database)
            call_command("migrate", verbosity=0)
            for day in history.days():
                if day.day not in days:
                    database.execute(f"DROP TABLE {day.table}")


def test_each_job_and_try_is_told_as_before_whatever_is_killed_meanwhile(
    database: psycopg.Connection, tmp_path: Path, limits: Callable[..., None]
) -> None:
    limits(keep_jobs_days=400, keep_failures_days=400)
    with manage("migrate", directory=tmp_path) as process:
        assert not migrating.kill_waiting(lambda: process, database)
    call_command("migrate", verbosity=0)
    history.make_days()
    for days_ago in (15, 5):
        with manage("prune", directory=tmp_path, **KEEP) as process:
            kill_while_it_moves(process, days_ago=days_ago)
    assert 0 < notes.days_left(database) < rows.DAYS - 1
    call_command("prune")
    carry_on(notes.carried_on(database))
    notes.end(database)
    assert notes.ended(database) == ENDED
    assert notes.differences(database) == {}


def kill_while_it_moves(process: Child, *, days_ago: int) -> None:
    """Kill the process in the transaction that moves jobs of that day."""
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    table = f"replication_endedjob_{day:%Y%m%d}"
    with psycopg.connect(database_url()) as reindexing:
        reindexing.execute(f"LOCK TABLE {table} IN SHARE MODE")
        eventually(lambda: False in locks_on(table, reindexing), unless_ended=process)
        kill(process)
        reindexing.rollback()
        # Its connection notices the death when its statement has ended; until then it locks rows
        # of the queue, which others leave to it.
        eventually(lambda: not locks_on(table, reindexing))


def locks_on(table: str, database: psycopg.Connection) -> list[bool]:
    """The locks on that table that transactions have (True) or wait for (False)."""
    found = database.execute(
        "SELECT granted FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND relation = %s::regclass",
        [table],
    )
    return [is_granted for (is_granted,) in found]


def carry_on(job_ids: list[int]) -> None:
    """Do what lanes do, until none of these jobs is left in the queue."""
    left = TransferJob.objects.filter(pk__in=job_ids)

    def none_is_left() -> bool:
        jobs.rescue(limit=100)
        left.filter(state=JobState.PENDING).update(available_at=Now())  # any back-off is over
        claimed = jobs.claim(uuid4(), limit=100, lease_seconds=60)
        jobs.complete([(job, Completion(Outcome.COPIED)) for job in claimed])
        return not left.exists()

    eventually(none_is_left)
