"""Polls one queue: receives, commits and deletes go on at the same time, each at its own pace.

The poller's own thread alone decides, and talks to the database: what all receives since the last
commit have brought it commits in one transaction. Threads of a pool talk to SQS, and put what came
of it into the inbox.
"""

import math
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from django.db import Error, connection
from django.db.models.functions import Now

from replication.errors import ReplicationError
from replication.intake.messages import NOT_THE_MESSAGES_FAULT, delete_messages, take_in_hand
from replication.intake.receive_rate import COMMIT_SECONDS, Appetite, Trouble, wait_seconds
from replication.intake.sqs import MAX_BATCH, Message, Queue, QueueError
from replication.intake.sqs_client import CALLS_AT_ONCE
from replication.intake.visibility import InHand
from replication.models import EventQueue

log = structlog.get_logger(__name__)

# Received and not yet deleted. A message has some 1 KB as a rule, but may have 1 MiB.
MOST_MESSAGES = 1000
MOST_CHARACTERS = 32 * 1024 * 1024
# A message whose jobs are committed waits so long for nine others to be deleted with.
DELETE_WITHIN_SECONDS = 0.1
# How often the queue's row says that all is well, and how many messages wait.
NOTE_SECONDS = 5.0
DEPTH_SECONDS = 60.0

T = TypeVar("T")


class QueuePoller:
    """Polls one queue on the thread that calls `run`."""

    def __init__(self, event_queue: EventQueue, *, until: float) -> None:
        self._queue = event_queue
        self._until = until
        self._is_told_to_stop = False
        # What to do on the poller's thread, now that a call of SQS has ended.
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._in_hand = InHand(event_queue)
        self._undeleted: list[Message] = []
        self._receives = 0  # calls under way
        self._being_deleted = 0  # messages
        self._appetite = Appetite()
        self._receiving, self._committing, self._deleting = Trouble(), Trouble(), Trouble()
        self._commit_at = self._delete_at = -math.inf
        self._note_at = math.inf  # until something succeeds
        self._depth_at = -math.inf

    def stop(self) -> None:
        """Have `run` begin nothing new, finish what is under way, and return; from any thread."""
        self._is_told_to_stop = True
        self._inbox.put(lambda: None)

    def run(self) -> None:
        """Poll until the time is up or `stop` is called; never raises."""
        try:
            with self._in_hand, ThreadPoolExecutor(CALLS_AT_ONCE, self._queue.name) as self._pool:
                while not self._is_done():
                    self._take_answers()
                    self._receive_if_hungry()
                    self._commit_if_due()
                    self._delete_if_due()
                    self._note_if_due()
        finally:
            connection.close()

    @property
    def _is_ending(self) -> bool:
        return self._is_told_to_stop or time.monotonic() >= self._until

    def _is_done(self) -> bool:
        """Whether all that was begun has ended. What can't be committed now is given back after."""
        is_committed = not self._in_hand or self._is_stuck
        is_deleted = not self._undeleted and not self._being_deleted
        return self._is_ending and not self._receives and is_committed and is_deleted

    def _take_answers(self) -> None:
        """Wait until a call has ended or something is due, and see to all calls that have ended."""
        due_at = [self._next_receive_at()]
        if not self._is_ending:
            due_at.append(self._until)
        if self._in_hand:
            due_at.append(self._next_commit_at())
        if self._undeleted:
            due_at.append(self._delete_at)
        seconds = max(0.0, min(due_at) - time.monotonic())
        with suppress(queue.Empty):
            self._inbox.get(timeout=None if seconds == math.inf else seconds)()
            while True:
                self._inbox.get_nowait()()

    def _call(self, call: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Call SQS on a thread of the pool, and `then` on the poller's own with what came of it."""

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
        """When one more receive may begin; infinite if not before something else has ended."""
        held = len(self._in_hand) + len(self._undeleted) + self._being_deleted
        has_room = held < MOST_MESSAGES and self._in_hand.characters < MOST_CHARACTERS
        is_full = not has_room or self._receives >= self._appetite.at_once
        if self._is_ending or self._is_stuck or is_full:
            return math.inf
        troubles = (self._receiving, self._committing, self._deleting)
        return max(self._appetite.next_at, *(trouble.until for trouble in troubles))

    def _receive_if_hungry(self) -> None:
        while (now := time.monotonic()) >= self._next_receive_at():
            seconds = wait_seconds(is_alone=not self._receives, left_seconds=self._until - now)
            self._receives += 1
            self._call(partial(self._receive, seconds), partial(self._received, now))

    def _receive(self, seconds: int) -> int:
        """On a thread of the pool; returns how many messages there were."""
        messages = Queue(self._queue).receive(wait_seconds=seconds)
        self._in_hand.take(messages)
        return len(messages)

    def _received(self, asked_at: float, result: int | Exception) -> None:
        self._receives -= 1
        if isinstance(result, Exception):
            self._appetite.spoil()
            self._fail(self._receiving, result, tried_at=asked_at, event="queue.poll_failed")
        else:
            self._appetite.is_fed(result, asked_at=asked_at)
            self._succeed(self._receiving, tried_at=asked_at)

    # -- commit --------------------------------------------------------------------------------

    @property
    def _is_stuck(self) -> bool:
        """Whether what is in hand can't be committed; then no more is received."""
        return bool(self._in_hand) and self._committing.is_on

    def _next_commit_at(self) -> float:
        return max(self._commit_at, self._committing.until)

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if self._in_hand and now >= self._next_commit_at():
            self._commit_at = now + COMMIT_SECONDS
            self._ask_database(
                lambda: take_in_hand(self._queue, self._in_hand, then_delete=self._delete_soon)
            )

    def _ask_database(self, work: Callable[[], object]) -> None:
        """Do something that needs the database. Where it can't be done, begin nothing for a while.

        Nothing was deleted then. What is in hand is taken when the database is back; if this
        process ends first, SQS delivers it again.
        """
        tried_at = time.monotonic()
        try:
            work()
        except NOT_THE_MESSAGES_FAULT as error:
            log.warning("queue.database_unavailable", queue=self._queue.name, reason=str(error))
            connection.close()
            self._report(self._committing, f"the database: {error}", tried_at=tried_at)
        except Exception as error:
            # Whatever it was, it must not end the polling of its queue.
            self._in_hand.let_go(self._in_hand.messages)
            self._fail(self._committing, error, tried_at=tried_at, event="queue.poll_failed")
        else:
            self._succeed(self._committing, tried_at=tried_at)

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
            self._call(
                partial(delete_messages, self._queue, batch), partial(self._deleted, now, batch)
            )

    def _deleted(self, asked_at: float, batch: Sequence[Message], result: Exception | None) -> None:
        self._being_deleted -= len(batch)
        if isinstance(result, Exception):
            # They are delivered again, which is harmless.
            event = "queue.messages_not_deleted"
            self._fail(self._deleting, result, tried_at=asked_at, event=event)
        else:
            self._succeed(self._deleting, tried_at=asked_at)

    # -- what the operator sees ----------------------------------------------------------------

    def _succeed(self, trouble: Trouble, *, tried_at: float) -> None:
        trouble.end(tried_at=tried_at)
        if math.isinf(self._note_at):
            self._note_at = time.monotonic()

    def _fail(self, trouble: Trouble, error: Exception, *, tried_at: float, event: str) -> None:
        if isinstance(error, (QueueError, ReplicationError)):
            reason = str(error)
            log.warning(event, queue=self._queue.name, reason=reason)
        else:
            reason = f"{type(error).__name__}: {error}"
            log.error(f"{event}_unexpectedly", queue=self._queue.name, exc_info=error)
        self._report(trouble, reason, tried_at=tried_at)

    def _report(self, trouble: Trouble, reason: str, *, tried_at: float) -> None:
        """Wait before the next try, and leave the reason where the operator looks."""
        trouble.grow(tried_at=tried_at)
        self._note_at = math.inf
        try:
            EventQueue.objects.filter(pk=self._queue.pk).update(
                last_error=reason, last_error_at=Now()
            )
        except Error:
            connection.close()

    def _note_if_due(self) -> None:
        """Say now and then that all is well, if it is."""
        now = time.monotonic()
        is_due = now >= max(self._note_at, self._committing.until)
        if not is_due or self._receiving.is_on or self._deleting.is_on or self._is_stuck:
            return
        self._note_at = now + NOTE_SECONDS
        self._ask_database(lambda: self._update(last_polled_at=Now(), last_error=""))
        if now >= self._depth_at and not self._is_ending:
            self._depth_at = now + DEPTH_SECONDS
            self._call(lambda: Queue(self._queue).depth(), self._depth_found)

    def _depth_found(self, result: int | Exception | None) -> None:
        depth = None if isinstance(result, Exception) else result
        self._ask_database(lambda: self._update(depth=depth))

    def _update(self, **found: object) -> None:
        EventQueue.objects.filter(pk=self._queue.pk).update(**found)
