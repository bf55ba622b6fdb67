"""Tells whether a pooler such as PgBouncer is between this process and PostgreSQL.

Through a pooler, no NOTIFY is sure to arrive: in transaction mode PgBouncer runs LISTEN on a server
connection that it lends to the next client afterwards. So a process behind a pooler does not
LISTEN, but asks for work every ASK_SECONDS.
"""

import structlog
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

log = structlog.get_logger(__name__)

# docs/guides/pgbouncer.md has the cost of asking.
ASK_SECONDS = 0.2


def is_pooled(to: BaseDatabaseWrapper) -> bool:
    """Whether the connection leads to a pooler.

    PostgreSQL greets a client with the id of the process that serves it, which cancel requests
    name. A pooler makes up an id, because it lends its server connections to many clients.
    """
    with to.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    return bool(pid != to.connection.info.backend_pid)


def say_if_pooled() -> None:
    """Log that this process and its children ask, if a pooler keeps them from listening."""
    if is_pooled(connection):
        log.warning(
            "database.pooler_found",
            effect=f"LISTEN does not work through a pooler, so lanes ask for jobs every "
            f"{ASK_SECONDS:g} s and start a job up to {ASK_SECONDS:g} s later",
            fix="none is needed; for wake-ups without delay, let DATABASE_URL of the clusters lead "
            "to PostgreSQL itself: docs/guides/pgbouncer.md",
        )
