"""The number in flight follows what the other sides and the lane's own processor can take.

The servers and the lane are simulated, in simulated time: a lane always has as many transfers in
flight as the limit allows, and each transfer ends when its server says.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from replication.worker.in_flight import LEAST, InFlightLimit

# When a transfer that begins now ends, or None if it is refused. `in_flight` includes it.
Server = Callable[[float, int], float | None]
REFUSED_AFTER_SECONDS = 0.005


@dataclass
class Way:
    """A distance, and behind it a server that handles one transfer after the other."""

    distance_seconds: float
    seconds_each: float
    _free_at: float = 0.0

    def __call__(self, now: float, _: int) -> float:
        self._free_at = max(self._free_at, now + self.distance_seconds) + self.seconds_each
        return self._free_at


@dataclass
class Lane:
    """A lane with a backlog that never ends."""

    server: Server
    most: int = 256
    found: int = 0
    now: float = 0.0
    ended: int = 0
    values: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = InFlightLimit(most=self.most, found=self.found)
        self._in_flight: list[tuple[float, float, bool]] = []  # end, beginning, whether answered

    def run(self, seconds: float, *, at_most: int | None = None) -> float:
        """Go on for so long; returns the transfers a second. Never more than `at_most` are due."""
        until, ended_before = self.now + seconds, self.ended
        self.values = []
        while self.now < until:
            while len(self._in_flight) < min(self.limit.value, at_most or self.most):
                end = self.server(self.now, len(self._in_flight) + 1)
                refused_at = self.now + REFUSED_AFTER_SECONDS
                heapq.heappush(self._in_flight, (end or refused_at, self.now, end is not None))
            self._end_next()
        return (self.ended - ended_before) / seconds

    def _end_next(self) -> None:
        in_flight = len(self._in_flight)
        self.now, began_at, is_answered = heapq.heappop(self._in_flight)
        if is_answered:
            self.ended += 1
            self.limit.note_answered(
                self.now - began_at, began_at=began_at, ended_at=self.now, in_flight=in_flight
            )
        else:
            self.limit.note_throttled(began_at=began_at, ended_at=self.now, in_flight=in_flight)
        self.values.append(self.limit.value)


def test_a_lane_reaches_what_a_distance_needs_within_two_seconds() -> None:
    lane = Lane(Way(0.1, seconds_each=0.0001))
    lane.run(2)
    assert lane.limit.value == 256


def test_the_limit_stays_where_a_server_has_no_more_to_give() -> None:
    # 1,000 a second at 0.1 s need 100 in flight. More only wait longer.
    lane = Lane(Way(0.1, seconds_each=0.001))
    lane.run(2)
    assert lane.run(60) > 960
    assert 100 <= median(lane.values) <= 250


def test_a_bound_is_never_exceeded_and_may_be_below_the_least() -> None:
    for most in (1, 4, 64):
        lane = Lane(Way(0.1, seconds_each=0.0001), most=most)
        lane.run(5)
        assert set(lane.values[-100:]) == {most}


def test_a_lane_whose_processor_is_the_limit_keeps_few_in_flight() -> None:
    lane = Lane(Way(0, seconds_each=0.0008))
    lane.run(5)
    assert lane.run(120) > 1240
    assert max(lane.values) <= 2 * LEAST


def test_the_limit_follows_a_distance_that_grows_and_shrinks() -> None:
    way = Way(0.002, seconds_each=0.0008)
    lane = Lane(way)
    lane.run(10)
    assert lane.limit.value <= 2 * LEAST
    way.distance_seconds = 0.1
    lane.run(3)
    assert lane.run(5) > 1100
    assert lane.limit.value >= 125
    way.distance_seconds = 0.002
    lane.run(30)
    assert lane.limit.value <= 3 * LEAST


def test_a_slower_server_gets_fewer() -> None:
    way = Way(0.1, seconds_each=0.0005)
    lane = Lane(way)
    lane.run(3)
    assert lane.limit.value >= 200
    way.seconds_each = 0.004  # 250 a second need 25 in flight
    lane.run(20)
    assert lane.limit.value <= 3 * 25
    assert lane.run(10) > 235


def test_refusals_lower_the_limit_to_what_is_not_refused() -> None:
    def server(now: float, in_flight: int) -> float | None:
        return None if in_flight > 60 else now + 0.1

    lane = Lane(server)
    lane.run(5)
    assert lane.run(10) > 390  # of 600
    assert 40 <= min(lane.values) <= max(lane.values) <= 75


def test_a_server_that_refuses_more_than_few_is_not_flooded_again() -> None:
    lane = Lane(lambda now, in_flight: None if in_flight > 20 else now + 0.1)
    lane.run(5)
    lane.run(20)
    assert max(lane.values) <= 30


def test_refusals_of_few_do_not_lower_the_limit() -> None:
    chance = random.Random(1)
    lane = Lane(lambda now, _: None if chance.random() < 0.02 else now + 0.1, most=64)
    lane.run(1)
    before = lane.limit.value
    lane.run(10)
    assert min(lane.values) >= before >= LEAST


def test_noise_does_not_keep_a_lane_from_what_it_needs() -> None:
    for seed in range(5):
        chance = random.Random(seed)
        way = Way(0.1, seconds_each=0.0005)

        def noisy(
            now: float, in_flight: int, way: Way = way, chance: random.Random = chance
        ) -> float:
            return way(now, in_flight) + 0.05 * chance.lognormvariate(0, 1)

        lane = Lane(noisy)
        lane.run(3)
        assert lane.run(30) > 900, seed


def test_slow_objects_among_others_do_not_decide() -> None:
    chance = random.Random(1)
    lane = Lane(lambda now, _: now + (20 if chance.random() < 0.1 else 0.1))
    lane.run(10)
    assert lane.limit.value == 256
    lane.run(60)
    assert min(lane.values) >= 128


def test_a_new_lane_goes_on_with_what_another_has_found() -> None:
    lane = Lane(Way(0.1, seconds_each=0.001), found=120)
    assert (lane.limit.value, lane.limit.found) == (LEAST, 120)
    lane.run(0.3)
    assert lane.values[0] == LEAST
    assert lane.limit.value >= 120
    lane = Lane(Way(0, seconds_each=0.0008), found=120)  # found when the way was longer
    lane.run(20)
    assert lane.limit.value <= 3 * LEAST


def test_an_idle_lane_learns_nothing() -> None:
    way = Way(0.1, seconds_each=0.0005)
    lane = Lane(way)
    lane.run(3)
    found = lane.limit.value
    lane.run(600, at_most=3)
    assert set(lane.values) == {found}
    way.distance_seconds = 0.4  # each connection is made anew
    lane.run(0.5)
    way.distance_seconds = 0.1
    lane.run(1.5)
    assert min(lane.values) >= found
