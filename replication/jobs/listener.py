"""Listens for enqueued jobs on its own thread and database connection; asks behind a pooler."""

import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

import structlog
from django.db import Error, connection

from replication.cluster.pooling import ASK_SECONDS, is_pooled
from replication.jobs.waking import JOBS_CHANNEL, PARTS

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
# In a stream of events, each commit sends a NOTIFY. The first is passed on at once, those that
# follow within this time are passed on together.
COALESCE_SECONDS = 0.01


class NotifyListener:
    """Calls `on_notify` from its own thread with the payload of each NOTIFY, from entry to exit.

    Calls it with "" when it has (re)connected: it may have missed a NOTIFY before. Behind a pooler,
    calls it every ASK_SECONDS, as if jobs and parts had been announced.
    """

    def __init__(self, on_notify: Callable[[str], None]) -> None:
        self._on_notify = on_notify
        # The end of the one is heard at the other, also beside the database's socket.
        self._end, self._end_heard = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()
        self._thread.join()
        self._end_heard.close()

    def _ends(self, *, within_seconds: float = 0) -> bool:
        """Whether the context ends before this time is over."""
        return bool(wait([self._end_heard], within_seconds))

    def _run(self) -> None:
        while not self._ends():
            try:
                if is_pooled(connection):
                    connection.close()
                    self._ask()
                else:
                    self._listen()
            except Error as error:
                log.warning("wake.listener_disconnected", reason=str(error))
                self._ends(within_seconds=RECONNECT_SECONDS)
            finally:
                connection.close()

    def _ask(self) -> None:
        while True:
            self._on_notify("")
            self._on_notify(PARTS)
            if self._ends(within_seconds=ASK_SECONDS):
                return

    def _listen(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {JOBS_CHANNEL}")
        heard = {""}  # jobs may have been enqueued before we listened
        while True:
            for payload in heard:
                self._on_notify(payload)
            if self._ends(within_seconds=COALESCE_SECONDS if heard else 0):
                return
            # Django has no API for NOTIFY; this is psycopg's connection.
            with connection.wrap_database_errors:
                if not heard:
                    wait([connection.connection, self._end_heard])
                heard = {notify.payload for notify in connection.connection.notifies(timeout=0)}
