"""Extends the visibility timeout of messages in flight, however long their commit takes."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from replication.errors import ReplicationError
from replication.intake.sqs import MAX_BATCH, MAX_VISIBILITY_SECONDS, Message, Queue, QueueError

log = structlog.get_logger(__name__)

# The queue's own timeout is unknown (GetQueueAttributes may not be granted); SQS's default is 30 s.
EXTEND_AFTER_SECONDS = 10.0
VISIBILITY_SECONDS = 60
# Messages that are due this soon are extended with those that are due now, ten in one request.
SOON_SECONDS = 1.0


@dataclass
class _Entry:
    message: Message
    received_at: float
    extend_at: float


class InFlight:
    """The messages of a queue that are received and whose jobs are not committed yet.

    Within its context a thread hides the messages from other receivers: each message after
    `extend_after_seconds` in flight for `visibility_seconds`, and again after half of that time.
    On exit the messages still in flight are given back: SQS may deliver them at once.
    Outside the context it only holds the messages.

    Any thread may call `add` and `remove`.
    """

    def __init__(
        self,
        sqs: Queue,
        *,
        extend_after_seconds: float = EXTEND_AFTER_SECONDS,
        visibility_seconds: int = VISIBILITY_SECONDS,
    ) -> None:
        self._sqs = sqs
        self._extend_after_seconds = extend_after_seconds
        self._visibility_seconds = visibility_seconds
        self._changed = threading.Condition()
        # Held during a request, so that no message is extended after it was deleted.
        self._extending = threading.Lock()
        # By receipt handle: a message that is delivered twice has two.
        self._entries: dict[str, _Entry] = {}
        self._characters = 0
        self._extends_next_at = math.inf  # the thread may sleep until then
        self._is_left = False
        # The thread never uses the database: connections belong to the threads that poll.
        self._thread = threading.Thread(target=self._extend_when_due, name=f"extend-{sqs.name}")

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
        for batch in _batches(list(self._entries.values())):
            if self._change_visibility(batch, seconds=0) is None:
                break  # SQS is out of reach: each further request would wait for its timeout

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def characters(self) -> int:
        """The total size of the bodies, in characters."""
        return self._characters

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages in flight, in the order in which they were received."""
        with self._changed:
            return tuple(entry.message for entry in self._entries.values())

    def add(self, messages: Sequence[Message]) -> None:
        """Add messages that were received just now."""
        now = time.monotonic()
        with self._changed:
            for message in messages:
                self._entries[message.receipt_handle] = _Entry(
                    message, now, now + self._extend_after_seconds
                )
                self._characters += len(message.body)
            if now + self._extend_after_seconds < self._extends_next_at:
                self._changed.notify()

    def remove(self, messages: Sequence[Message]) -> None:
        """Remove messages, and extend them no more; an extension that was made stays in force."""
        with self._extending, self._changed:
            for message in messages:
                del self._entries[message.receipt_handle]
                self._characters -= len(message.body)

    def _extend_when_due(self) -> None:
        while (due := self._wait_for_due()) is not None:
            for some in _batches(due):
                with self._extending:
                    # Some may have been removed meanwhile.
                    batch = [one for one in some if one.message.receipt_handle in self._entries]
                    failures = self._change_visibility(batch, seconds=self._visibility_seconds)
                extended_at = time.monotonic()
                again_after = self._extend_after_seconds
                if failures == []:
                    again_after = self._visibility_seconds / 2
                # If SQS is out of reach, each request waits for its timeout: postpone all.
                for entry in due if failures is None else batch:
                    entry.extend_at = extended_at + again_after
                if failures is None:
                    break

    def _wait_for_due(self) -> list[_Entry] | None:
        """Wait for messages that are due to be extended; None once the context is left."""
        with self._changed:
            while not self._is_left:
                next_at = min(
                    (entry.extend_at for entry in self._entries.values()), default=math.inf
                )
                self._extends_next_at = next_at
                now = time.monotonic()
                if next_at <= now:
                    return [entry for entry in self._entries.values() if self._is_due(entry, now)]
                self._changed.wait(None if math.isinf(next_at) else next_at - now)
        return None

    def _is_due(self, entry: _Entry, now: float) -> bool:
        if entry.received_at + MAX_VISIBILITY_SECONDS - now < self._visibility_seconds:
            log.warning("queue.messages_in_hand_for_too_long", queue=self._sqs.name)
            entry.extend_at = math.inf
        return entry.extend_at <= now + SOON_SECONDS

    def _change_visibility(self, batch: Sequence[_Entry], *, seconds: int) -> list[str] | None:
        """Return one reason for each message that was not changed; None if SQS did not answer.

        SQS delivers those messages again, which is harmless.
        """
        if not batch:
            return []  # SQS refuses an empty batch
        failures: list[str] | None = None
        try:
            failures = self._sqs.change_visibility(
                [entry.message for entry in batch], seconds=seconds
            )
            reasons = failures
        except (QueueError, ReplicationError) as error:
            reasons = [str(error)]
        except Exception as error:
            log.exception("queue.visibility_failed_unexpectedly", queue=self._sqs.name)
            reasons = [f"{type(error).__name__}: {error}"]
        for reason in reasons:
            log.warning("queue.visibility_not_changed", queue=self._sqs.name, reason=reason)
        return failures


def _batches(entries: Sequence[_Entry]) -> Iterator[Sequence[_Entry]]:
    for start in range(0, len(entries), MAX_BATCH):
        yield entries[start : start + MAX_BATCH]
