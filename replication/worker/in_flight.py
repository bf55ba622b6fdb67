"""Finds how many transfers a lane should have in flight, from how long both sides take to answer.

The method is that of TCP Vegas (L. Brakmo, L. Peterson, "TCP Vegas: End to End Congestion Avoidance
on a Global Internet", 1995), which the library `concurrency-limits` by Netflix applies to requests:
compare the latency now with the latency when little was in flight. While the two are alike, more in
flight brings more objects a second (Little's law). When latency grows as fast as the number in
flight, transfers only wait in a queue, which may be anywhere: in S3, in OSS, on the way, or before
the lane's own thread when its processor is the limit.

Three things differ from a connection. The limit never falls below LEAST, so one slow object does
not stop a lane, and the latency at LEAST is by definition the one to compare with. A latency is the
first quartile of many, so connections that are being made and slow objects do not decide. And the
limit changes only while it is in use: an idle lane learns nothing.
"""

import math
from collections.abc import Iterable

from replication.errors import ErrorCode, ReplicationError
from replication.transfer.results import Completion
from replication.worker.leases import Finished

# A lane starts here, and never goes lower unless its bound is lower.
LEAST = 16
# A decision needs as many latencies as half of the limit, over this time at least.
WINDOW_SECONDS = 0.1
MIN_SAMPLES = 8
IN_USE = 0.5  # one of several rules may take only three quarters of a lane
# Latency now, in terms of the lowest: below the first bound the limit rises, above the second it
# falls. In between, a queue is short, and keeps the slowest part of the way busy.
RAISE_BELOW = 1.5
LOWER_ABOVE = 2.5
LOWER_TO = 2.0
# Until it has been too high once, the limit grows like TCP's window in slow start: twice in each
# round trip, and a transfer has two. After that, it grows by this share of itself.
FAST_GROWTH = 4
STEP = 1 / 8
# Latency must have been high for so long before the limit falls. A busy host stops a process for
# tenths of a second, and after that everything looks late: fewer in flight would not help then.
LOWER_AFTER_SECONDS = 2.0
# After a pause of this length connections are made anew, which takes time: judge nothing by it.
IDLE_SECONDS = 2.0
# After this long without a latency near the lowest, go down to LEAST for one window and measure the
# lowest latency again (as ProbeRTT of TCP BBR does): the way may have become longer or shorter.
PROBE_SECONDS = 20.0
# More refusals than this share lower the limit to three quarters, and a single one keeps it from
# rising.
THROTTLED_SHARE = 0.2
THROTTLED_TO = 0.75

_THROTTLED = {ErrorCode.SOURCE_THROTTLED, ErrorCode.DESTINATION_THROTTLED}


class InFlightLimit:
    """The limit, at most `most`. All times are those of one clock, in seconds.

    `found` is what another lane of this host has found, or 0: the limit goes there once the latency
    at LEAST is known.

    Each transfer that ends is noted once, with the number in flight at its end. Transfers that
    began before the last change of the limit say nothing about it, and are ignored.
    """

    def __init__(self, *, most: int, found: int = 0) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self._lowest_seconds = math.inf
        self._lowest_seen_at = self._low_enough_at = self._last_end_at = -math.inf
        self._grows_fast = True
        # While the limit is at LEAST to measure the latency there: where it goes next.
        self._after_probe = found if found > self._least else None
        self._set(self._least, now=-math.inf)

    @property
    def value(self) -> int:
        """How many transfers may be in flight now."""
        return self._value

    @property
    def found(self) -> int:
        """The same, but not while the latency at LEAST is being measured: then what comes next."""
        return min(self._most, self._after_probe or self._value)

    def note(self, ends: Iterable[Finished], *, in_flight: int) -> bool:
        """These steps of jobs have ended; returns whether the limit has changed."""
        before = self._value
        for end in ends:
            if end.took is None:
                continue
            began_at, ended_at = end.took
            if isinstance(end.result, ReplicationError):
                if end.result.code in _THROTTLED:
                    self.note_throttled(began_at=began_at, ended_at=ended_at, in_flight=in_flight)
            elif isinstance(end.result, Completion) and end.result.latency_seconds is not None:
                self.note_answered(
                    end.result.latency_seconds,
                    began_at=began_at,
                    ended_at=ended_at,
                    in_flight=in_flight,
                )
        return self._value != before

    def note_answered(
        self, seconds: float, *, began_at: float, ended_at: float, in_flight: int
    ) -> None:
        """A transfer has ended, in which both sides took so long to answer."""
        if self._counts(began_at, ended_at, in_flight):
            self._seconds.append(seconds)
            self._end_window_if_due(ended_at)

    def note_throttled(self, *, began_at: float, ended_at: float, in_flight: int) -> None:
        """A transfer was refused because there are too many."""
        if self._counts(began_at, ended_at, in_flight):
            self._throttled += 1
            self._end_window_if_due(ended_at)

    def _counts(self, began_at: float, ended_at: float, in_flight: int) -> bool:
        if began_at < self._window_began_at or in_flight < self._value * IN_USE:
            return False
        if began_at - self._last_end_at > IDLE_SECONDS:
            self._set(self._value, now=began_at)
            self._lowest_seen_at = self._low_enough_at = began_at
        self._last_end_at = ended_at
        return True

    def _end_window_if_due(self, now: float) -> None:
        samples = len(self._seconds) + self._throttled
        is_long_enough = now - self._window_began_at >= WINDOW_SECONDS
        if is_long_enough and samples >= max(MIN_SAMPLES, self._value / 2):
            self._set(self._next_value(now, throttled_share=self._throttled / samples), now=now)

    def _set(self, value: int, *, now: float) -> None:
        self._value = max(self._least, min(self._most, value))
        self._window_began_at = now
        self._seconds: list[float] = []
        self._throttled = 0

    def _next_value(self, now: float, *, throttled_share: float) -> int:
        returns_to, self._after_probe = self._after_probe, None
        if throttled_share > THROTTLED_SHARE:
            self._grows_fast = False
            return int(self._value * THROTTLED_TO)
        growth = self._growth(sorted(self._seconds)[len(self._seconds) // 4])
        if growth < RAISE_BELOW:
            self._lowest_seen_at = now
        if growth <= LOWER_ABOVE:
            self._low_enough_at = now
        if returns_to is not None:
            return returns_to
        if growth < RAISE_BELOW:
            return self._value if throttled_share else self._raised()
        if now - self._low_enough_at >= LOWER_AFTER_SECONDS:
            self._low_enough_at = now
            self._grows_fast = False
            return self._lowered(growth)
        if now - self._lowest_seen_at > PROBE_SECONDS:
            self._after_probe = self._value
            return self._least
        return self._value

    def _growth(self, seconds: float) -> float:
        """The latency now in terms of the lowest one, which is that at LEAST or lower."""
        if self._value == self._least:
            # At LEAST a latency that has grown means that the way has become longer.
            self._grows_fast |= seconds > LOWER_ABOVE * self._lowest_seconds
            self._lowest_seconds = seconds
        self._lowest_seconds = min(self._lowest_seconds, seconds)
        return seconds / self._lowest_seconds

    def _raised(self) -> int:
        if self._grows_fast:
            return self._value * FAST_GROWTH
        return self._value + math.ceil(self._value * STEP)

    def _lowered(self, growth: float) -> int:
        """As many as would be in flight at twice the lowest latency, but no less than half."""
        return int(self._value * max(0.5, LOWER_TO / growth))
