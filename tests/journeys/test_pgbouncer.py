"""The service behind PgBouncer in transaction mode, which has fewer connections than clients."""

import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction
from psycopg import sql

from replication import jobs
from replication.cluster.pooling import is_pooled
from replication.jobs import JobOrder
from replication.jobs.listener import NotifyListener
from replication.jobs.waking import PARTS
from replication.models import EventQueue, Heartbeat, JobOrigin, JobState, SweepKind, TransferJob
from replication.sweep import lifecycle
from replication.tools.doctor.findings import Check
from replication.tools.doctor.service import check_installation
from replication.worker import transfers
from s3sync.postgresql.base import DatabaseWrapper
from sandbox.child import Child
from sandbox.oss import Fault
from sandbox.oss.requestlog import LoggedRequest
from tests.support.examples import a_rule
from tests.support.lanes import lanes
from tests.support.paths import REPOSITORY
from tests.support.pgbouncer import POOL_SIZE, PgBouncer
from tests.support.processes import eventually, manage
from tests.support.processes import test_database_url as database_url
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

TIMEOUT_SECONDS = 20.0


def look_at(road: Road, key: str) -> None:
    jobs.enqueue([JobOrder(road.rule.pk, key)], origin=JobOrigin.EVENT, priority=0)


def test_postgresql_itself_is_no_pooler() -> None:
    assert not is_pooled(connection)


@pytest.mark.usefixtures("pooled")
def test_a_listener_asks_behind_a_pooler_where_it_would_hear_nothing() -> None:
    assert is_pooled(connection)
    heard: SimpleQueue[str] = SimpleQueue()
    with NotifyListener(heard.put):
        rounds = [heard.get(timeout=TIMEOUT_SECONDS) for _ in range(6)]
    assert rounds == 3 * ["", PARTS]


def test_a_lane_behind_a_pooler_finds_a_job_without_its_own_slower_look(
    road: Road, pooled: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "ASK_SECONDS", 600.0)
    unsettled = TransferJob.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING])
    with lanes():
        for key in ("a", "b", "c"):  # a lane asks once at its start, and after each end
            road.put(key)
            look_at(road, key)
            eventually(lambda: not unsettled.exists())
    assert all(road.replica(key) for key in ("a", "b", "c"))
    assert "not linked" not in pooled.child.log.read_text()  # a NOTIFY that no client could get


def test_the_deadline_of_statements_needs_no_session(
    pooled: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting of a session would come to whichever client has the connection next."""
    monkeypatch.setattr(DatabaseWrapper, "statement_seconds", TIMEOUT_SECONDS)
    for _ in range(2):
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("0",)
        assert connection.connection.statement_seconds == TIMEOUT_SECONDS
    assert pooled.child.log.read_text().count("pooler error: unsupported startup parameter") == 1


@pytest.mark.usefixtures("pooled")
def test_doctor_says_that_there_is_a_pooler() -> None:
    texts = [each.found for each in check_installation() if each.check is Check.DATABASE]
    assert ["through a pooler" in text for text in texts] == [True]


def test_rows_that_are_read_one_by_one_need_no_session(pooled: PgBouncer) -> None:
    """Django's forms read their choices like this."""
    names = {a_rule(name).name for name in ("one", "two", "three")}
    rows = type(a_rule("four")).objects.exclude(name="four").iterator(chunk_size=1)
    read = {next(rows).name}
    with psycopg.connect(pooled.url) as other, transaction.atomic():
        other.execute("SELECT 1")  # has the server connection on which a cursor would be
        read.update(row.name for row in rows)
    assert read == names


def test_the_database_is_migrated_through_a_pooler(pooler: PgBouncer) -> None:
    name = f"migrated_{uuid4().hex[:8]}"
    with psycopg.connect(database_url(), autocommit=True) as direct:
        direct.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            subprocess.run(
                [sys.executable, REPOSITORY / "manage.py", "migrate", "--verbosity=0"],
                env={
                    "DATABASE_URL": pooler.url_of(name),
                    "S3SYNC_SECRET_KEY": "a key for tests that guards nothing",
                },
                check=True,
            )
            count = "SELECT count(*) FROM django_migrations"
            with psycopg.connect(database_url(), dbname=name) as migrated:
                assert migrated.execute(count).fetchone() == direct.execute(count).fetchone()
        finally:
            pooler.child.stop()
            direct.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_cluster_copies_and_sweeps_and_survives_a_restart_of_the_pooler(
    road: Road, pooler: PgBouncer, tmp_path: Path
) -> None:
    def await_replica(key: str) -> None:
        eventually(lambda: road.replica(key) is not None, unless_ended=cluster)

    def lag_seconds() -> float:
        """From the commit of a job until its lane writes to OSS."""
        key = uuid4().hex
        road.put(key)
        began_at = time.monotonic()
        look_at(road, key)
        await_replica(key)
        return writes_of(road, key)[0].started_monotonic - began_at

    with manage("qcluster", directory=tmp_path, DATABASE_URL=pooler.url) as cluster:
        road.put("announced")
        await_replica("announced")
        assert 1 <= pooler.server_connections() <= POOL_SIZE

        EventQueue.objects.update(enabled=False)
        eventually(lambda: lag_seconds() < 1, unless_ended=cluster)

        road.put("unannounced")
        lifecycle.start(road.rule, SweepKind.RECONCILE, mends=True, settle_seconds=0)
        await_replica("unannounced")

        pooler.restart()
        road.put("after the restart")
        look_at(road, "after the restart")
        await_replica("after the restart")
        log = cluster.log.read_text()
    assert log.count("database.pooler_found") == 1
    assert "docs/guides/pgbouncer.md" in log


def writes_of(road: Road, key: str) -> list[LoggedRequest]:
    return [one for one in road.oss.requests() if one.method == "PUT" and one.key == key]


def test_two_clusters_behind_a_pooler_share_the_work(
    road: Road, pooler: PgBouncer, tmp_path: Path
) -> None:
    keys = [f"{number}" for number in range(8)]
    road.oss.add_fault(Fault(method="PUT", hold=True, times=None))

    def a_cluster(host: str) -> AbstractContextManager[Child]:
        return manage(
            "qcluster",
            directory=tmp_path,
            DATABASE_URL=pooler.url,
            S3SYNC_HOST=host,
            S3SYNC_LANES="1",
            S3SYNC_LANE_CONCURRENCY="1",
        )

    def hosts_at_work() -> set[str]:
        running = TransferJob.objects.filter(state=JobState.RUNNING).values("claimed_by")
        return set(Heartbeat.objects.filter(pk__in=running).values_list("host", flat=True))

    with a_cluster("host-0") as one, a_cluster("host-1"):
        for key in keys:
            road.put(key)
        eventually(lambda: hosts_at_work() == {"host-0", "host-1"}, unless_ended=one)
        road.oss.faults.clear()
        eventually(lambda: all(road.replica(key) for key in keys), unless_ended=one)
    assert [len(writes_of(road, key)) for key in keys] == [1] * len(keys)
