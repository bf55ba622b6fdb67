"""Waits for the database: until it is reached and migrated, and through its restarts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
)
from django.db.migrations.executor import MigrationExecutor

from replication.cluster import watchdog

log = structlog.get_logger(__name__)

# Raised after a restart, a broken connection or a failover (InternalError: the old primary is
# read-only now). A new connection helps.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)

ASK_AGAIN_SECONDS = 2.0
REPEAT_SECONDS = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class NotReady:
    """Why the database can't be used.

    `detail` may be shown to anyone. `reason` names the server and is for the log only.
    """

    code: str
    detail: str
    reason: str


def why_not_ready() -> NotReady | None:
    """None if the database is reached and migrated. The reason never contains the password."""
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
    """Return once the database is ready. Calls `say` with each new reason to wait."""
    said = ""
    while (problem := why_not_ready()) is not None:
        if problem.reason != said:
            said = problem.reason
            say(f"waiting: {said}")
        time.sleep(ASK_AGAIN_SECONDS)


@dataclass(frozen=True)
class Persistently:
    """Runs statements through restarts of the database.

    A statement must be safe to run twice: its first run may have been committed although the
    answer was lost.
    """

    give_up_after_seconds: float
    event: str  # logged each time the database is away

    def __call__(self, statement: Callable[[], T]) -> T:
        """Run the statement until it succeeds.

        Raises:
            DATABASE_AWAY: the database was away for longer than `give_up_after_seconds`.
        """
        give_up_at = time.monotonic() + self.give_up_after_seconds
        while True:
            try:
                return statement()
            except DATABASE_AWAY as error:
                if time.monotonic() > give_up_at:
                    raise
                log.warning(self.event, reason=str(error))
                connection.close()
                watchdog.pat()
                time.sleep(REPEAT_SECONDS)
