"""Measures what it takes to replicate one change in a bucket of a million objects."""

from collections import Counter

from benchmarks.ours import Cluster
from benchmarks.peers import Peer
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import DESTINATION_BUCKET, Keys

OBJECT_BYTES = 100
CHANGED = 4711
# Compare by the listings. By default, rclone requests each object's time on both sides.
RCLONE_FLAGS = ("--checksum", "--fast-list")
COPY, DELETE = "s3sync", "s3sync, a delete"


def measure(sitting: Sitting) -> Row:
    """Both sides are equal except for one object."""
    count, changes = (100_000, 2) if sitting.is_quick else (1_000_000, 5)
    keys = Keys("k/", count, (OBJECT_BYTES, OBJECT_BYTES))
    row = Row(
        f"One change in a bucket of {count:,} keys",
        notes=[
            "“Requests” are the requests to the source and the destination. “Seconds” are the time "
            "from the event in the queue to the settled job, or the whole run of a peer. juicefs "
            "detects the change by the object's size, rclone with "
            f"`{' '.join(RCLONE_FLAGS)}` by its MD5."
        ],
    )
    sitting.begin(keys)
    sitting.destination.fill(Keys(keys.prefix, count, keys.sizes, bucket=DESTINATION_BUCKET))
    sitting.require_equal()  # the stand-ins compute their listings now, not later
    sizes = iter(range(OBJECT_BYTES + 1, 2 * OBJECT_BYTES))
    with sitting.installation() as installation, installation.cluster() as cluster:
        for _ in range(changes):
            _change(sitting, keys, next(sizes))
            row.add(COPY, **_run_s3sync(sitting, cluster, keys))
        for _ in range(changes):
            _delete(sitting, keys)
            row.add(DELETE, **_run_s3sync(sitting, cluster, keys))
            _change(sitting, keys, next(sizes))
            _run_s3sync(sitting, cluster, keys)
    sitting.require_equal()
    for peer, flags in ((sitting.juicefs, ()), (sitting.rclone, RCLONE_FLAGS)):
        _change(sitting, keys, next(sizes))
        row.add(peer.name, **_run_peer(sitting, peer, flags))
        sitting.require_equal()
    row.checks = [
        Check("requests", max(row.figures[COPY]["requests"].values), at_most=2),
        # A look at the source, one at the replica's marks, and the delete.
        Check("requests of a delete", max(row.figures[DELETE]["requests"].values), at_most=3),
        Check("seconds", max(row.figures[COPY]["seconds"].values), at_most=1),
    ]
    return row


def _change(sitting: Sitting, keys: Keys, size_bytes: int) -> None:
    sitting.source.put(keys.key(CHANGED), b"x" * size_bytes)
    _reset_counts(sitting)


def _delete(sitting: Sitting, keys: Keys) -> None:
    sitting.source.delete(keys.key(CHANGED))
    _reset_counts(sitting)


def _reset_counts(sitting: Sitting) -> None:
    sitting.source.reset_counts()
    sitting.destination.reset_counts()


def _requests(sitting: Sitting) -> int:
    counts = Counter(sitting.source.requests()) + Counter(sitting.destination.requests())
    return sum(counts.values())


def _run_s3sync(sitting: Sitting, cluster: Cluster, keys: Keys) -> dict[str, float]:
    one = Keys(keys.prefix, CHANGED + 1, keys.sizes)
    run = cluster.copy(one, first=CHANGED, queue=sitting.queue)
    return {"seconds": run.seconds, "requests": _requests(sitting)}


def _run_peer(sitting: Sitting, peer: Peer, flags: tuple[str, ...]) -> dict[str, float]:
    run = peer.copy(log=sitting.log(peer.name), flags=flags)
    return {
        "seconds": run.seconds,
        "requests": _requests(sitting),
        "cpu_seconds": run.cpu_seconds,
        "peak_mb": run.peak_bytes / 1e6,
    }
