"""Measures a few large objects, copied in parts."""

from collections.abc import Callable
from functools import partial

from benchmarks.ours import Cluster
from benchmarks.peers import Peer
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys

GIB = 1024**3
# By default, rclone has 16 parts of 4 objects in flight; it is faster with 64.
RCLONE_FLAGS = ("--multi-thread-streams", "16", "--s3-upload-concurrency", "16")
PEAK_MB_AT_MOST = 256
PEERS = ("juicefs", "rclone")
Figures = dict[str, float]


def measure_local(sitting: Sitting) -> Row:
    """Without distance."""
    return _measure(sitting, title="Large objects, no distance", distance_ms=0)


def measure_wan(sitting: Sitting) -> Row:
    """With a round trip of 50 ms to each side."""
    return _measure(sitting, title="Large objects, 50 ms to each side", distance_ms=50)


def _measure(sitting: Sitting, *, title: str, distance_ms: float) -> Row:
    size, rounds = (GIB // 4, 1) if sitting.is_quick else (GIB, 3)
    keys = Keys("large/", 4, (size, size))
    row = Row(
        f"{title}: {keys.count} × {size / GIB:g} GiB",
        ratio_of="mb_a_second",
        notes=[f"rclone has 64 transfers and `{' '.join(RCLONE_FLAGS)}`; juicefs has 64 threads."],
    )
    sitting.begin(keys, distance_ms=distance_ms)
    with sitting.installation() as installation, installation.cluster() as cluster:
        turns: dict[str, Callable[[], Figures]] = {
            "s3sync": partial(_run_s3sync, sitting, cluster, keys),
            "juicefs": partial(_run_peer, sitting, sitting.juicefs, keys),
            "rclone": partial(_run_peer, sitting, sitting.rclone, keys, RCLONE_FLAGS),
        }
        for _ in range(rounds):
            for subject, turn in turns.items():
                sitting.empty_destination()
                figures = turn()
                sitting.require_equal()
                row.add(subject, **figures)
    peak = max(row.figures["s3sync"]["peak_mb_a_process"].values)
    row.checks = [
        Check("MB/s, of the faster peer", min(map(row.ratio, PEERS)), at_least=1.05, aim=1.3),
        Check("most memory of a process of ours, MB", peak, at_most=PEAK_MB_AT_MOST),
    ]
    return row


def _run_s3sync(sitting: Sitting, cluster: Cluster, keys: Keys) -> Figures:
    run = cluster.copy(keys, queue=sitting.queue)
    return _figures(keys, run.seconds, run.lane_cpu_seconds, run.peak_bytes)


def _run_peer(sitting: Sitting, peer: Peer, keys: Keys, flags: tuple[str, ...] = ()) -> Figures:
    run = peer.copy(log=sitting.log(peer.name), flags=flags)
    return _figures(keys, run.seconds, run.cpu_seconds, run.peak_bytes)


def _figures(keys: Keys, seconds: float, cpu_seconds: float, peak_bytes: int) -> Figures:
    gigabytes = keys.count * keys.sizes[0] / 1e9
    return {
        "mb_a_second": gigabytes * 1000 / seconds,
        "cpu_seconds_a_gb": cpu_seconds / gigabytes,
        "peak_mb_a_process": peak_bytes / 1e6,
    }
