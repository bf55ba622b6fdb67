"""Whether the database can be worked with, and waiting until it can."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
)
from django.db.migrations.executor import MigrationExecutor

# What a restart, a broken connection or a failover raises (InternalError: what was the primary
# is read-only now); a new connection mends it.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)

ASK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class NotReady:
    """Why the database can't be worked with.

    `detail` may be told to anybody, `reason` names the place and is for the log.
    """

    code: str
    detail: str
    reason: str


def why_not_ready() -> NotReady | None:
    """None if the database is reached and migrated. Never repeats the password."""
    settings = connection.settings_dict
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        place = f"{settings['USER']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
        return NotReady(
            "database_unavailable",
            "The database can't be reached; the server's log has the reason.",
            f"the database {place} can't be reached ({' '.join(str(error).split())}); "
            "is it up, and is DATABASE_URL right?",
        )
    if missing:
        detail = f"{len(missing)} migrations are not applied: run `manage.py migrate`."
        return NotReady("not_migrated", detail, reason=detail)
    return None


def wait_until_ready(say: Callable[[str], object]) -> None:
    """Return once the database is ready; says why it waits, once for each reason."""
    said = ""
    while (problem := why_not_ready()) is not None:
        if problem.reason != said:
            said = problem.reason
            say(f"waiting: {said}")
        time.sleep(ASK_AGAIN_SECONDS)
