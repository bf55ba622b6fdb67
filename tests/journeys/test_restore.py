"""The database is restored to a backup under load; `manage.py recover` makes all equal again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import oss2
import pytest
from django.db import connection
from django.db.models import F

from replication import jobs
from replication.models import FindingState, Heartbeat, Job, JobState, SweepFinding
from sandbox.oss import Fault
from sandbox.postgres_binaries import find_binaries
from tests.support import processes
from tests.support.paths import REPOSITORY
from tests.support.processes import eventually, manage, members
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def run_of_postgres(program: str, *arguments: str | Path) -> None:
    """Run a program that comes with PostgreSQL."""
    done = subprocess.run(
        [find_binaries().folder / program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def back_up(dump: Path) -> datetime:
    """Back up the test's database while it is in use; returns when."""
    run_of_postgres("pg_dump", "--format=custom", f"--file={dump}", processes.test_database_url())
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def restore(dump: Path) -> None:
    """Restore the test's database, which nobody else uses, an hour later."""
    connection.close()
    run_of_postgres(
        *("pg_restore", "--clean", "--if-exists", "--single-transaction"),
        *(f"--dbname={processes.test_database_url()}", dump),
    )
    Heartbeat.objects.update(beat_at=F("beat_at") - timedelta(hours=1))


@contextmanager
def load(road: Road, *, seed: int) -> Iterator[None]:
    """Put, overwrite and delete objects at the source for as long as the context lasts."""
    chance, has_ended = random.Random(seed), threading.Event()

    def write() -> None:
        deletes = 0
        while not has_ended.wait(0.01):
            key = f"load/{chance.randrange(60)}"
            if deletes < 5 and chance.random() < 0.1:
                road.s3.delete_object(Bucket=road.source.bucket, Key=key)
                deletes += 1
            else:
                road.put(key, chance.randbytes(chance.randrange(1, 2000)))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def contents(road: Road) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All objects of both sides, read by the vendors' SDKs."""
    pages = road.s3.get_paginator("list_objects_v2").paginate(Bucket=road.source.bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    objects = {
        key: road.s3.get_object(Bucket=road.source.bucket, Key=key)["Body"].read() for key in keys
    }
    replicas = {
        one.key: road.replicas.get_object(one.key).read()
        for one in oss2.ObjectIteratorV2(road.replicas)
    }
    return objects, replicas


def differing(road: Road) -> set[str]:
    objects, replicas = contents(road)
    return {key for key in objects | replicas if objects.get(key) != replicas.get(key)}


@contextmanager
def recover(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the command until the context ends; yields once it says that clusters are to start."""
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "manage.py", "recover", *options],
        env={**os.environ, "DATABASE_URL": processes.test_database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while "Start the clusters now" not in said:
            line = process.stderr.readline()
            assert line, f"the command ended: {said}"
            said += line
        yield process
    finally:
        process.kill()
        process.communicate()


# Of a job that ran at the backup, a write may still land for so long.
SOON = {"S3SYNC_READ_TIMEOUT_SECONDS": "3"}
LOST = {f"lost/{number}" for number in range(12)}


def lose_an_hour(road: Road, directory: Path) -> tuple[datetime, int]:
    """Replicate under load, kill the cluster, and restore the database to a backup of before.

    The changes of LOST have left SQS, and their jobs were in the lost part of the database alone.
    Returns when the backup was made, and the newest id of a job before the restore.
    """
    completed = Job.objects.filter(state=JobState.COMPLETED)
    dump = directory / "backup"
    with manage("qcluster", directory=directory) as cluster, load(road, seed=15):
        road.put("lost/0", b"before the backup")
        eventually(completed.filter(key="lost/0").exists, unless_ended=cluster)
        eventually(lambda: completed.count() > 40, unless_ended=cluster)
        backed_up_at = back_up(dump)
        at_backup = completed.count()
        eventually(lambda: completed.count() > at_backup + 40, unless_ended=cluster)
        for method in ("PUT", "DELETE"):
            road.oss.add_fault(Fault(status=503, method=method, key_prefix="lost/", times=None))
        road.s3.delete_object(Bucket=road.source.bucket, Key="lost/0")
        for key in LOST - {"lost/0"}:
            road.put(key, b"after the backup")
        waiting = Job.objects.filter(key__startswith="lost/", state=JobState.PENDING)
        eventually(lambda: waiting.count() == len(LOST), unless_ended=cluster)
        newest_id = Job.objects.latest("pk").pk
        os.killpg(cluster.pid, signal.SIGKILL)
        eventually(lambda: not members(cluster))
    road.oss.clear_faults()
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    restore(dump)
    return backed_up_at, newest_id


def test_after_a_restore_under_load_one_command_makes_both_buckets_equal_and_says_what_was_lost(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    road = make_road(delete_policy="mirror")
    backed_up_at, newest_id = lose_an_hour(road, tmp_path)
    unequal = differing(road)
    assert unequal >= LOST
    unfinished = Job.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING])
    known = set(unfinished.values_list("key", flat=True))
    while_down = {f"down/{number}" for number in range(5)}
    for key in while_down:
        road.put(key, b"while no cluster runs")
    restored = len(road.oss.requests())
    road.oss.add_fault(Fault(hold=True, method="PUT", key_prefix="lost/1"))

    with recover("--json", "--settle=2", f"--since={backed_up_at.isoformat()}") as command:
        ordered = Job.objects.filter(key="lost/1", state=JobState.PENDING)
        eventually(ordered.exists)
        first = ordered.get()
        assert (first.priority, first.pk > newest_id) == (jobs.PRIORITY_SWEEP_FIRST, True)
        with manage("qcluster", directory=tmp_path, **SOON) as cluster:
            road.put("live", b"while the command works")
            eventually(lambda: road.replica("live") is not None, unless_ended=cluster)
            assert command.poll() is None  # OSS holds a key of LOST
            road.oss.clear_faults()
            printed, complaints = command.communicate(timeout=90)
    report = json.loads(printed)

    assert (command.returncode, report["is_equal"]) == (0, True), printed + complaints
    assert differing(road) == set()
    requests = road.oss.requests()[restored:]
    deleted = {one.key for one in requests if one.method == "DELETE"}
    assert "lost/0" in deleted
    assert not deleted & contents(road)[0].keys()
    [rule] = report["rules"]
    findings = SweepFinding.objects.filter(state=FindingState.MENDED)
    mended = set(findings.values_list("key", flat=True))
    assert unequal - known <= mended <= unequal | while_down | {"live"}
    assert (rule["lost"]["keys"], rule["not_mended"]) == (len(mended), [])
    assert rule["lost"]["by_folder"]["lost/"] == len(LOST)
