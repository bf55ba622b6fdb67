"""The loops keep the right number of themselves running."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ
from pytest_django import Settings

from replication import tasks
from replication.cluster import loops
from replication.cluster.loops import Loop
from replication.intake.matching import look_again
from replication.models import Circuit, Heartbeat, Job, JobState, LoopKind
from replication.monitoring.status import read_status
from sandbox.oss import Fault
from tests.support.environment import OSS_KEY_SECRET
from tests.support.processes import eventually, manage
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def queued_tasks() -> int:
    """How many tasks wait in django-q's queue."""
    return OrmQ.objects.count()


def age(kind: LoopKind, *, seconds: float) -> None:
    """Move the kind's requests and heartbeats into the past."""
    past = datetime.now(UTC) - timedelta(seconds=seconds)
    Heartbeat.objects.filter(kind=kind, started_at__isnull=True).update(asked_at=past)
    Heartbeat.objects.filter(kind=kind, started_at__isnull=False).update(beat_at=past)


@pytest.mark.parametrize("kind", LoopKind)
def test_one_loop_of_each_kind_waits_however_many_ask(kind: LoopKind) -> None:
    barrier = threading.Barrier(8)

    def ask() -> bool:
        try:
            barrier.wait()
            return loops.request(kind)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        asked = [future.result() for future in [pool.submit(ask) for _ in range(8)]]
    assert asked.count(True) == 1
    assert queued_tasks() == 1
    assert Heartbeat.objects.get().started_at is None


@pytest.mark.parametrize("kind", LoopKind)
def test_a_loop_has_no_time_limit_of_django_q(kind: LoopKind) -> None:
    """It would kill a lane whose object comes slowly, and the transfers beside it."""
    loops.request(kind)
    assert OrmQ.objects.get().task["timeout"] == -1


def test_a_loop_that_never_started_is_asked_for_again_and_starts_once() -> None:
    loops.request(LoopKind.LANE)
    lost = Heartbeat.objects.get().id
    assert not loops.request(LoopKind.LANE)
    age(LoopKind.LANE, seconds=loops.LOST_AFTER_SECONDS + 1)
    assert loops.request(LoopKind.LANE)
    found = Heartbeat.objects.get().id
    assert found != lost
    with loops.running(LoopKind.LANE, lost) as loop:
        assert loop is None
    with loops.running(LoopKind.LANE, found) as loop:
        assert loop is not None
        with loops.running(LoopKind.LANE, found) as again:
            assert again is None
    assert not Heartbeat.objects.exists()


def test_a_starting_cluster_replaces_the_waiting_loop_of_its_predecessor() -> None:
    loops.request(LoopKind.LANE)
    waiting = Heartbeat.objects.filter(kind=LoopKind.LANE)
    lost = waiting.get().id
    loops.start()
    assert waiting.get().id != lost


def test_a_lane_whose_process_was_killed_is_replaced_at_once(db: None, tmp_path: Path) -> None:
    lanes = Heartbeat.objects.filter(kind=LoopKind.LANE, started_at__isnull=False)
    environment = {"S3SYNC_LANE_SECONDS": "60", "S3SYNC_POLL_IN_CLUSTER": "false"}
    with manage("qcluster", directory=tmp_path, **environment) as cluster:
        eventually(lanes.exists, unless_ended=cluster)
        killed = lanes.get()
        assert killed.pid is not None
        os.kill(killed.pid, signal.SIGKILL)
        eventually(
            lanes.exclude(id=killed.id).exists,
            unless_ended=cluster,
            timeout_seconds=loops.ALIVE_SECONDS - loops.BEAT_SECONDS,
        )
        assert not lanes.filter(id=killed.id).exists()
        os.killpg(cluster.pid, signal.SIGKILL)  # a stop would wait for the loops


def test_a_task_whose_loop_was_given_up_does_nothing() -> None:
    tasks.run_lane("00000000-0000-4000-8000-000000000000")
    tasks.run_poller("00000000-0000-4000-8000-000000000000")
    assert not Heartbeat.objects.exists()


def test_a_running_loop_lets_another_be_asked_for() -> None:
    loops.request(LoopKind.LANE)
    with loops.running(LoopKind.LANE, Heartbeat.objects.get().id):
        assert loops.request(LoopKind.LANE)


def test_a_loop_of_each_kind_can_wait_at_the_same_time() -> None:
    assert loops.request(LoopKind.LANE)
    assert loops.request(LoopKind.POLLER)


def test_only_the_older_of_two_loops_has_a_younger_peer() -> None:
    with (
        loops.running(LoopKind.LANE) as older,
        loops.running(LoopKind.LANE) as younger,
        loops.running(LoopKind.POLLER) as other,
    ):
        assert isinstance(older, Loop)
        assert isinstance(younger, Loop)
        assert isinstance(other, Loop)
        assert older.has_younger_peer()
        assert not younger.has_younger_peer()
        assert not other.has_younger_peer()
        age(LoopKind.LANE, seconds=loops.ALIVE_SECONDS + 1)
        assert not older.has_younger_peer()


def test_reviving_asks_for_each_kind_without_a_live_loop() -> None:
    with loops.running(LoopKind.LANE):
        loops.revive()
        assert Heartbeat.objects.get(started_at__isnull=True).kind == LoopKind.POLLER
        age(LoopKind.LANE, seconds=loops.ALIVE_SECONDS + 1)
        loops.revive()
        assert queued_tasks() == 2


def test_no_poller_is_asked_for_if_the_cluster_does_not_poll(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"poll_in_cluster": False})
    loops.start()
    loops.revive()
    assert [row.kind for row in Heartbeat.objects.all()] == [LoopKind.LANE]


def waiting_loop_id() -> UUID:
    return Heartbeat.objects.get(started_at__isnull=True).id


def test_a_cluster_runs_no_more_lanes_than_its_limit(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"lanes": 2})
    with loops.running(LoopKind.LANE) as first:
        assert first is not None
        loops.request(LoopKind.LANE)
        with loops.running(LoopKind.LANE, waiting_loop_id()) as second:
            assert second is not None
            assert loops.is_full_here()
            loops.request(LoopKind.LANE)
            with loops.running(LoopKind.LANE, waiting_loop_id()) as third:
                assert third is None
            # The third lane did not start, so another can be asked for at once.
            assert loops.request(LoopKind.LANE)


def test_a_successor_takes_the_place_of_the_lane_that_asked_for_it(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"lanes": 1})
    with loops.running(LoopKind.LANE) as first:
        assert first is not None
        first.renew()
        with loops.running(LoopKind.LANE, waiting_loop_id()) as second:
            assert second is not None


def test_lanes_of_another_host_do_not_fill_this_one(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"lanes": 1})
    with loops.running(LoopKind.LANE):
        Heartbeat.objects.update(host="another")
        assert not loops.is_full_here()


def test_a_heartbeat_shows_that_a_loop_is_alive() -> None:
    with loops.running(LoopKind.LANE) as loop:
        assert loop is not None
        age(LoopKind.LANE, seconds=loops.FORGET_AFTER_SECONDS + 1)
        assert loop.beat_if_due(in_flight=3)
        row = Heartbeat.objects.get(started_at__isnull=False)
        assert (row.id, row.in_flight) == (loop.id, 3)
        assert datetime.now(UTC) - row.beat_at < timedelta(seconds=5)  # type: ignore[operator]


def test_a_new_lane_learns_the_largest_limit_of_the_live_lanes_of_its_host() -> None:
    assert loops.in_flight_limit_here() == 0
    with loops.running(LoopKind.LANE) as first, loops.running(LoopKind.LANE) as second:
        assert first is not None
        assert second is not None
        first.beat_if_due(in_flight=3, in_flight_limit=64)
        second.beat_if_due(in_flight=3, in_flight_limit=128)
        assert loops.in_flight_limit_here() == 128
        Heartbeat.objects.filter(pk=second.id).update(host="elsewhere")
        assert loops.in_flight_limit_here() == 64


def test_a_heartbeat_revives_the_other_kind_if_it_is_silent_and_never_its_own() -> None:
    with loops.running(LoopKind.LANE) as lane, loops.running(LoopKind.POLLER):
        assert lane is not None
        age(LoopKind.LANE, seconds=loops.ALIVE_SECONDS + 1)
        assert lane.beat_if_due()
        assert queued_tasks() == 0
    with loops.running(LoopKind.LANE) as lane, loops.running(LoopKind.POLLER):
        assert lane is not None
        age(LoopKind.POLLER, seconds=loops.ALIVE_SECONDS + 1)
        assert lane.beat_if_due()
        assert Heartbeat.objects.get(started_at__isnull=True).kind == LoopKind.POLLER


def test_a_heartbeat_is_one_statement_while_both_kinds_are_alive() -> None:
    with loops.running(LoopKind.LANE) as lane, loops.running(LoopKind.POLLER):
        assert lane is not None
        with CaptureQueriesContext(connection) as queries:
            assert lane.beat_if_due()
            assert not lane.beat_if_due()
        assert len(queries) == 1


def test_a_starting_loop_deletes_the_long_dead_ones() -> None:
    with loops.running(LoopKind.LANE):
        age(LoopKind.LANE, seconds=loops.FORGET_AFTER_SECONDS + 1)
        with loops.running(LoopKind.LANE) as loop:
            assert loop is not None
            assert Heartbeat.objects.get(started_at__isnull=False).id == loop.id


def test_the_number_of_lanes_grows_under_load_and_shrinks_to_one(
    road: Road, tmp_path: Path
) -> None:
    keys = [f"key/{number}" for number in range(80)]
    for key in keys:
        road.put(key)
    road.oss.add_fault(Fault(operation="PutObject", times=None, delay_seconds=0.4))

    def lanes() -> int:
        return Heartbeat.objects.filter(kind=LoopKind.LANE, started_at__isnull=False).count()

    environment = {"S3SYNC_LANES": "3", "S3SYNC_LANE_CONCURRENCY": "2", "S3SYNC_LANE_SECONDS": "4"}
    environment["S3SYNC_POLL_IN_CLUSTER"] = "false"
    with manage("qcluster", directory=tmp_path, **environment) as cluster:
        look_again(road.rule, keys)
        eventually(lambda: lanes() >= 3, unless_ended=cluster)
        eventually(
            lambda: Job.objects.filter(state=JobState.COMPLETED).count() == len(keys),
            unless_ended=cluster,
        )
        # One lane stays to watch; while it renews itself, there are two.
        eventually(lambda: lanes() == 1, unless_ended=cluster)
    assert {key for key in keys if road.replica(key)} == set(keys)


def test_a_host_whose_credentials_are_refused_leaves_the_lanes_to_another(
    road: Road, tmp_path: Path
) -> None:
    """Lanes are renewed on any host that takes the task, and there may be only one lane."""
    wrong = {"OSS_ACCESS_KEY_SECRET": "an old secret", "S3SYNC_HOST": "wrong"}
    lanes = Heartbeat.objects.filter(host="right", kind=LoopKind.LANE, started_at__isnull=False)
    with manage("qcluster", directory=tmp_path, **wrong) as cluster:
        for key in "abc":  # so many different keys are evidence
            road.put(key)
        eventually(Circuit.objects.filter(opened_at__isnull=False).exists, unless_ended=cluster)
        with manage("qcluster", directory=tmp_path, S3SYNC_HOST="right") as other:
            known: set[UUID] = set()
            for number in range(4):
                known |= eventually(lambda: set(lanes.values_list("pk", flat=True)) - known)  # noqa: B023
                road.put(f"{number}")
                done = Job.objects.filter(state=JobState.COMPLETED, key=f"{number}")
                eventually(done.exists, unless_ended=other)
            # The status tells of the other host, although it has no lane any more.
            assert "circuit_open" in {problem.code for problem in read_status().problems}
    right = {**wrong, "OSS_ACCESS_KEY_SECRET": OSS_KEY_SECRET}
    with manage("qcluster", directory=tmp_path, **right) as mended:
        road.put("mended")
        done = Job.objects.filter(state=JobState.COMPLETED, key="mended")
        eventually(done.exists, unless_ended=mended)
    assert not Circuit.objects.filter(opened_at__isnull=False).exists()
