"""Measures many small objects over a distance, where each tool has in flight what suits it."""

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.report import Check, Row
from benchmarks.rows.small import (
    OBJECT_BYTES,
    WITHOUT_CHECKS,
    Figures,
    run_peer,
    run_s3sync,
)
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys

DISTANCE_MS = 50
IN_FLIGHT = (64, 128, 256)


def measure_best(sitting: Sitting) -> Row:
    """The peers at the best number in flight; s3sync as shipped, which finds its own."""
    keys = _keys(1000 if sitting.is_quick else 8000)
    turns: dict[str, Callable[[], Figures]] = {}
    for number in IN_FLIGHT:
        juicefs, rclone = sitting.juicefs_with(number), sitting.rclone_with(number)
        turns[f"juicefs, {number}"] = partial(run_peer, sitting, juicefs, keys)
        turns[f"rclone without checks, {number}"] = partial(
            run_peer, sitting, rclone, keys, WITHOUT_CHECKS
        )
    row = _measure(
        sitting, keys, turns, rounds=1 if sitting.is_quick else 3, title="the peers at their best"
    )
    row.notes = [
        "The number behind a peer's name is what it has in flight. s3sync is as shipped. “rclone "
        f"without checks” has `{' '.join(WITHOUT_CHECKS)}`."
    ]
    row.checks = [
        Check(
            "objects/s, of the fastest peer",
            min(map(row.ratio, turns)),
            at_least=0.85,
            aim=1.1,
        )
    ]
    return row


def measure_shipped(sitting: Sitting) -> Row:
    """Every tool as shipped."""
    keys = _keys(250 if sitting.is_quick else 4000)
    turns: dict[str, Callable[[], Figures]] = {
        "juicefs": partial(run_peer, sitting, sitting.juicefs_with(None), keys),
        "rclone": partial(run_peer, sitting, sitting.rclone_with(None), keys),
    }
    row = _measure(
        sitting, keys, turns, rounds=1 if sitting.is_quick else 2, title="each tool as shipped"
    )
    row.checks = [
        Check(f"objects/s, of {peer}", row.ratio(peer), at_least=5, aim=8) for peer in turns
    ]
    return row


def _keys(count: int) -> Keys:
    return Keys("small/", count, (OBJECT_BYTES, OBJECT_BYTES))


def _measure(
    sitting: Sitting,
    keys: Keys,
    peers: Mapping[str, Callable[[], Figures]],
    *,
    rounds: int,
    title: str,
) -> Row:
    row = Row(
        f"Small objects, {DISTANCE_MS} ms to each side, {title}: "
        f"{keys.count:,} × {OBJECT_BYTES // 1024} KiB",
        ratio_of="objects_a_second",
    )
    sitting.begin(keys, distance_ms=DISTANCE_MS)
    with (
        sitting.installation() as installation,
        installation.cluster(lanes=None, places=None) as cluster,
    ):
        turns: dict[str, Callable[[], Figures]] = {
            "s3sync": partial(run_s3sync, sitting, cluster, keys),
            **peers,
        }
        for _ in range(rounds):
            for subject, turn in turns.items():
                sitting.empty_destination()
                figures = turn()
                sitting.require_equal()
                row.add(subject, **figures)
    return row
