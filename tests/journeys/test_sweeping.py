"""Real clusters share a sweep, and go on with it after they were killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stand_ins import DESTINATION_BUCKET, SOURCE_BUCKET, Keys, Neutral
from replication.models import (
    Destination,
    Job,
    JobOrigin,
    Source,
    Sweep,
    SweepKind,
    SweepSlice,
    SweepState,
)
from replication.sweep import comparing, lifecycle
from tests.support.processes import eventually, manage
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = 40_000
PAGE_KEYS = 1000
MISSING = range(0, KEYS, 500)
LEASE_SECONDS = 6


@pytest.fixture
def large(road: Road) -> Iterator[tuple[Neutral, Neutral]]:
    """Two buckets of many keys, some of which the destination lacks, between which the rule is."""
    with Neutral() as source, Neutral() as destination:
        keys = Keys("data/", KEYS, (100, 100))
        source.fill(keys)
        destination.fill(Keys(keys.prefix, KEYS, keys.sizes, bucket=DESTINATION_BUCKET))
        for number in MISSING:
            destination.delete(keys.key(number), bucket=DESTINATION_BUCKET)
        Source.objects.update(endpoint_url=source.url, bucket=SOURCE_BUCKET)
        Destination.objects.update(endpoint=destination.url, bucket=DESTINATION_BUCKET)
        road.rule.refresh_from_db()
        yield source, destination


def test_clusters_that_were_killed_in_a_backfill_go_on_with_it_and_miss_no_key(
    road: Road, large: tuple[Neutral, Neutral], tmp_path: Path
) -> None:
    source, destination = large
    sweep = lifecycle.start(
        road.rule, SweepKind.BACKFILL, mends=True, settle_seconds=0, requests_per_second=8.0
    )
    settings = {"S3SYNC_LEASE_SECONDS": str(LEASE_SECONDS), "S3SYNC_SCRUB_DAYS": "0"}
    begun = SweepSlice.objects.filter(sweep=sweep, is_done=False).exclude(cursor="")
    with (
        manage("qcluster", directory=tmp_path, S3SYNC_HOST="host-0", **settings) as one,
        manage("qcluster", directory=tmp_path, S3SYNC_HOST="host-1", **settings) as other,
    ):
        eventually(begun.exists, unless_ended=one)
        for cluster in (one, other):
            os.killpg(cluster.pid, signal.SIGKILL)
    left = sum(
        KEYS - int(one.cursor.removeprefix("data/")) for one in begun.all() if one.until_key is None
    )
    assert 0 < left < KEYS
    source.reset_counts()
    with manage("qcluster", directory=tmp_path, S3SYNC_HOST="host-2", **settings) as cluster:
        over = Sweep.objects.filter(state=SweepState.COMPLETED)
        eventually(over.exists, unless_ended=cluster)
    sweep.refresh_from_db()
    assert (sweep.missing, sweep.ordered) == (len(MISSING), len(MISSING))
    assert (sweep.source_keys, sweep.equal) == (KEYS, KEYS - len(MISSING))
    copied = Job.objects.filter(origin=JobOrigin.SWEEP)
    assert sorted(copied.values_list("key", flat=True)) == [f"data/{n:07d}" for n in MISSING]
    assert source.digest(SOURCE_BUCKET) == destination.digest(DESTINATION_BUCKET)
    again = comparing.BATCH_PAGES // 2
    splits = SweepSlice.objects.count()
    requests = sum(number for kind, number in source.requests().items() if "ist" in kind)
    assert left // PAGE_KEYS <= requests <= left // PAGE_KEYS + again * splits
