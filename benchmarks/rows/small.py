"""Measures many small objects, from events in the queue to settled jobs."""

from collections.abc import Callable
from functools import partial

from benchmarks.ours import Cluster
from benchmarks.peers import Peer
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys

OBJECT_BYTES = 4096
WITHOUT_CHECKS = ("--s3-no-head", "--no-check-dest", "--ignore-checksum")
AS_SHIPPED, UNCHECKED = "rclone as shipped", "rclone without checks"
Figures = dict[str, float]


def measure_local(sitting: Sitting) -> Row:
    """Without distance: the CPU is the limit."""
    row = _measure(sitting, title="Small objects, no distance", distance_ms=0)
    row.checks = [
        Check("objects/s, of rclone as shipped", row.ratio(AS_SHIPPED), at_least=1.0, aim=1.2),
        Check(
            "CPU in lanes, of rclone's",
            row.median("s3sync", "cpu_ms_an_object") / row.median(AS_SHIPPED, "cpu_ms_an_object"),
            at_most=0.7,
            aim=0.5,
        ),
        Check("CPU in lanes, ms an object", row.median("s3sync", "cpu_ms_an_object"), at_most=0.9),
        Check("objects/s, of juicefs", row.ratio("juicefs"), aim=1.0),
    ]
    return row


def measure_wan(sitting: Sitting) -> Row:
    """With a round trip of 50 ms to each side: transfers must not wait for one another."""
    row = _measure(sitting, title="Small objects, 50 ms to each side", distance_ms=50)
    slowest_ratio = min(row.ratio(peer) for peer in ("juicefs", AS_SHIPPED, UNCHECKED))
    row.checks = [Check("objects/s, of the fastest peer", slowest_ratio, at_least=1.0, aim=1.3)]
    return row


def _measure(sitting: Sitting, *, title: str, distance_ms: float) -> Row:
    if sitting.is_quick:
        count, rounds = (1000, 1) if distance_ms else (2000, 2)
    else:
        count, rounds = 8000, 3 if distance_ms else 5
    keys = Keys("small/", count, (OBJECT_BYTES, OBJECT_BYTES))
    row = Row(
        f"{title}: {count:,} × {OBJECT_BYTES // 1024} KiB, 64 in flight",
        ratio_of="objects_a_second",
        notes=[f"“rclone without checks” has `{' '.join(WITHOUT_CHECKS)}`."],
    )
    sitting.begin(keys, distance_ms=distance_ms)
    with sitting.installation() as installation, installation.cluster() as cluster:
        turns: dict[str, Callable[[], Figures]] = {
            "s3sync": partial(run_s3sync, sitting, cluster, keys),
            "juicefs": partial(run_peer, sitting, sitting.juicefs, keys),
            AS_SHIPPED: partial(run_peer, sitting, sitting.rclone, keys),
            UNCHECKED: partial(run_peer, sitting, sitting.rclone, keys, WITHOUT_CHECKS),
        }
        for _ in range(rounds):
            for subject, turn in turns.items():
                sitting.empty_destination()
                figures = turn()
                sitting.require_equal()
                row.add(subject, **figures)
    return row


def run_s3sync(sitting: Sitting, cluster: Cluster, keys: Keys) -> Figures:
    """Announce the keys, and wait until the last is settled."""
    run = cluster.copy(keys, queue=sitting.queue)
    return {
        "objects_a_second": keys.count / run.seconds,
        "cpu_ms_an_object": run.lane_cpu_seconds / keys.count * 1000,
        "cpu_ms_of_all_processes": run.cpu_seconds / keys.count * 1000,
        "cpu_ms_of_postgresql": run.postgres_cpu_seconds / keys.count * 1000,
    }


def run_peer(sitting: Sitting, peer: Peer, keys: Keys, flags: tuple[str, ...] = ()) -> Figures:
    """Run the peer from its start to its end."""
    run = peer.copy(log=sitting.log(peer.name), flags=flags)
    return {
        "objects_a_second": keys.count / run.seconds,
        "cpu_ms_an_object": run.cpu_seconds / keys.count * 1000,
    }
