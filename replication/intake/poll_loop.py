"""Polls each enabled queue on its own thread, through every failure of SQS and the database."""

import faulthandler
import math
import os
import threading
import time
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import connection

from replication.cluster import loops, watchdog
from replication.cluster.database import DATABASE_AWAY
from replication.intake.queue_poller import QueuePoller
from replication.intake.sqs import Queue
from replication.intake.visibility import InFlight
from replication.models import EventQueue

log = structlog.get_logger(__name__)

# Each look also sends a heartbeat, if one is due. If looks came exactly every BEAT_SECONDS, every
# second one would be a moment too early for its heartbeat.
LOOK_FOR_QUEUES_SECONDS = loops.BEAT_SECONDS + 0.5
STOP_CHECK_SECONDS = 0.5


def poll_for(loop: loops.Loop, *, seconds: float) -> None:
    """Poll all enabled queues for `seconds`; asks for a successor shortly before the end."""
    ends = time.monotonic() + seconds
    PollLoop(loop, until=ends, renew_at=ends - loops.OVERLAP * seconds).run()


def poll_until(loop: loops.Loop, stop: threading.Event, *, only: str = "") -> None:
    """Poll all enabled queues, or only the queue named `only`, until `stop` is set."""
    PollLoop(loop, until=math.inf, stop=stop, only=only).run()


@dataclass
class _Polling:
    poller: QueuePoller
    thread: threading.Thread


class PollLoop:
    """Runs one polling thread for each queue that is enabled in the database."""

    def __init__(
        self,
        loop: loops.Loop,
        *,
        until: float,
        stop: threading.Event | None = None,
        only: str = "",
        renew_at: float = math.inf,
    ) -> None:
        self._loop = loop
        self._until = until
        self._stop = stop or threading.Event()
        self._only = only
        self._renew_at = renew_at
        self._pollings: dict[tuple[object, ...], _Polling] = {}

    def run(self) -> None:
        """Poll until the time is up, `stop` is set or the cluster stops; then join all threads."""
        try:
            while not self._must_stop() and (now := time.monotonic()) < self._until:
                self._end_if_silent()
                try:
                    self._follow_queues()
                    self._loop.beat_if_due(in_flight=len(self._pollings))
                    self._renew_if_due()
                except DATABASE_AWAY as error:
                    log.warning("poller.database_unavailable", reason=str(error))
                    connection.close()
                next_look = min(now + LOOK_FOR_QUEUES_SECONDS, self._until, self._renew_at)
                while not self._must_stop() and (left := next_look - time.monotonic()) > 0:
                    watchdog.pat()
                    self._stop.wait(min(left, STOP_CHECK_SECONDS))
        finally:
            for polling in self._pollings.values():
                polling.poller.stop()
            for polling in self._pollings.values():
                self._join(polling)

    def _join(self, polling: _Polling) -> None:
        """Wait for the thread, whose own waits are limited, for as long as it is not silent."""
        while polling.thread.is_alive():
            polling.thread.join(STOP_CHECK_SECONDS)
            self._end_if_silent()
            watchdog.pat()

    def _end_if_silent(self) -> None:
        """End the process if a thread that polls is stuck, as the watchdog does for this thread."""
        for polling in self._pollings.values():
            silent_seconds = polling.poller.silent_seconds
            if polling.thread.is_alive() and silent_seconds > settings.S3SYNC.silence_seconds:
                queue = polling.poller.queue_name
                log.critical("poller.silent", queue=queue, seconds=round(silent_seconds))
                faulthandler.dump_traceback()
                os._exit(1)

    def _must_stop(self) -> bool:
        return self._stop.is_set() or loops.are_told_to_stop()

    def _follow_queues(self) -> None:
        queues = EventQueue.objects.filter(enabled=True)
        if self._only:
            queues = queues.filter(name=self._only)
        wanted = {(q.pk, q.url, q.region, q.credential_profile): q for q in queues}
        for gone in self._pollings.keys() - wanted.keys():
            self._pollings.pop(gone).poller.stop()
        for new in wanted.keys() - self._pollings.keys():
            queue = wanted[new]
            sqs = Queue(queue)
            poller = QueuePoller(queue, sqs=sqs, in_flight=InFlight(sqs), until=self._until)
            thread = threading.Thread(target=poller.run, name=f"poll-{queue.name}")
            self._pollings[new] = _Polling(poller, thread)
            thread.start()

    def _renew_if_due(self) -> None:
        if time.monotonic() >= self._renew_at:
            self._renew_at = math.inf
            if not self._loop.has_younger_peer():
                self._loop.renew()
