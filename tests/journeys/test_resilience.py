"""Processes are killed or stopped: no job is lost, every replica is right, no process remains."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core import serializers

from replication.errors import ErrorCode
from replication.models import (
    Destination,
    EventQueue,
    Heartbeat,
    Job,
    JobState,
    ReplicationRule,
    Source,
    TransferAttempt,
)
from sandbox.child import Child
from sandbox.oss import Fault
from sandbox.postgres import Postgres
from tests.support.processes import REPOSITORY, eventually, manage, members
from tests.support.processes import test_database_url as database_url
from tests.support.proxy import UnreliableProxy
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)


def kill(cluster: Child) -> None:
    """Send SIGKILL to the whole cluster, as when its host or container dies."""
    os.killpg(cluster.pid, signal.SIGKILL)
    eventually(lambda: not cluster.is_running() and not members(cluster))


def completed(count: int) -> Callable[[], bool]:
    return lambda: Job.objects.filter(state=JobState.COMPLETED).count() == count


def test_a_transfer_whose_cluster_was_killed_is_done_by_another(road: Road, tmp_path: Path) -> None:
    road.put("a")
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=60))
    environment = {"S3SYNC_LEASE_SECONDS": "5", "S3SYNC_LANE_SECONDS": "12"}
    with manage("qcluster", directory=tmp_path, **environment) as first:
        # The fault is armed until the write has reached OSS.
        eventually(lambda: not road.oss.faults.list(), unless_ended=first)
        kill(first)
    with manage("qcluster", directory=tmp_path, **environment) as second:
        eventually(completed(1), unless_ended=second)
        kill(second)
    [attempt] = [one for job in Job.objects.all() for one in job.tries]
    assert (attempt.number, attempt.code) == (1, ErrorCode.LEASE_EXPIRED)
    assert road.replica("a") == b"content"


def test_sigterm_stops_the_cluster_promptly_and_leaves_nothing(road: Road, tmp_path: Path) -> None:
    road.put("a")
    with manage("qcluster", directory=tmp_path, S3SYNC_LANE_SECONDS="3") as cluster:
        eventually(completed(1), unless_ended=cluster)
        assert len(members(cluster)) > 1
        os.kill(cluster.pid, signal.SIGTERM)
        eventually(lambda: not cluster.is_running())
        eventually(lambda: not members(cluster))
    assert not Heartbeat.objects.filter(started_at__isnull=False).exists()
    assert not Job.objects.filter(state=JobState.RUNNING).exists()


def test_pollsqs_polls_one_queue_until_sigterm(road: Road, tmp_path: Path) -> None:
    environment = {"S3SYNC_POLL_IN_CLUSTER": "false"}
    arguments = ("pollsqs", "--queue", road.queue.name)
    with manage(*arguments, directory=tmp_path, **environment) as poller:
        eventually(
            lambda: EventQueue.objects.get().messages_received > 0, unless_ended=poller
        )  # S3's test message
        road.put("a")
        eventually(Job.objects.exists, unless_ended=poller)
        os.kill(poller.pid, signal.SIGTERM)
        road.put("b")  # ends the poller's long poll
        eventually(lambda: not poller.is_running())
    # No lane was alive, so the poller has requested one; that lane has not started.
    assert not Heartbeat.objects.filter(started_at__isnull=False).exists()


def test_a_database_that_crashes_and_comes_back_loses_nothing(road: Road, tmp_path: Path) -> None:
    """Uses its own database, because a crash would break the other tests."""
    keys = [f"key/{number}" for number in range(40)]
    with Postgres(fsync=False) as postgres:
        move_configuration(to=postgres.url)
        road.oss.add_fault(Fault(operation="PutObject", times=None, delay_seconds=0.2))
        environment = {"DATABASE_URL": postgres.url, "S3SYNC_LEASE_SECONDS": "5"}
        environment |= {"S3SYNC_LANE_CONCURRENCY": "4", "S3SYNC_LANE_SECONDS": "12"}
        with manage("qcluster", directory=tmp_path, **environment) as cluster:
            for key in keys:
                road.put(key)
            eventually(
                lambda: ask(postgres, "SELECT count(*) > 5 FROM replication_job"),
                unless_ended=cluster,
            )
            postgres.restart()
            eventually(
                lambda: all(road.replica(key) is not None for key in keys),
                unless_ended=cluster,
            )
            road.put("after")
            eventually(
                lambda: (
                    not ask(
                        postgres,
                        "SELECT count(*) FROM replication_transferjob WHERE finalized_at IS NULL",
                    )
                    and road.replica("after") is not None
                ),
                unless_ended=cluster,
            )
            kill(cluster)
        assert not ask(
            postgres, "SELECT count(*) FROM replication_transferjob WHERE state = 'failed'"
        )


def move_configuration(*, to: str) -> None:
    """Migrate another database, and copy this test's road into it."""
    environment = {**os.environ, "DATABASE_URL": to}
    rows = [
        row
        for model in (Source, Destination, ReplicationRule, EventQueue)
        for row in model._default_manager.all()
    ]
    for arguments, stdin in (
        (["migrate", "--verbosity=0"], ""),
        (["loaddata", "--format=json", "-"], serializers.serialize("json", rows)),
    ):
        subprocess.run(
            [sys.executable, REPOSITORY / "manage.py", *arguments],
            input=stdin,
            env=environment,
            text=True,
            check=True,
            capture_output=True,
        )


def ask(postgres: Postgres, query: str) -> Any:
    try:
        with psycopg.connect(postgres.url, connect_timeout=5) as database:
            row = database.execute(query).fetchone()
    except psycopg.OperationalError:
        return None
    return row[0] if row else None


def test_sigterm_under_load_hands_over_running_jobs_and_uses_up_no_try(
    road: Road, tmp_path: Path
) -> None:
    keys = [f"{number}" for number in range(12)]
    size = 20_000_000  # more than the sockets' buffers hold
    for key in keys:
        road.put(key, b"x" * size)
    # Far too slow to finish in the time that a stop allows.
    road.oss.add_fault(Fault(operation="PutObject", times=None, bytes_per_second=200_000))
    running = Job.objects.filter(state=JobState.RUNNING)
    with manage("qcluster", directory=tmp_path, S3SYNC_LANE_CONCURRENCY="4") as cluster:
        eventually(lambda: running.count() >= 4, unless_ended=cluster)
        os.kill(cluster.pid, signal.SIGTERM)
        eventually(lambda: not cluster.is_running())
    assert not running.exists()
    assert not Job.objects.filter(attempt__gt=0).exists()
    assert not TransferAttempt.objects.exists()

    road.oss.clear_faults()
    work()
    assert {key: road.replica(key) for key in keys} == dict.fromkeys(keys, b"x" * size)


def test_sigterm_stops_a_cluster_whose_transfers_get_no_answer(road: Road, tmp_path: Path) -> None:
    road.put("a")
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=300))
    running = Job.objects.filter(state=JobState.RUNNING)
    with manage("qcluster", directory=tmp_path) as cluster:
        eventually(running.exists, unless_ended=cluster)
        os.kill(cluster.pid, signal.SIGTERM)
        eventually(lambda: not cluster.is_running())
    # OSS may still carry out the write, so no lane may claim the job before its lease expires.
    assert running.exists()


def test_a_cluster_works_on_after_its_database_connections_froze(
    road: Road, tmp_path: Path
) -> None:
    """A failover without a reset: old connections pass nothing on, new ones work."""
    direct = urlsplit(database_url())
    assert direct.port is not None
    with UnreliableProxy(direct.port) as proxy:
        url = direct._replace(netloc=f"{direct.username}:{direct.password}@127.0.0.1:{proxy.port}")
        settings = {"DATABASE_URL": url.geturl(), "S3SYNC_LEASE_SECONDS": "6"}
        with manage("qcluster", directory=tmp_path, **settings) as cluster:
            road.put("before.txt", b"before")
            eventually(completed(1), unless_ended=cluster)
            road.put("during.txt", b"during")
            assert proxy.freeze()
            eventually(completed(2), unless_ended=cluster)
            road.put("after.txt", b"after")
            eventually(completed(3), unless_ended=cluster)
