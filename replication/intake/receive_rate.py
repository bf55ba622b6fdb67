"""How often SQS is asked: one long poll while nothing comes, many receives at once while much does.

Pure arithmetic on the times of `time.monotonic`; touches no network.
"""

import math
import time
from dataclasses import dataclass

from replication.intake.sqs import MAX_BATCH, MAX_WAIT_SECONDS
from replication.intake.sqs_client import CALLS_AT_ONCE

MOST_AT_ONCE = CALLS_AT_ONCE // 2  # the others delete
# How long a receive waits that has another one beside it. A queue that falls silent costs each of
# them one request more, and a stop waits no longer than that for them.
SHORT_WAIT_SECONDS = 1
# A stream of single events is taken in gulps, or each of them would cost as much as ten.
# An event that comes after a silence waits for nothing.
GULP_SECONDS = 0.02
# From the beginning of a commit to that of the next one. Shorter than a gulp: as long, the two
# would drift apart, and an event wait for both.
COMMIT_SECONDS = 0.01

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0


# So many full receives in a row are no gulp any more: there is more than the receives under way
# can carry, and one more joins them.
FULL_RECEIVES = 4


@dataclass
class Appetite:
    """How many receives may be under way at once, and when the next one may begin."""

    next_at: float = -math.inf
    _full: int = 0  # receives that were, less what was forgotten

    @property
    def at_once(self) -> int:
        return min(1 + self._full // FULL_RECEIVES, MOST_AT_ONCE)

    def is_fed(self, messages: int, *, asked_at: float) -> None:
        """A receive that began then has brought so many."""
        if messages == MAX_BATCH:
            # Over a distance one receive alone can't carry even a gulp: the next joins at once.
            is_far = time.monotonic() - asked_at >= GULP_SECONDS
            weight = FULL_RECEIVES if is_far else 1
            self._full = min(self._full + weight, MOST_AT_ONCE * FULL_RECEIVES)
            return
        if messages < MAX_BATCH / 2:
            self._full //= 2
        self.next_at = max(self.next_at, asked_at + GULP_SECONDS)

    def spoil(self) -> None:
        """A receive has failed: where one is refused, the others would be, too."""
        self._full = 0


def wait_seconds(*, is_alone: bool, left_seconds: float) -> int:
    """How long a receive may wait for its first message, with so much of the poller's time left."""
    # One of 0 seconds would be a short poll, and we would ask in a frenzy.
    longest = MAX_WAIT_SECONDS if is_alone else SHORT_WAIT_SECONDS
    return max(1, int(min(left_seconds, longest)))


@dataclass
class Trouble:
    """Failures in a row of one kind of work, each followed by a longer pause."""

    until: float = -math.inf
    _pause_seconds: float = 0.0
    _failed_at: float = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the last try failed."""
        return self._pause_seconds > 0

    def grow(self, *, tried_at: float) -> None:
        """A try that began then has failed; those that were under way together count once."""
        if tried_at < self._failed_at:
            return
        self._failed_at = now = time.monotonic()
        self._pause_seconds = min(
            max(FIRST_PAUSE_SECONDS, self._pause_seconds * 2), LONGEST_PAUSE_SECONDS
        )
        self.until = now + self._pause_seconds

    def end(self, *, tried_at: float) -> None:
        """A try that began then has succeeded; it says nothing if others have failed since."""
        if tried_at < self._failed_at:
            return
        self._pause_seconds = 0.0
        self.until = -math.inf
