"""While a poller has messages in hand, SQS delivers them to nobody else, however long it takes."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from replication.errors import ReplicationError
from replication.intake.sqs import LONGEST_HIDDEN_SECONDS, MAX_BATCH, Message, Queue, QueueError
from replication.models import EventQueue

log = structlog.get_logger(__name__)

# The queue's own timeout is unknown (no GetQueueAttributes), and 30 s unless somebody set it.
EXTEND_AFTER_SECONDS = 10.0
HIDDEN_SECONDS = 60
# Those that are due so soon are extended with the ones that are due, ten in one request.
SOON_SECONDS = 1.0


@dataclass
class _Held:
    message: Message
    received_at: float
    extend_at: float


class InHand:
    """The messages of a queue that were received and whose jobs are not committed.

    Within its context a thread hides them from other receivers: once they have been in hand for
    `extend_after_seconds`, for `hidden_seconds` from then, and again at half of that. On leaving,
    what is still in hand is given back. Outside it merely holds them.

    Any thread may take and let go.
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
        self._changed = threading.Condition()
        # Held while SQS is asked to hide some, so that none is hidden after it was deleted.
        self._hiding = threading.Lock()
        # By receipt: a message that is delivered twice has two.
        self._held: dict[str, _Held] = {}
        self._characters = 0
        self._extends_next_at = math.inf  # as far as its thread knows, which may sleep till then
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
        for batch in _batches(list(self._held.values())):
            if self._change_visibility(batch, seconds=0) is None:
                break  # SQS is out of reach, and each request would wait for it

    def __len__(self) -> int:
        return len(self._held)

    @property
    def characters(self) -> int:
        """How large they are together."""
        return self._characters

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is in hand, in the order of receipt."""
        with self._changed:
            return tuple(held.message for held in self._held.values())

    def take(self, messages: Sequence[Message]) -> None:
        """Have these in hand as well, which were received just now."""
        now = time.monotonic()
        with self._changed:
            for message in messages:
                self._held[message.receipt_handle] = _Held(
                    message, now, now + self._extend_after_seconds
                )
                self._characters += len(message.body)
            if now + self._extend_after_seconds < self._extends_next_at:
                self._changed.notify()

    def let_go(self, messages: Sequence[Message]) -> None:
        """Have these in hand no more, nor hide them; what was hidden stays so."""
        with self._hiding, self._changed:
            for message in messages:
                del self._held[message.receipt_handle]
                self._characters -= len(message.body)

    def _extend_when_due(self) -> None:
        while (due := self._wait_for_due()) is not None:
            for some in _batches(due):
                with self._hiding:
                    batch = [held for held in some if held.message.receipt_handle in self._held]
                    failures = self._change_visibility(batch, seconds=self._hidden_seconds)
                asked_at = time.monotonic()
                is_done = failures == []
                again_after = self._hidden_seconds / 2 if is_done else self._extend_after_seconds
                # Where SQS is out of reach each request waits for it: the others later, too.
                for held in due if failures is None else batch:
                    held.extend_at = asked_at + again_after
                if failures is None:
                    break

    def _wait_for_due(self) -> list[_Held] | None:
        """Some that are due to be hidden for longer; None once the context is left."""
        with self._changed:
            while not self._is_left:
                next_at = min((held.extend_at for held in self._held.values()), default=math.inf)
                self._extends_next_at = next_at
                now = time.monotonic()
                if next_at <= now:
                    return [held for held in self._held.values() if self._is_due(held, now)]
                self._changed.wait(None if math.isinf(next_at) else next_at - now)
        return None

    def _is_due(self, held: _Held, now: float) -> bool:
        if held.received_at + LONGEST_HIDDEN_SECONDS - now < self._hidden_seconds:
            log.warning("queue.messages_in_hand_for_too_long", queue=self._queue.name)
            held.extend_at = math.inf
        return held.extend_at <= now + SOON_SECONDS

    def _change_visibility(self, batch: Sequence[_Held], *, seconds: int) -> list[str] | None:
        """Why it failed, for each for which it did; None if SQS gave no answer.

        They are delivered again: harmless.
        """
        if not batch:
            return []  # SQS refuses to be asked for nothing
        failures: list[str] | None = None
        try:
            failures = Queue(self._queue).change_visibility(
                [held.message for held in batch], seconds=seconds
            )
            reasons = failures
        except (QueueError, ReplicationError) as error:
            reasons = [str(error)]
        except Exception as error:
            log.exception("queue.visibility_failed_unexpectedly", queue=self._queue.name)
            reasons = [f"{type(error).__name__}: {error}"]
        for reason in reasons:
            log.warning("queue.visibility_not_changed", queue=self._queue.name, reason=reason)
        return failures


def _batches(all_held: Sequence[_Held]) -> Iterator[Sequence[_Held]]:
    for start in range(0, len(all_held), MAX_BATCH):
        yield all_held[start : start + MAX_BATCH]
