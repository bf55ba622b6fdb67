"""Listens for enqueued jobs, on its own thread and database connection."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from django.db import Error, connection

from replication.jobs.waking import JOBS_CHANNEL

log = structlog.get_logger(__name__)

STOP_CHECK_SECONDS = 0.5
RECONNECT_SECONDS = 1.0
# In a stream of events, each commit sends a NOTIFY. The first is passed on at once, those that
# follow within this time are passed on together.
COALESCE_SECONDS = 0.01


class NotifyListener:
    """Calls `on_notify` from its own thread with the payload of each NOTIFY, from entry to exit.

    Calls it with "" when it has (re)connected: it may have missed a NOTIFY before.
    """

    def __init__(self, on_notify: Callable[[str], None]) -> None:
        self._on_notify = on_notify
        self._stop = threading.Event()
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
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Error as error:
                log.warning("wake.listener_disconnected", reason=str(error))
                self._stop.wait(RECONNECT_SECONDS)
            finally:
                connection.close()

    def _listen(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {JOBS_CHANNEL}")
        self._on_notify("")  # jobs may have been enqueued before we listened
        while not self._stop.is_set():
            # Django has no API for NOTIFY; this is psycopg's connection.
            with connection.wrap_database_errors:
                received = connection.connection.notifies(timeout=STOP_CHECK_SECONDS, stop_after=1)
                payloads = {notify.payload for notify in received}
            for payload in payloads:
                self._on_notify(payload)
            if payloads:
                self._stop.wait(COALESCE_SECONDS)
