"""A connection on which no statement waits for ever.

A failover may leave a connection that looks alive and passes nothing on: a proxy or a firewall
acknowledges what is sent, so that neither keepalives nor `tcp_user_timeout` notice anything. Only
a deadline on this side ends the wait.
"""

import time
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from psycopg.abc import PQGen

RV = TypeVar("RV")

# A client that nobody hears any more must not keep its locks. So the server also ends a session
# that is silent in the middle of a transaction, for as long as _SILENT_STATEMENTS may take.
# https://www.postgresql.org/docs/14/runtime-config-client.html
# https://www.postgresql.org/docs/14/runtime-config-connection.html
_NOTICE_A_DEAD_CLIENT = {
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
}
_SILENT_STATEMENTS = 3
_CANCEL_SECONDS = 2.0


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that closes when a statement has had no answer for `statement_seconds`."""

    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the answer to a statement.

        Raises:
            psycopg.OperationalError: no answer within `statement_seconds`. The connection is
                closed, and whether the statement took effect is unknown.
        """
        if timeout is not None or self.statement_seconds is None:
            return super().wait(gen, interval, timeout)
        overdue_at = time.monotonic() + self.statement_seconds
        try:
            return super().wait(gen, interval, self.statement_seconds)
        except psycopg.OperationalError:
            if time.monotonic() < overdue_at:
                raise
        self._give_up()
        raise psycopg.OperationalError(
            f"the database did not answer a statement within {self.statement_seconds:g} s"
        )

    def _give_up(self) -> None:
        """Close the connection, and ask the server by a new one to end the statement.

        Otherwise a statement that waits for a lock would do its work later, when nobody expects it.
        """
        with suppress(psycopg.Error):  # if the server can't be reached, it notices by itself
            self.cancel_safe(timeout=_CANCEL_SECONDS)
        self.close()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection to PostgreSQL, with a deadline for each statement where one is set."""

    statement_seconds: ClassVar[float | None] = None
    is_refused_settings: ClassVar[bool] = False

    def get_new_connection(self, conn_params: dict[str, Any]) -> DeadlineConnection:
        """Connect as Django does, but without its pool and its choice of an isolation level."""
        self.isolation_level = IsolationLevel.READ_COMMITTED
        if self.statement_seconds is None:
            return DeadlineConnection.connect(**conn_params)
        connection = _connect(conn_params, _session_settings(self.statement_seconds))
        connection.statement_seconds = self.statement_seconds
        return connection


def _connect(conn_params: dict[str, Any], settings: dict[str, str]) -> DeadlineConnection:
    """Connect with the settings, or without them where a pooler refuses them.

    A statement could not set them there: the pooler lends the server's connection to other clients,
    who would get these settings, and this one others. docs/guides/pgbouncer.md says what to set.
    """
    if not DatabaseWrapper.is_refused_settings:
        # With the greeting: a statement of its own would cost each connection a round trip.
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        given = conn_params.get("options", "")
        try:
            return DeadlineConnection.connect(
                **{**conn_params, "options": f"{given} {options}".strip()}
            )
        except psycopg.OperationalError as error:
            if "startup parameter" not in str(error):
                raise
            # Remember it: each refusal costs a connection, and a line in the pooler's log.
            DatabaseWrapper.is_refused_settings = True
    return DeadlineConnection.connect(**conn_params)


def _session_settings(statement_seconds: float) -> dict[str, str]:
    silent_ms = int(_SILENT_STATEMENTS * statement_seconds * 1000)
    return {"idle_in_transaction_session_timeout": f"{silent_ms}", **_NOTICE_A_DEAD_CLIENT}


def give_up_statements_after(seconds: float) -> None:
    """Give each statement of this process, and of processes forked from it, this long.

    Open connections are not changed. Commands whose statements may take long, such as `migrate`,
    don't call this.
    """
    DatabaseWrapper.statement_seconds = seconds
