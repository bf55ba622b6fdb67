"""Hears, on a connection and thread of its own, when jobs are enqueued."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from django.db import Error, connection

from replication.jobs.enqueueing import WAKE_CHANNEL

log = structlog.get_logger(__name__)

STOP_CHECK_SECONDS = 0.5
RECONNECT_SECONDS = 1.0
# In a stream of events there is a NOTIFY for each commit: what comes in such a moment is heard as
# one. The first of them is heard at once.
BREATH_SECONDS = 0.01


class WakeListener:
    """Calls `on_wake` from its thread with what each NOTIFY says, from entry to exit."""

    def __init__(self, on_wake: Callable[[str], None]) -> None:
        self._on_wake = on_wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wake", daemon=True)

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
            cursor.execute(f"LISTEN {WAKE_CHANNEL}")
        self._on_wake("")  # whatever was enqueued before we listened
        while not self._stop.is_set():
            # Django has no word for NOTIFY; this is psycopg's own connection.
            with connection.wrap_database_errors:
                heard = connection.connection.notifies(timeout=STOP_CHECK_SECONDS, stop_after=1)
                said = {notify.payload for notify in heard}
            for payload in said:
                self._on_wake(payload)
            if said:
                self._stop.wait(BREATH_SECONDS)
