"""What a database of an older version relies on."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.utils.module_loading import import_string

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_migration_of_texts_runs_no_sql() -> None:
    out = StringIO()
    call_command("sqlmigrate", "replication", "0013", stdout=out)
    statements = [line for line in out.getvalue().splitlines() if not line.startswith("--")]
    assert statements == ["BEGIN;", "COMMIT;"]


# Schedules in the database, and tasks that an older version queued, name these.
@pytest.mark.parametrize(
    "name", ["run_lane", "run_poller", "revive", "prune", "notify", "abort_uploads"]
)
def test_tasks_keep_their_names(name: str) -> None:
    assert callable(import_string(f"replication.tasks.{name}"))
