"""Gathers messages for a lane's thread: ends of steps, what buckets answered, what NOTIFY says."""

import queue
import time
from contextlib import suppress
from dataclasses import dataclass, field

from replication.jobs.waking import PARTS, RULES_CHANGED
from replication.transfer.capabilities import LearnedOf
from replication.worker.leases import Finished, FinishedPart

# Steps that end within this time are settled by one statement, and one statement claims the next
# jobs. The time may be longer where every place has its next job already: no place is idle then.
GATHER_SECONDS = 0.015
GATHER_WHERE_FULL_SECONDS = 0.05

Message = Finished | FinishedPart | LearnedOf | str  # text is the payload of a NOTIFY


@dataclass
class Received:
    """The messages of one moment, sorted."""

    jobs: list[Finished] = field(default_factory=list)
    parts: list[FinishedPart] = field(default_factory=list)
    learned: list[LearnedOf] = field(default_factory=list)
    jobs_may_be_due: bool = False
    parts_may_be_due: bool = False
    rules_have_changed: bool = False


class Inbox:
    """Any thread may put a message; only the lane's own thread receives."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Leave a message for the lane's thread."""
        self._messages.put(message)

    def receive(self, *, wait_seconds: float, in_flight: int, is_full: bool) -> Received:
        """Wait up to `wait_seconds` for a message, then gather those that come right after it.

        Args:
            in_flight: how many jobs the lane holds. No more of them than that can end.
            is_full: every place has a job that waits behind its transfer.
        """
        messages: list[Message] = []
        with suppress(queue.Empty):
            messages.append(self._messages.get(timeout=wait_seconds))
            settle_at = time.monotonic() + GATHER_SECONDS
            if is_full:
                # Sleep: a wake-up per message would take the interpreter from the transfers.
                time.sleep(GATHER_WHERE_FULL_SECONDS)
            while True:
                # Return at once after a NOTIFY (new work must not wait), or when every job in
                # flight has ended: no more results can arrive.
                gathers = len(messages) < in_flight and not isinstance(messages[-1], str)
                left_seconds = settle_at - time.monotonic() if gathers else 0.0
                messages.append(self._messages.get(timeout=max(0.0, left_seconds)))
        return _sorted(messages)


def _sorted(messages: list[Message]) -> Received:
    received = Received()
    for message in messages:
        if isinstance(message, Finished):
            received.jobs.append(message)
        elif isinstance(message, FinishedPart):
            received.parts.append(message)
        elif isinstance(message, LearnedOf):
            received.learned.append(message)
        elif message == PARTS:
            received.parts_may_be_due = True
        elif message == RULES_CHANGED:
            received.rules_have_changed = True
        else:
            received.jobs_may_be_due = True
    return received
