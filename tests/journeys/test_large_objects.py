"""Clusters share the parts of a large object, and resume its upload after a lane was killed."""

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection

from replication.intake.matching import look_again
from replication.models import Heartbeat, Job, JobState, LoopKind, UploadPart
from sandbox.oss import Fault
from tests.support.lanes import lanes_until
from tests.support.processes import eventually, manage
from tests.support.proxy import UnreliableProxy
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024**2
SETTINGS = {
    "S3SYNC_MULTIPART_THRESHOLD_BYTES": f"{MIB}",
    "S3SYNC_MULTIPART_CHUNKSIZE_BYTES": f"{MIB}",
    "S3SYNC_LANES": "1",
    "S3SYNC_LEASE_SECONDS": "5",
    "S3SYNC_RETRY_BASE_SECONDS": "0.1",
    "S3SYNC_POLL_IN_CLUSTER": "false",
}


def is_completed() -> bool:
    return Job.objects.filter(state=JobState.COMPLETED).exists()


def most_at_once(road: Road) -> int:
    """The largest number of parts in flight to OSS at the same moment, from OSS's log."""
    times = [
        (request.started_monotonic, request.ended_monotonic)
        for request in road.oss.requests(operation="UploadPart")
    ]
    return max(sum(start <= at < end for start, end in times) for at, _ in times)


def test_two_clusters_carry_the_parts_of_one_object(road: Road, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(48 * MIB)
    road.put("a", content)
    road.oss.add_fault(Fault(operation="UploadPart", delay_seconds=0.6, times=None))
    with ExitStack() as stack:
        for _ in range(2):
            # A lane of four places carries at most three parts at once.
            cluster = manage(
                "qcluster", directory=tmp_path, S3SYNC_LANE_CONCURRENCY="4", **SETTINGS
            )
            stack.enter_context(cluster)
        look_again(road.rule, ["a"])
        eventually(is_completed)
    assert most_at_once(road) > 3
    assert len(road.oss.requests(operation="UploadPart")) == 48
    assert road.replica("a") == content


def test_parts_carried_before_a_kill_are_not_read_again(road: Road, tmp_path: Path) -> None:
    # Large enough that the few MB that each look reads ahead hardly count.
    size_bytes = 96 * MIB
    content = random.Random(2).randbytes(size_bytes)
    road.put("a", content)
    road.oss.add_fault(Fault(operation="UploadPart", delay_seconds=0.05, times=None))
    upstream = urlsplit(road.aws.endpoint_url).port
    assert upstream
    there = UploadPart.objects.exclude(etag="")
    with UnreliableProxy(upstream, seed=0) as proxy:
        road.source.endpoint_url = f"http://127.0.0.1:{proxy.port}"
        road.source.save()
        look_again(road.rule, ["a"])
        with manage(
            "qcluster", directory=tmp_path, S3SYNC_LANE_CONCURRENCY="4", **SETTINGS
        ) as cluster:
            eventually(lambda: there.count() >= 48, unless_ended=cluster)
            for lane in Heartbeat.objects.filter(kind=LoopKind.LANE, started_at__isnull=False):
                assert lane.pid
                os.kill(lane.pid, signal.SIGKILL)
            eventually(is_completed, unless_ended=cluster)
        read_bytes = proxy.answered_bytes
    assert road.replica("a") == content
    assert read_bytes < 1.3 * size_bytes


def test_an_object_that_is_overwritten_all_the_time_is_never_mixed_and_the_last_version_wins(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(
        multipart_threshold_bytes=MIB,
        multipart_chunksize_bytes=MIB,
        lane_concurrency=4,
        retry_base_seconds=0.05,
    )
    chance = random.Random(3)
    versions = [bytes([number]) * (2 * MIB + chance.randrange(MIB)) for number in range(50)]
    road.oss.add_fault(Fault(operation="UploadPart", delay_seconds=0.05, times=None))
    seen: set[bytes | None] = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            seen.add(road.replica("a"))

    def write() -> None:
        for content in versions:
            road.put("a", content)
            look_again(road.rule, ["a"])
            is_over.wait(chance.uniform(0, 0.25))
        connection.close()

    watcher, writer = threading.Thread(target=watch), threading.Thread(target=write)
    waiting = Job.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING])
    watcher.start()
    writer.start()
    try:
        lanes_until(lambda: not (writer.is_alive() or waiting.exists()), seconds=1)
    finally:
        is_over.set()
        watcher.join()
        writer.join()
    assert road.replica("a") == versions[-1]
    assert len(seen - {None}) > 1
    assert seen <= {None, *versions}
    assert not Job.objects.filter(state=JobState.FAILED).exists()
