"""Polls one queue: receives, commits and deletes run concurrently, each at its own rate.

A message leaves SQS only after its jobs are committed.

Only the poller's own thread makes decisions and uses the database. It commits the messages of all
receives since the last commit in one transaction. Pool threads call SQS, and put a callback with
the result into the inbox.
"""

import math
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import structlog
from django.db import Error, connection
from django.db.models.functions import Now

from replication.errors import ReplicationError
from replication.intake.messages import DATABASE_FAULTS, take_messages
from replication.intake.receive_rate import (
    COMMIT_INTERVAL_SECONDS,
    Backoff,
    ReceiveRate,
    wait_seconds,
)
from replication.intake.sqs import MAX_BATCH, Message, Queue, QueueError
from replication.intake.sqs_client import MAX_CONCURRENT_CALLS
from replication.intake.visibility import InFlight
from replication.models import EventQueue

log = structlog.get_logger(__name__)

# Limits for messages that are received and not deleted yet. A message usually has about 1 KB, but
# may have 1 MiB.
MAX_MESSAGES = 1000
MAX_CHARACTERS = 32 * 1024 * 1024
# How long a message with committed jobs waits for nine others, to be deleted in one request.
DELETE_WITHIN_SECONDS = 0.1
# How often the queue's row is updated: that polling works, and how many messages wait.
STATUS_INTERVAL_SECONDS = 5.0
DEPTH_INTERVAL_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 1.0  # so that a thread that is stuck can be told from one that waits

T = TypeVar("T")


class QueuePoller:
    """Polls one queue on the thread that calls `run`."""

    def __init__(
        self, event_queue: EventQueue, *, sqs: Queue, in_flight: InFlight, until: float
    ) -> None:
        """
        Args:
            sqs: the queue in SQS.
            in_flight: empty, and of the same queue.
            until: when to stop, as a time of `time.monotonic`.
        """
        self._queue = event_queue
        self._sqs = sqs
        self._until = until
        self._is_told_to_stop = False
        # Callbacks for the poller's thread, each with the result of a call to SQS.
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._in_flight = in_flight
        self._undeleted: list[Message] = []
        self._receives = 0  # calls under way
        self._being_deleted = 0  # messages
        self._receive_rate = ReceiveRate()
        self._receive_backoff = Backoff()
        self._database_backoff = Backoff()
        self._delete_backoff = Backoff()
        self._commit_at = self._delete_at = -math.inf
        self._status_at = math.inf  # until something succeeds
        self._depth_at = -math.inf
        self._heard_at = time.monotonic()

    def stop(self) -> None:
        """Make `run` start nothing new, finish the calls under way, and return. Thread-safe."""
        self._is_told_to_stop = True
        self._inbox.put(lambda: None)

    @property
    def queue_name(self) -> str:
        """The queue's name."""
        return self._queue.name

    @property
    def silent_seconds(self) -> float:
        """How long ago the poller's thread last began a round."""
        return time.monotonic() - self._heard_at

    def run(self) -> None:
        """Poll until the time is up or `stop` is called; never raises."""
        try:
            with (
                self._in_flight,
                ThreadPoolExecutor(MAX_CONCURRENT_CALLS, self._queue.name) as self._pool,
            ):
                while not self._is_done():
                    self._heard_at = time.monotonic()
                    self._handle_results()
                    self._receive_if_due()
                    self._commit_if_due()
                    self._delete_if_due()
                    self._update_status_if_due()
                self._heard_at = math.inf  # it only waits for calls to SQS now
        finally:
            connection.close()

    @property
    def _is_ending(self) -> bool:
        return self._is_told_to_stop or time.monotonic() >= self._until

    def _is_done(self) -> bool:
        """Whether everything that was started has ended.

        Messages that can't be committed do not delay the end: they are given back on exit.
        """
        is_committed = not self._in_flight or self._is_stuck
        is_deleted = not self._undeleted and not self._being_deleted
        return self._is_ending and not self._receives and is_committed and is_deleted

    def _handle_results(self) -> None:
        """Wait until a call has ended or work is due, then handle all results that are there."""
        due_at = [self._next_receive_at()]
        if not self._is_ending:
            due_at.append(self._until)
        if self._in_flight:
            due_at.append(self._next_commit_at())
        if self._undeleted:
            due_at.append(self._delete_at)
        seconds = max(0.0, min(due_at) - time.monotonic())
        with suppress(queue.Empty):
            self._inbox.get(timeout=min(seconds, LONGEST_WAIT_SECONDS))()
            while True:
                self._inbox.get_nowait()()

    def _call(self, call: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Run `call` on a pool thread, and `then` with its result on the poller's thread."""

        def run() -> None:
            result: T | Exception
            try:
                result = call()
            except Exception as error:
                result = error
            self._inbox.put(partial(then, result))

        self._pool.submit(run)

    # -- receive -------------------------------------------------------------------------------

    def _next_receive_at(self) -> float:
        """When one more receive may start; infinite while something else must end first."""
        undeleted = len(self._in_flight) + len(self._undeleted) + self._being_deleted
        has_room = undeleted < MAX_MESSAGES and self._in_flight.characters < MAX_CHARACTERS
        is_full = not has_room or self._receives >= self._receive_rate.max_receives
        if self._is_ending or self._is_stuck or is_full:
            return math.inf
        backoffs = (self._receive_backoff, self._database_backoff, self._delete_backoff)
        return max(self._receive_rate.next_at, *(backoff.until for backoff in backoffs))

    def _receive_if_due(self) -> None:
        while (now := time.monotonic()) >= self._next_receive_at():
            seconds = wait_seconds(is_alone=not self._receives, left_seconds=self._until - now)
            self._receives += 1
            self._call(partial(self._receive, seconds), partial(self._received, now))

    def _receive(self, seconds: int) -> int:
        """Receive on a pool thread; returns the number of messages."""
        messages = self._sqs.receive(wait_seconds=seconds)
        self._in_flight.add(messages)
        return len(messages)

    def _received(self, started_at: float, result: int | Exception) -> None:
        self._receives -= 1
        if isinstance(result, Exception):
            self._receive_rate.note_failed()
            self._fail(
                self._receive_backoff, result, started_at=started_at, event="queue.poll_failed"
            )
        else:
            self._receive_rate.note_received(result, started_at=started_at)
            self._succeed(self._receive_backoff, started_at=started_at)

    # -- commit --------------------------------------------------------------------------------

    @property
    def _is_stuck(self) -> bool:
        """Whether the messages in flight can't be committed; no more are received then."""
        return bool(self._in_flight) and self._database_backoff.is_on

    def _next_commit_at(self) -> float:
        return max(self._commit_at, self._database_backoff.until)

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if self._in_flight and now >= self._next_commit_at():
            self._commit_at = now + COMMIT_INTERVAL_SECONDS
            self._use_database(self._commit)

    def _commit(self) -> None:
        messages = self._in_flight.messages
        polled = take_messages(self._queue, messages)
        self._in_flight.remove(messages)
        # Delete last: after a crash before this line SQS delivers again, which is harmless.
        self._delete_soon(messages)
        log.info("queue.polled", queue=self._queue.name, **asdict(polled))

    def _use_database(self, work: Callable[[], object]) -> None:
        """Do work that needs the database; back off if the database is unavailable.

        After such a failure nothing was deleted. The messages stay in flight and are committed when
        the database is back, so that a short outage costs neither their visibility timeout nor a
        step towards the queue's own dead-letter queue. If this process ends first, SQS delivers
        them again.
        """
        started_at = time.monotonic()
        try:
            work()
        except DATABASE_FAULTS as error:
            log.warning("queue.database_unavailable", queue=self._queue.name, reason=str(error))
            connection.close()
            self._report(self._database_backoff, f"the database: {error}", started_at=started_at)
        except Exception as error:
            # An unknown error must not end the polling of its queue.
            self._in_flight.remove(self._in_flight.messages)
            self._fail(
                self._database_backoff, error, started_at=started_at, event="queue.poll_failed"
            )
        else:
            self._succeed(self._database_backoff, started_at=started_at)

    # -- delete --------------------------------------------------------------------------------

    def _delete_soon(self, messages: Sequence[Message]) -> None:
        if not self._undeleted:
            self._delete_at = time.monotonic() + DELETE_WITHIN_SECONDS
        self._undeleted += messages

    def _delete_if_due(self) -> None:
        now = time.monotonic()
        is_due = self._is_ending or now >= self._delete_at
        while len(self._undeleted) >= MAX_BATCH or (self._undeleted and is_due):
            batch, self._undeleted = self._undeleted[:MAX_BATCH], self._undeleted[MAX_BATCH:]
            self._delete_at = now + DELETE_WITHIN_SECONDS
            self._being_deleted += len(batch)
            self._call(partial(self._delete, batch), partial(self._deleted, now, batch))

    def _delete(self, batch: Sequence[Message]) -> None:
        """Delete on a pool thread; SQS delivers a message that it fails to delete again."""
        for reason in self._sqs.delete(batch):
            log.warning("queue.message_not_deleted", queue=self._queue.name, reason=reason)

    def _deleted(
        self, started_at: float, batch: Sequence[Message], result: Exception | None
    ) -> None:
        self._being_deleted -= len(batch)
        if isinstance(result, Exception):
            # SQS delivers the messages again, which is harmless.
            event = "queue.messages_not_deleted"
            self._fail(self._delete_backoff, result, started_at=started_at, event=event)
        else:
            self._succeed(self._delete_backoff, started_at=started_at)

    # -- status for operators ------------------------------------------------------------------

    def _succeed(self, backoff: Backoff, *, started_at: float) -> None:
        backoff.note_success(started_at=started_at)
        if math.isinf(self._status_at):
            self._status_at = time.monotonic()

    def _fail(self, backoff: Backoff, error: Exception, *, started_at: float, event: str) -> None:
        if isinstance(error, (QueueError, ReplicationError)):
            reason = str(error)
            log.warning(event, queue=self._queue.name, reason=reason)
        else:
            reason = f"{type(error).__name__}: {error}"
            log.error(f"{event}_unexpectedly", queue=self._queue.name, exc_info=error)
        self._report(backoff, reason, started_at=started_at)

    def _report(self, backoff: Backoff, reason: str, *, started_at: float) -> None:
        """Back off before the next attempt, and write the reason into the queue's row."""
        backoff.note_failure(started_at=started_at)
        self._status_at = math.inf
        try:
            EventQueue.objects.filter(pk=self._queue.pk).update(
                last_error=reason, last_error_at=Now()
            )
        except Error:
            connection.close()

    def _update_status_if_due(self) -> None:
        """Write into the queue's row, at intervals, that polling works, if it does."""
        now = time.monotonic()
        is_due = now >= max(self._status_at, self._database_backoff.until)
        is_failing = self._receive_backoff.is_on or self._delete_backoff.is_on or self._is_stuck
        if not is_due or is_failing:
            return
        self._status_at = now + STATUS_INTERVAL_SECONDS
        self._use_database(lambda: self._update(last_polled_at=Now(), last_error=""))
        if now >= self._depth_at and not self._is_ending:
            self._depth_at = now + DEPTH_INTERVAL_SECONDS
            self._call(self._sqs.depth, self._depth_found)

    def _depth_found(self, result: int | Exception | None) -> None:
        depth = None if isinstance(result, Exception) else result
        self._use_database(lambda: self._update(depth=depth))

    def _update(self, **fields: object) -> None:
        EventQueue.objects.filter(pk=self._queue.pk).update(**fields)
