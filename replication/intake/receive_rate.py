"""How often to receive from SQS: one long poll while the queue is idle, up to 16 concurrent
receives under load, and a backoff after errors.

Pure arithmetic on the times of `time.monotonic`; touches no network.
"""

import math
import time
from dataclasses import dataclass

from replication.intake.sqs import MAX_BATCH, MAX_WAIT_SECONDS
from replication.intake.sqs_client import MAX_CONCURRENT_CALLS

MAX_RECEIVES = MAX_CONCURRENT_CALLS // 2  # the other half is for deletes
# The wait of a receive that is not the only one. When the queue falls silent, each of these costs
# one more request, and a stop waits at most this long for them.
SHORT_WAIT_SECONDS = 1
# The least time between the starts of two receives that are not full: a stream of single events
# is received in batches, as a receive of one event costs as much as one of ten.
# An event that comes after a silence is not delayed.
RECEIVE_INTERVAL_SECONDS = 0.02
# From the start of a commit to the start of the next. Shorter than the interval between receives:
# if both were equal, they would drift apart, and an event would wait for both.
COMMIT_INTERVAL_SECONDS = 0.01
# After this many full receives in a row one more receive runs concurrently: more messages wait
# than the present receives can fetch.
FULL_RECEIVES_PER_STEP = 4

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 20.0


@dataclass
class ReceiveRate:
    """How many receives may run concurrently, and when the next one may start."""

    next_at: float = -math.inf
    _full_receives: int = 0  # rises with each full receive, falls with receives that are not

    @property
    def max_receives(self) -> int:
        return min(1 + self._full_receives // FULL_RECEIVES_PER_STEP, MAX_RECEIVES)

    def note_received(self, messages: int, *, started_at: float) -> None:
        """Adapt to a receive that started at `started_at` and returned this many messages."""
        if messages == MAX_BATCH:
            # On a slow connection one receive alone can't keep up: add another at once.
            is_slow = time.monotonic() - started_at >= RECEIVE_INTERVAL_SECONDS
            weight = FULL_RECEIVES_PER_STEP if is_slow else 1
            self._full_receives = min(
                self._full_receives + weight, MAX_RECEIVES * FULL_RECEIVES_PER_STEP
            )
            return
        if messages < MAX_BATCH / 2:
            self._full_receives //= 2
        self.next_at = max(self.next_at, started_at + RECEIVE_INTERVAL_SECONDS)

    def note_failed(self) -> None:
        """Return to a single receive: SQS would refuse concurrent ones as well."""
        self._full_receives = 0


def wait_seconds(*, is_alone: bool, left_seconds: float) -> int:
    """How long a receive may wait for its first message.

    Args:
        is_alone: no other receive is in flight.
        left_seconds: what is left of the poller's time.
    """
    # Never 0: that is a short poll, and an idle queue would be polled without pause.
    longest = MAX_WAIT_SECONDS if is_alone else SHORT_WAIT_SECONDS
    return max(1, int(min(left_seconds, longest)))


@dataclass
class Backoff:
    """A pause after each failure of one kind of work, doubled with each failure in a row."""

    until: float = -math.inf
    _pause_seconds: float = 0.0
    _failed_at: float = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the last attempt failed."""
        return self._pause_seconds > 0

    def note_failure(self, *, started_at: float) -> None:
        """Note that an attempt failed; concurrent attempts that fail count as one failure."""
        if started_at < self._failed_at:
            return
        self._failed_at = now = time.monotonic()
        self._pause_seconds = min(
            max(FIRST_BACKOFF_SECONDS, self._pause_seconds * 2), MAX_BACKOFF_SECONDS
        )
        self.until = now + self._pause_seconds

    def note_success(self, *, started_at: float) -> None:
        """End the backoff, unless another attempt failed after this one had started."""
        if started_at < self._failed_at:
            return
        self._pause_seconds = 0.0
        self.until = -math.inf
