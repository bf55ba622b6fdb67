"""Measures whether throughput grows with the lanes, and whether it and the pages stay the same with
a long history."""

import itertools
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.ours import Installation
from benchmarks.report import Check, Row
from benchmarks.rows.history import in_database
from benchmarks.rows.small import OBJECT_BYTES
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys

DISTANCE_MS = 50
LANES = (1, 2, 4)
# Few enough that all lanes together don't use up the CPU.
PLACES = 4
# The limit of a lane at that distance: each object takes two round trips, for the GET and the PUT.
OBJECTS_A_SECOND_AT_MOST = PLACES * 1000 / (2 * DISTANCE_MS)
GROWN_WITHIN_SECONDS = 60
PAGE_CALLS = 10


def measure(sitting: Sitting) -> Row:
    """First the lanes, then the history."""
    row = Row(
        f"Growth: lanes of {PLACES} places at {DISTANCE_MS} ms; 2 lanes of 32 places, no distance, "
        "with and without a history",
        notes=["SQS has no distance. Objects are counted while all lanes are alive and have work."],
    )
    _measure_lanes(sitting, row)
    alone, grown = _measure_history(sitting, row)
    pages = {
        name: row.median(f"pages with {grown}", name) / row.median(f"pages with {alone}", name)
        for name in row.figures[f"pages with {grown}"]
    }
    slowest = max(pages, key=lambda name: pages[name])
    one = row.median(_lanes(LANES[0]), "objects_a_second")
    row.checks = [
        *(
            Check(
                f"objects/s of {_lanes(lanes)}, of {lanes} times one's",
                row.median(_lanes(lanes), "objects_a_second") / one / lanes,
                at_least=0.9,
            )
            for lanes in LANES[1:]
        ),
        Check(
            f"objects/s with {grown}, of those with {alone}",
            row.median(grown, "objects_a_second") / row.median(alone, "objects_a_second"),
            at_least=0.95,
            aim=1.0,
        ),
        Check(
            f"ms of status, metrics and lists with {grown}, of those with {alone}: the worst is "
            f"{slowest.removesuffix('_ms').replace('_', ' ')}",
            pages[slowest],
            at_most=1.2,
            aim=1.0,
        ),
    ]
    return row


def _lanes(number: int) -> str:
    return f"{number} lane{'s' if number > 1 else ''}"


def _measure_lanes(sitting: Sitting, row: Row) -> None:
    rounds, window_seconds = (1, 3) if sitting.is_quick else (2, 10)
    prefixes = (f"lanes/{number}/" for number in itertools.count())
    with sitting.installation() as installation:
        for _, lanes in itertools.product(range(rounds), LANES):
            # Enough for the time in which the lanes start, too.
            count = int(lanes * OBJECTS_A_SECOND_AT_MOST * (window_seconds + 30))
            keys = Keys(next(prefixes), count, (OBJECT_BYTES, OBJECT_BYTES))
            sitting.begin(keys, distance_ms=DISTANCE_MS)
            sitting.queue.delay(0)
            installation.mark()
            with installation.cluster(lanes=lanes, places=PLACES):
                sitting.queue.announce(keys)
                _await_lanes(installation, lanes)
                row.add(_lanes(lanes), **_count_in_window(installation, window_seconds))
            installation.delete_unfinished()


def _await_lanes(installation: Installation, wanted: int) -> None:
    deadline = time.monotonic() + GROWN_WITHIN_SECONDS
    while [kind for _, kind in installation.loops()].count("lane") < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"expected {wanted} lanes, found {installation.loops()}")
        time.sleep(0.2)
    time.sleep(2)  # until the last lane has filled its places


def _count_in_window(installation: Installation, seconds: float) -> dict[str, float]:
    """The rate at which jobs are settled in this time, and the machine's CPU load."""
    busy, idle = _processor_ticks()
    settled = installation.settled_in(seconds)
    busy_now, idle_now = _processor_ticks()
    busy, idle = busy_now - busy, idle_now - idle
    if not installation.count("state = 'pending'"):
        raise RuntimeError("the lanes ran out of work during the measurement")
    return {
        "objects_a_second": settled / seconds,
        "cpu_percent_of_the_machine": 100 * busy / (busy + idle),
    }


def _processor_ticks() -> tuple[int, int]:
    """The busy and the idle time of all cores, in ticks."""
    ticks = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle


def _measure_history(sitting: Sitting, row: Row) -> tuple[str, str]:
    finished, count, rounds = (200_000, 2000, 1) if sitting.is_quick else (50_000_000, 8000, 3)
    names = "no finished jobs", f"{finished:,} finished jobs"
    keys = Keys("history/", count, (OBJECT_BYTES, OBJECT_BYTES))
    sitting.begin(keys)
    with ExitStack() as both:
        alone, grown = (both.enter_context(sitting.installation()) for _ in names)
        in_database(grown, "fill", finished)
        # Write the new rows to the disk now, not during the measurement.
        grown.database.execute("CHECKPOINT")
        turns = list(zip(names, (alone, grown), strict=True))
        for _ in range(rounds):
            for name, installation in turns:
                sitting.empty_destination()
                with installation.cluster() as cluster:
                    run = cluster.copy(keys, queue=sitting.queue)
                sitting.require_equal()
                row.add(name, objects_a_second=count / run.seconds)
            turns.reverse()
        for name, installation in turns * rounds:
            row.add(f"pages with {name}", **in_database(installation, "pages", PAGE_CALLS))
    return names
