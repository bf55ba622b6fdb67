"""Polls every enabled queue on a thread of its own, whatever SQS and the database do."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from django.db import connection
from django.db.models.functions import Now

from replication import loops
from replication.database import DATABASE_AWAY
from replication.errors import ReplicationError
from replication.in_hand import InHand
from replication.models import EventQueue
from replication.poller import NOT_THE_MESSAGES_FAULT, poll_once
from replication.sqs import MAX_WAIT_SECONDS, Queue, QueueError

log = structlog.get_logger(__name__)

# Each look beats, too; at the very pace of beats, every second look would come too early for one.
LOOK_FOR_QUEUES_SECONDS = loops.BEAT_SECONDS + 0.5
STOP_CHECK_SECONDS = 0.5
DEPTH_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0


def poll_for(loop: loops.Loop, *, seconds: float) -> None:
    """Poll all enabled queues for that long; asks for a successor a little before."""
    ends = time.monotonic() + seconds
    PollLoop(loop, until=ends, renew_at=ends - loops.OVERLAP * seconds).run()


def poll_until(loop: loops.Loop, stop: threading.Event, *, only: str = "") -> None:
    """Poll all enabled queues, or the one of the name `only`, until told to stop."""
    PollLoop(loop, until=math.inf, stop=stop, only=only).run()


@dataclass
class _Thread:
    thread: threading.Thread
    stop: threading.Event


class PollLoop:
    """The threads that poll, kept equal to the queues that are enabled in the database."""

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
        self._threads: dict[tuple[object, ...], _Thread] = {}

    def run(self) -> None:
        """See poll_for and poll_until."""
        try:
            while not self._must_stop() and (now := time.monotonic()) < self._until:
                try:
                    self._follow_queues()
                    self._loop.beat_if_due(in_flight=len(self._threads))
                    self._renew_if_due()
                except DATABASE_AWAY as error:
                    log.warning("poller.database_unavailable", reason=str(error))
                    connection.close()
                next_look = min(now + LOOK_FOR_QUEUES_SECONDS, self._until, self._renew_at)
                while not self._must_stop() and (left := next_look - time.monotonic()) > 0:
                    self._stop.wait(min(left, STOP_CHECK_SECONDS))
        finally:
            for polling in self._threads.values():
                polling.stop.set()
            for polling in self._threads.values():
                polling.thread.join()

    def _must_stop(self) -> bool:
        return self._stop.is_set() or loops.are_told_to_stop()

    def _follow_queues(self) -> None:
        queues = EventQueue.objects.filter(enabled=True)
        if self._only:
            queues = queues.filter(name=self._only)
        wanted = {(q.pk, q.url, q.region, q.credential_profile): q for q in queues}
        for gone in self._threads.keys() - wanted.keys():
            self._threads.pop(gone).stop.set()
        for new in wanted.keys() - self._threads.keys():
            stop = threading.Event()
            poller = QueuePoller(wanted[new], until=self._until, stop=stop)
            thread = threading.Thread(target=poller.run, name=f"poll-{wanted[new].name}")
            self._threads[new] = _Thread(thread, stop)
            thread.start()

    def _renew_if_due(self) -> None:
        if time.monotonic() >= self._renew_at:
            self._renew_at = math.inf
            if not self._loop.has_younger_peer():
                self._loop.renew()


class QueuePoller:
    """Polls one queue; waits longer after each failure in a row."""

    def __init__(self, queue: EventQueue, *, until: float, stop: threading.Event) -> None:
        self._queue = queue
        self._until = until
        self._stop = stop
        self._pause_seconds = 0.0
        self._depth_read_at = -math.inf
        self._in_hand = InHand(queue)

    def run(self) -> None:
        """Poll until the time is up or `stop` is set; never raises."""
        try:
            with self._in_hand:
                while not self._stop.is_set() and (left := self._until - time.monotonic()) > 0:
                    # A long poll of 0 seconds would be a short one, and we would ask in a frenzy.
                    wait_seconds = max(1, int(min(left, MAX_WAIT_SECONDS)))
                    if self._survives(partial(self._poll, wait_seconds)):
                        self._pause_seconds = 0.0
                    else:
                        self._pause()
        finally:
            connection.close()

    def _poll(self, wait_seconds: int) -> None:
        poll_once(self._queue, wait_seconds=wait_seconds, in_hand=self._in_hand)
        found: dict[str, object] = {"last_polled_at": Now(), "last_error": ""}
        if time.monotonic() - self._depth_read_at >= DEPTH_SECONDS:
            self._depth_read_at = time.monotonic()
            found["depth"] = Queue(self._queue).depth()
        EventQueue.objects.filter(pk=self._queue.pk).update(**found)

    def _survives(self, poll: Callable[[], None]) -> bool:
        try:
            poll()
        except NOT_THE_MESSAGES_FAULT as error:
            # Nothing was deleted. What is in hand is taken when the database is back; if this
            # process ends first, SQS delivers it again.
            log.warning("queue.database_unavailable", queue=self._queue.name, reason=str(error))
            connection.close()
            self._report(f"the database: {error}")
            return False
        except (QueueError, ReplicationError) as error:
            log.warning("queue.poll_failed", queue=self._queue.name, reason=str(error))
            self._report(str(error))
            return False
        except Exception as error:
            # Whatever it was, it must not end the polling of its queue; SQS delivers again what
            # was in hand.
            self._in_hand.let_go()
            log.exception("queue.poll_failed_unexpectedly", queue=self._queue.name)
            self._report(f"{type(error).__name__}: {error}")
            return False
        return True

    def _report(self, reason: str) -> None:
        """Leave the reason where the operator looks."""
        try:
            EventQueue.objects.filter(pk=self._queue.pk).update(
                last_error=reason, last_error_at=Now()
            )
        except DATABASE_AWAY:
            connection.close()

    def _pause(self) -> None:
        self._pause_seconds = min(
            max(FIRST_PAUSE_SECONDS, self._pause_seconds * 2), LONGEST_PAUSE_SECONDS
        )
        self._stop.wait(min(self._pause_seconds, max(0.0, self._until - time.monotonic())))
