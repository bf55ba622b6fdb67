"""While a poller has messages in hand, SQS delivers them to nobody else, however long it takes."""

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog

from replication.errors import ReplicationError
from replication.models import EventQueue
from replication.sqs import LONGEST_HIDDEN_SECONDS, Message, Queue, QueueError

log = structlog.get_logger(__name__)

# The queue's own timeout is unknown (no GetQueueAttributes), and 30 s unless somebody set it.
EXTEND_AFTER_SECONDS = 10.0
HIDDEN_SECONDS = 60


class InHand:
    """One batch of messages at most, received and not yet deleted.

    Within its context a thread hides them from other receivers: once they have been in hand for
    `extend_after_seconds`, for `hidden_seconds` from then, and again at half of that. On leaving,
    what is still in hand is given back. Outside it merely holds them.
    """

    def __init__(
        self,
        queue: EventQueue,
        *,
        extend_after_seconds: float = EXTEND_AFTER_SECONDS,
        hidden_seconds: int = HIDDEN_SECONDS,
    ) -> None:
        self._queue = queue
        self._extend_after_seconds = extend_after_seconds
        self._hidden_seconds = hidden_seconds
        # Held also while SQS is asked, so that no message is hidden after it was deleted.
        self._changed = threading.Condition()
        self._messages: tuple[Message, ...] = ()
        self._received_at = 0.0
        self._extend_at = math.inf
        self._is_left = False
        # It never touches the database: connections belong to the threads that poll.
        self._thread = threading.Thread(target=self._extend_when_due, name=f"hide-{queue.name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_left = True
            self._changed.notify()
        self._thread.join()
        if self._messages:
            self._change_visibility(seconds=0)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is in hand."""
        return self._messages

    def take(self, messages: Sequence[Message]) -> None:
        """Have these in hand, which were received just now."""
        with self._changed:
            self._messages = tuple(messages)
            self._received_at = time.monotonic()
            due_at = self._received_at + self._extend_after_seconds
            self._extend_at = due_at if messages else math.inf
            self._changed.notify()

    def let_go(self) -> None:
        """Have nothing in hand, and hide nothing any more; what was hidden stays so."""
        with self._changed:
            self._messages = ()
            self._extend_at = math.inf

    def _extend_when_due(self) -> None:
        with self._changed:
            while not self._is_left:
                wait_seconds = self._extend_at - time.monotonic()
                if wait_seconds > 0:
                    self._changed.wait(None if math.isinf(wait_seconds) else wait_seconds)
                else:
                    self._extend()

    def _extend(self) -> None:
        left_seconds = self._received_at + LONGEST_HIDDEN_SECONDS - time.monotonic()
        if left_seconds < self._hidden_seconds:
            log.warning("queue.messages_in_hand_for_too_long", queue=self._queue.name)
            self._extend_at = math.inf
            return
        is_done = self._change_visibility(seconds=self._hidden_seconds)
        again_after = self._hidden_seconds / 2 if is_done else self._extend_after_seconds
        self._extend_at = time.monotonic() + again_after

    def _change_visibility(self, *, seconds: int) -> bool:
        """Whether it worked for all. If not, they are delivered again: harmless."""
        try:
            failures = Queue(self._queue).change_visibility(self._messages, seconds=seconds)
        except (QueueError, ReplicationError) as error:
            failures = [str(error)]
        except Exception as error:
            log.exception("queue.visibility_failed_unexpectedly", queue=self._queue.name)
            failures = [f"{type(error).__name__}: {error}"]
        for reason in failures:
            log.warning("queue.visibility_not_changed", queue=self._queue.name, reason=reason)
        return not failures
