"""What a database of an older version relies on."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from replication.models import ClusterTask, DeadLetter, EventQueue

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_migration_of_texts_runs_no_sql() -> None:
    out = StringIO()
    call_command("sqlmigrate", "replication", "0013", stdout=out)
    statements = [line for line in out.getvalue().splitlines() if not line.startswith("--")]
    assert statements == ["BEGIN;", "COMMIT;"]


def test_the_migration_of_dead_letters_builds_its_index_without_holding_up_intake() -> None:
    out = StringIO()
    call_command("sqlmigrate", "replication", "0018", stdout=out)
    assert "BEGIN;" not in out.getvalue()
    assert "CREATE UNIQUE INDEX CONCURRENTLY dead_letter_once_per_record" in out.getvalue()


def test_a_poller_of_an_older_version_keeps_each_message_once() -> None:
    queue = EventQueue.objects.create(name="q", url="https://q/1", region="r")
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO replication_deadletter (queue_id, message_id, body, reason, received_at)
                VALUES (%s, 'm', 'no JSON', 'the message is not JSON', now())
                ON CONFLICT DO NOTHING
                """,
                [queue.pk],
            )
    letter = DeadLetter.objects.get()
    assert letter.record is None


# Tasks that an older version queued, and its schedules if it is migrated back to, name these.
@pytest.mark.parametrize(
    "name", ["run_lane", "run_poller", "revive", "prune", "notify", "abort_uploads", "put_canaries"]
)
def test_tasks_keep_their_names(name: str) -> None:
    assert callable(import_string(f"replication.tasks.{name}"))


def test_the_schedules_go_and_come_back_with_the_version_that_has_them() -> None:
    Schedule.objects.create(name="of another program", func="another.program")
    call_command("migrate", "replication", "0038", verbosity=0)
    ours = Schedule.objects.filter(func__startswith="replication.tasks.")
    assert sorted(ours.values_list("func", "schedule_type", "repeats")) == [
        ("replication.tasks.notify", Schedule.MINUTES, -1),
        ("replication.tasks.prune", Schedule.HOURLY, -1),
        ("replication.tasks.revive", Schedule.MINUTES, -1),
    ]
    assert all(callable(import_string(schedule.func)) for schedule in ours)
    call_command("migrate", verbosity=0)
    assert not ours.all().exists()
    Schedule.objects.get(func="another.program").delete()
    scheduler()  # as a cluster of the older version does, which is still at work
    assert not OrmQ.objects.exists()
    assert not ClusterTask.objects.exists()
