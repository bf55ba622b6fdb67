"""Measures comparisons of whole buckets, and the backfill of an empty one."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.ours import Installation
from benchmarks.processes import Run
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import DESTINATION_BUCKET, Keys
from sandbox.child import Child

OBJECT_BYTES = 100
DISTANCE_MS = 50
# Compare by the listings. By default, rclone requests each object's time on both sides.
RCLONE_FLAGS = ("--checksum", "--fast-list")
MANY_BYTES, LARGE_BYTES = 4096, 64 * 1024**2
CHANGED = 4711
BACKFILLED = "state = 'completed' AND origin = 'sweep'"


def measure_compare(sitting: Sitting) -> Row:
    """Both sides are equal, without distance: the CPU is the limit."""
    row = _measure_compare(sitting, title="Compare equal buckets, no distance", distance_ms=0)
    row.checks += [
        Check("CPU, of which juicefs needs", 1 / _ratio(row, "cpu_seconds"), at_least=1.5, aim=3.0),
        Check("MB above an idle lane", row.median("s3sync", "mb_above_idle"), at_most=64),
    ]
    return row


def measure_compare_wan(sitting: Sitting) -> Row:
    """With a round trip of 50 ms to each side: pages must not wait for one another."""
    title = f"Compare equal buckets, {DISTANCE_MS} ms to each side"
    return _measure_compare(sitting, title=title, distance_ms=DISTANCE_MS)


def _measure_compare(sitting: Sitting, *, title: str, distance_ms: float) -> Row:
    # Over a distance, a peer takes two minutes.
    count = 100_000 if sitting.is_quick else 1_000_000
    rounds = 1 if sitting.is_quick or distance_ms else 3
    row = Row(
        f"{title}: {count:,} keys",
        notes=[
            "Whole runs of `manage.py reconcile`, `juicefs sync`, and `rclone copy "
            f"{' '.join(RCLONE_FLAGS)}`. juicefs compares sizes and times, s3sync and rclone "
            "MD5s. “MB above idle” is the peak memory above that of `manage.py sweeps`, which "
            "loads the same modules."
        ],
    )
    _fill_both(sitting, count, distance_ms=distance_ms)
    with sitting.installation() as installation:
        idle = installation.run("sweeps").peak_bytes
        for _ in range(rounds):
            _reset_counts(sitting)
            run = installation.run("reconcile", "rule", "--settle=0")
            row.add("s3sync", **_figures(sitting, run), mb_above_idle=(run.peak_bytes - idle) / 1e6)
            for peer, flags in ((sitting.juicefs, ()), (sitting.rclone, RCLONE_FLAGS)):
                _reset_counts(sitting)
                run = peer.copy(log=sitting.log(peer.name), flags=flags)
                row.add(peer.name, **_figures(sitting, run))
    most = row.median("s3sync", "requests")
    row.checks = [
        Check("times as fast as juicefs", 1 / _ratio(row, "seconds"), at_least=1.5, aim=3.0),
        Check("requests a million keys", most * 1e6 / count, at_most=2050),
    ]
    return row


def measure_growth(sitting: Sitting) -> Row:
    """Ten times as many keys take ten times as long, in the same memory."""
    few, many = (20_000, 200_000) if sitting.is_quick else (1_000_000, 10_000_000)
    row = Row(f"Compare {few:,} and {many:,} equal keys, no distance")
    with sitting.installation() as installation:
        for count in (few, many):
            _fill_both(sitting, count, distance_ms=0)
            _reset_counts(sitting)
            run = installation.run("reconcile", "rule", "--settle=0", timeout_seconds=1800)
            row.add(f"{count:,} keys", **_figures(sitting, run))
    names = (f"{few:,} keys", f"{many:,} keys")
    small, large = (row.median(name, "seconds") for name in names)
    memory = [row.median(name, "peak_mb") for name in names]
    row.checks = [
        Check("time, of linear", large / small / (many / few), at_most=1.1),
        Check("memory", memory[1] / memory[0], at_most=1.1),
    ]
    return row


def measure_backfill(sitting: Sitting) -> Row:
    """From nothing to all: as fast as the same by events, or as the peers."""
    many, large = (1000, 4) if sitting.is_quick else (20_000, 50)
    return _measure_backfill(sitting, many, large, distance_ms=0)


def measure_backfill_wan(sitting: Sitting) -> Row:
    """The same with a round trip of 50 ms to each side."""
    many, large = (500, 2) if sitting.is_quick else (10_000, 25)
    return _measure_backfill(sitting, many, large, distance_ms=DISTANCE_MS)


def _measure_backfill(sitting: Sitting, many: int, large: int, *, distance_ms: float) -> Row:
    some = Keys("small/", many, (MANY_BYTES, MANY_BYTES))
    big = Keys("large/", large, (LARGE_BYTES, LARGE_BYTES))
    total = many + large
    where = f"{DISTANCE_MS} ms to each side" if distance_ms else "no distance"
    row = Row(
        f"Backfill: {many:,} × {MANY_BYTES // 1024} KiB and {large} × {LARGE_BYTES // 1024**2} MiB "
        f"from nothing, {where}",
        ratio_of="objects_a_second",
        notes=[
            "“by events”: the same objects are announced by SQS. All have 64 places: s3sync two "
            "lanes of 32, the peers so many threads."
        ],
    )
    sitting.begin(some, big, distance_ms=distance_ms)
    for _ in range(1 if sitting.is_quick else 2):
        # A new one: a rule that remembers its copies asks where they have gone.
        with sitting.installation() as installation, installation.cluster():
            sitting.empty_destination()
            began = time.monotonic()
            installation.run("backfill", "rule", "--settle=0")
            row.add("s3sync", objects_a_second=total / (time.monotonic() - began))
            sitting.require_equal()
        with sitting.installation() as installation, installation.cluster() as cluster:
            sitting.empty_destination()
            installation.mark()
            began = time.monotonic()
            for keys in (some, big):
                sitting.queue.announce(keys)
            for _ in installation.await_jobs(
                total, "state = 'completed'", cluster.process, timeout_seconds=280
            ):
                pass
            row.add("by events", objects_a_second=total / (time.monotonic() - began))
            sitting.require_equal()
        for peer in (sitting.juicefs, sitting.rclone):
            sitting.empty_destination()
            run = peer.copy(log=sitting.log(peer.name))
            row.add(peer.name, objects_a_second=total / run.seconds)
            sitting.require_equal()
    slowest = min(row.ratio(peer) for peer in ("juicefs", "rclone"))
    row.checks = [
        Check("objects/s, of those by events", row.ratio("by events"), at_least=0.9, aim=1.1),
        Check("objects/s, of the faster peer", slowest, at_least=0.8, aim=1.1),
    ]
    return row


def measure_lost_change(sitting: Sitting) -> Row:
    """One changed key whose event was lost is found, mended and reported by a scrub."""
    count = 100_000 if sitting.is_quick else 1_000_000
    row = Row(
        f"A lost change among {count:,} keys, and the lag of live changes meanwhile",
        notes=[
            "Live changes: 20 a second, with and without the comparison beside them. Without a "
            "distance, pages of listings may hold up other requests of the stand-ins, on the same "
            "cores."
        ],
    )
    keys = _fill_both(sitting, count, distance_ms=0)
    live = Keys("live/", 100 if sitting.is_quick else 600, (OBJECT_BYTES, OBJECT_BYTES))
    sitting.source.fill(live)
    with sitting.installation() as installation, installation.cluster() as cluster:
        cluster.copy(live, queue=sitting.queue, per_second=20)
        row.add("without", lag_p99_ms=1000 * installation.figure(_LAG_P99))
        sitting.source.put(keys.key(CHANGED), b"a change that no event tells of")
        time.sleep(2)  # longer than the grace of an event
        installation.mark()
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            reconcile = pool.submit(
                installation.run, "reconcile", "rule", "--settle=0", "--mend", "--json"
            )
            cluster.copy(live, queue=sitting.queue, per_second=20)
            reconcile.result()
            row.add(
                "with a mending reconcile",
                lag_p99_ms=1000 * installation.figure(_LAG_P99),
                reconcile_seconds=time.monotonic() - began,
            )
        ((findings, lost),) = installation.database.execute(
            "SELECT count(*), count(*) FILTER (WHERE cause = 'lost' AND state = 'mended') "
            "FROM replication_sweepfinding"
        ).fetchall()
    sitting.require_equal()
    row.checks = [
        Check("findings", findings, at_least=1, at_most=1),
        Check("mended and reported as lost", lost, at_least=1, at_most=1),
    ]
    return row


def measure_live_beside(sitting: Sitting) -> Row:
    """Live changes are not held up by a backfill of their rule."""
    row = Row(
        f"The lag of 20 live changes a second beside a backfill, {DISTANCE_MS} ms to each side",
        notes=["The backfill is of objects of 4 KiB, and may take half of the lane's places."],
    )
    count = 100 if sitting.is_quick else 600
    live = Keys("live/", count, (OBJECT_BYTES, OBJECT_BYTES))
    some = Keys("small/", 12_000, (MANY_BYTES, MANY_BYTES))
    sitting.begin(live, some, distance_ms=DISTANCE_MS)
    with sitting.installation() as installation, installation.cluster() as cluster:
        row.add("without", **_live(sitting, installation, cluster.process, live))
        installation.mark()
        installation.run("backfill", "rule", "--settle=0", "--detach")
        for _ in installation.await_jobs(100, BACKFILLED, cluster.process, timeout_seconds=60):
            pass
        row.add("beside a backfill", **_live(sitting, installation, cluster.process, live))
        installation.delete_unfinished()
    lags = [row.median(name, "lag_p99_ms") for name in ("without", "beside a backfill")]
    row.checks = [Check("lag p99, of that without", lags[1] / lags[0], at_most=1.2, aim=1.0)]
    return row


def _live(
    sitting: Sitting, installation: Installation, cluster: Child, live: Keys
) -> dict[str, float]:
    """The lags of live changes, and the objects a second that were backfilled meanwhile."""
    installation.mark()
    began = time.monotonic()
    sitting.queue.announce(live, per_second=20)
    for _ in installation.await_jobs(
        live.count, "state = 'completed' AND origin = 'event'", cluster, timeout_seconds=120
    ):
        pass
    seconds = time.monotonic() - began
    ((backfilled,),) = installation.database.execute(
        f"SELECT count(*) FROM replication_job WHERE {BACKFILLED} "
        "AND finalized_at > now() - make_interval(secs => %s)",
        [seconds],
    ).fetchall()
    return {
        "lag_p50_ms": 1000 * installation.figure(_LAG_P99.replace("0.99", "0.5")),
        "lag_p99_ms": 1000 * installation.figure(_LAG_P99),
        "backfilled_a_second": backfilled / seconds,
    }


def measure_shared(sitting: Sitting) -> Row:
    """Two clusters share one sweep of a skewed bucket: 90 % of its keys are under one prefix."""
    count, rounds = (100_000, 1) if sitting.is_quick else (3_000_000, 2)
    row = Row(
        f"One sweep of {count:,} keys, 90 % of them under one prefix, {DISTANCE_MS} ms to each "
        "side, by one and by two clusters",
    )
    sizes = (OBJECT_BYTES, OBJECT_BYTES)
    large = Keys("a/large/folder/", count * 9 // 10, sizes)
    others = [Keys(f"{name}/", count // 100, sizes) for name in "bcdefghijk"]
    sitting.begin(large, *others, distance_ms=DISTANCE_MS)
    for keys in (large, *others):
        sitting.destination.fill(
            Keys(keys.prefix, keys.count, keys.sizes, bucket=DESTINATION_BUCKET)
        )
    sitting.require_equal()
    with sitting.installation() as installation:
        for _ in range(rounds):
            for clusters in (1, 2):
                seconds = _sweep_by(sitting, installation, clusters)
                row.add(f"{clusters} cluster{'s' if clusters > 1 else ''}", seconds=seconds)
    row.checks = [
        Check(
            "time of two, of one's",
            row.median("2 clusters", "seconds") / row.median("1 cluster", "seconds"),
            at_most=0.65,
        )
    ]
    return row


_LAG_P99 = (
    "percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finalized_at - event_at)) "
    "FILTER (WHERE origin = 'event')"
)


def _sweep_by(sitting: Sitting, installation: Installation, clusters: int) -> float:
    """The seconds of one sweep, from its first page to its last, by so many clusters."""
    with ExitStack() as running:
        for number in range(clusters):
            running.enter_context(installation.cluster_on(f"host-{number}"))
        _reset_counts(sitting)
        installation.run("reconcile", "rule", "--settle=0", "--detach")
        deadline = time.monotonic() + 600
        began = seconds = None
        while True:
            if began is None and sitting.source.requests():
                began = time.monotonic()
            ((is_listed, is_over),) = installation.database.execute(
                "SELECT listed_at IS NOT NULL, ended_at IS NOT NULL FROM replication_sweep "
                "ORDER BY id DESC LIMIT 1"
            ).fetchall()
            if is_listed and began is not None and seconds is None:
                seconds = time.monotonic() - began
            if is_over and seconds is not None:
                return seconds
            if time.monotonic() > deadline:
                raise RuntimeError("the sweep is not over after ten minutes")
            time.sleep(0.05)


def _fill_both(sitting: Sitting, count: int, *, distance_ms: float) -> Keys:
    """Equal buckets of so many keys."""
    keys = Keys("k/", count, (OBJECT_BYTES, OBJECT_BYTES))
    sitting.begin(keys, distance_ms=distance_ms)
    sitting.destination.fill(Keys(keys.prefix, count, keys.sizes, bucket=DESTINATION_BUCKET))
    sitting.require_equal()  # the stand-ins compute their listings now, not later
    return keys


def _ratio(row: Row, figure: str) -> float:
    return row.median("s3sync", figure) / row.median("juicefs", figure)


def _reset_counts(sitting: Sitting) -> None:
    sitting.source.reset_counts()
    sitting.destination.reset_counts()


def _figures(sitting: Sitting, run: Run) -> dict[str, float]:
    counts = Counter(sitting.source.requests()) + Counter(sitting.destination.requests())
    return {
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "peak_mb": run.peak_bytes / 1e6,
        "requests": sum(counts.values()),
    }
