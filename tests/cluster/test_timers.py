"""Timers queue their tasks once a period, however many clusters run."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from replication import tasks
from replication.cluster import known_tasks, loops, timers
from replication.models import ClusterTask
from tests.support.pgbouncer import PgBouncer
from tests.support.processes import eventually, manage
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ALL = sorted(timers.PERIOD_SECONDS)


def queued() -> list[str]:
    return sorted(row.task["func"] for row in OrmQ.objects.all())


def let_pass(**time: float) -> None:
    """Have all timers become due that much sooner."""
    ClusterTask.objects.update(due_at=F("due_at") - timedelta(**time))


def test_a_timer_is_due_at_first_and_then_once_a_period() -> None:
    assert sorted(timers.queue_due()) == queued() == ALL
    assert timers.queue_due() == []
    let_pass(seconds=59)
    assert timers.queue_due() == []
    let_pass(seconds=1)
    assert sorted(timers.queue_due()) == ["replication.tasks.notify", "replication.tasks.revive"]
    let_pass(hours=1)
    assert sorted(timers.queue_due()) == ALL


def test_after_a_long_pause_each_task_is_queued_once() -> None:
    timers.queue_due()
    OrmQ.objects.all().delete()
    let_pass(days=3)
    timers.queue_due()
    timers.queue_due()
    assert queued() == ALL
    for task in ClusterTask.objects.annotate(left=F("due_at") - Now()):
        period = timedelta(seconds=timers.PERIOD_SECONDS[task.name])
        assert period - timedelta(seconds=30) < task.left <= period


def test_of_many_clusters_one_queues_each_task() -> None:
    for due in range(1, 6):
        let_pass(hours=2)
        asked = at_once(*[timers.queue_due] * 8)
        assert sorted(name for names in asked for name in names) == ALL
        assert queued() == sorted(ALL * due)


def test_nothing_is_written_while_nothing_is_due() -> None:
    def versions() -> set[tuple[str, ...]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT xmin::text, xmax::text FROM replication_clustertask")
            return set(cursor.fetchall())

    timers.queue_due()
    before = versions()
    with CaptureQueriesContext(connection) as queries:
        timers.queue_due()
    assert versions() == before
    assert len(queries) == 3  # the statement, and the transaction's begin and end


def test_a_task_that_could_not_be_queued_stays_due() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_q_ormq ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    try:
        with pytest.raises(DatabaseError):
            timers.queue_due()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_q_ormq DROP CONSTRAINT full_up")
    assert not ClusterTask.objects.exists()
    assert sorted(timers.queue_due()) == queued() == ALL


def test_a_timer_whose_task_failed_before_it_was_ever_due_is_due() -> None:
    ClusterTask.objects.create(name="replication.tasks.prune", failed_at=Now(), failure="no")
    assert sorted(timers.queue_due()) == ALL
    assert ClusterTask.objects.get(name="replication.tasks.prune").failure == "no"


def test_behind_a_pooler_a_timer_is_queued(pooled: PgBouncer) -> None:
    assert sorted(timers.queue_due()) == queued() == ALL
    assert timers.queue_due() == []


def test_the_known_tasks_are_the_functions_of_tasks() -> None:
    """A task that is not named there would be refused, and a name too many could be called."""
    functions = {
        f"{value.__module__}.{name}"
        for name, value in vars(tasks).items()
        if getattr(value, "__module__", "") == tasks.__name__ and not name.startswith("_")
    }
    assert functions == known_tasks.NAMES
    assert set(timers.PERIOD_SECONDS) | set(loops.TASKS.values()) <= known_tasks.NAMES


@pytest.fixture
def ever_queued() -> Iterator[None]:
    """A table with the payload of each task that was ever queued."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE ever_queued (payload text);
            CREATE FUNCTION note_queued() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO ever_queued VALUES (NEW.payload); RETURN NULL; END $$;
            CREATE TRIGGER note_queued AFTER INSERT ON django_q_ormq
                FOR EACH ROW EXECUTE FUNCTION note_queued();
            """
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute(
            "DROP TRIGGER note_queued ON django_q_ormq; DROP FUNCTION note_queued;"
            "DROP TABLE ever_queued"
        )


def times_queued(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM ever_queued")
        return sum(SignedPackage.loads(text)["func"] == name for (text,) in cursor.fetchall())


def test_two_clusters_queue_a_task_once_a_period_whatever_the_database_does(
    ever_queued: None, tmp_path: Path
) -> None:
    hourly = "replication.tasks.prune"
    environment = {"S3SYNC_POLL_IN_CLUSTER": "false"}
    task = ClusterTask.objects.filter(name=hourly, due_at__gt=Now())
    with (
        manage("qcluster", directory=tmp_path, **environment) as one,
        manage("qcluster", directory=tmp_path, **environment) as other,
    ):
        eventually(task.exists, unless_ended=one)
        for period in range(1, 4):
            assert times_queued(hourly) == period
            let_pass(days=1)
            if period == 2:
                break_connections()
            eventually(task.exists, unless_ended=other)
        assert times_queued(hourly) == 4
        # One of them is enough.
        os.killpg(one.pid, signal.SIGKILL)
        let_pass(days=1)
        eventually(task.exists, unless_ended=other)
        assert times_queued(hourly) == 5


def break_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
