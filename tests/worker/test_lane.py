"""A lane refills, is not held up by one job, and survives lost jobs, leases and connections."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from replication import jobs
from replication.errors import ErrorCode
from replication.intake.matching import look_again
from replication.jobs import circuits
from replication.models import (
    Heartbeat,
    Job,
    JobState,
    ReplicationRule,
    TransferJob,
)
from replication.stores import factory
from replication.worker import transfers
from replication.worker.in_flight import LEAST
from sandbox.oss import Fault
from tests.support.lanes import a_lane, lanes
from tests.support.looking import look_at
from tests.support.processes import eventually
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def ended(count: int, state: JobState = JobState.COMPLETED) -> Callable[[], bool]:
    return lambda: Job.objects.filter(state=state).count() == count


def running(key: str) -> Callable[[], bool]:
    return lambda: Job.objects.filter(key=key, state=JobState.RUNNING).exists()


def lose_the_lease(key: str) -> None:
    """As if the lane had been silent for longer than its lease, and another lane had noticed."""
    with transaction.atomic():  # otherwise the lane could extend the lease in between
        TransferJob.objects.filter(key=key).update(
            lease_expires_at=datetime.now(UTC) - timedelta(seconds=1)
        )
        assert jobs.rescue(limit=10) == 1
        TransferJob.objects.filter(key=key).update(available_at=Now() + timedelta(hours=1))


def test_a_lane_refills_as_transfers_finish(road: Road, limits: Callable[..., None]) -> None:
    limits(lane_concurrency=4)
    keys = [f"key/{number}" for number in range(30)]
    for key in keys:
        road.put(key)
    look_again(road.rule, keys)
    with lanes():
        eventually(ended(len(keys)))
    times = [(r.started_monotonic, r.ended_monotonic) for r in road.oss.requests()]
    in_flight = [sum(start <= at < end for start, end in times) for at, _ in times]
    assert max(in_flight) <= 4


def test_a_lane_has_more_in_flight_where_a_distance_asks_for_it(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(lane_concurrency=64)
    keys = [f"key/{number}" for number in range(120)]
    for key in keys:
        road.put(key)
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=0.2, times=None))
    look_again(road.rule, keys)
    with lanes():
        eventually(ended(len(keys)))
    puts = road.oss.requests(operation="PutObject")
    times = [(put.started_monotonic, put.ended_monotonic) for put in puts]
    in_flight = [sum(start <= at < end for start, end in times) for at, _ in times]
    assert max(in_flight) > 2 * LEAST


def test_a_slow_object_holds_up_no_other(road: Road, limits: Callable[..., None]) -> None:
    limits(lane_concurrency=2)
    keys = ["slow", *[f"key/{number}" for number in range(20)]]
    for key in keys:
        road.put(key)
    road.oss.add_fault(Fault(key_prefix="slow", hold=True))
    look_again(road.rule, ["slow"])
    # The lane's time ends at once, but it has a transfer to finish, and claims on meanwhile.
    with a_lane(seconds=0.1):
        eventually(lambda: road.oss.held_requests == 1)
        look_again(road.rule, keys[1:])
        eventually(ended(20))
        assert running("slow")()
        road.oss.clear_faults()
    assert ended(21)()


def test_a_job_is_started_the_moment_it_is_committed(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "ASK_SECONDS", 3600)  # a lane that does not hear never learns
    with lanes():
        for number in range(5):
            road.put(f"{number}")
            look_again(road.rule, [f"{number}"])
            eventually(ended(number + 1))


def test_a_retry_is_picked_up_when_it_is_due(road: Road) -> None:
    road.put("a")
    road.oss.add_fault(
        Fault(operation="PutObject", status=503, code="TotalQpsLimitExceeded", qos_delay_ms=300)
    )
    look_again(road.rule, ["a"])
    with lanes():
        eventually(ended(1))
    assert [one.code for one in Job.objects.get().tries] == [ErrorCode.DESTINATION_THROTTLED]
    first, second = [r.started_at for r in road.oss.requests(operation="PutObject")]
    assert second - first >= 0.3


def test_a_job_waits_for_a_profile_without_credentials_and_says_why(road: Road) -> None:
    road.put("a")
    road.destination.credential_profile = "nowhere"
    road.destination.save()
    job = look_at(road, "a")
    assert (job.state, job.error_code) == (JobState.PENDING, ErrorCode.CREDENTIAL_PROFILE)
    assert "S3SYNC_PROFILE_NOWHERE_ACCESS_KEY_ID" in job.error_detail
    assert road.oss.requests() == []


def test_credentials_that_an_operator_adds_take_effect_without_a_restart(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An earlier test may have opened a store at this port, when there were credentials.
    monkeypatch.setattr(factory, "_stores", {})
    road.put("a")
    with monkeypatch.context() as patch:
        patch.delenv("OSS_ACCESS_KEY_ID")
        assert look_at(road, "a").error_code == ErrorCode.CREDENTIAL_PROFILE
    jobs.retry(TransferJob.objects.all())
    with lanes():
        eventually(ended(1))


def test_jobs_of_a_paused_rule_wait_until_it_is_resumed(road: Road) -> None:
    road.put("a")
    ReplicationRule.pause(ReplicationRule.objects.all())
    look_again(road.rule, ["a"])
    with lanes():
        time.sleep(0.5)  # there is no event to await: nothing must happen
        assert ended(1, JobState.PENDING)()
        circuits.resume(ReplicationRule.objects.all())
        eventually(ended(1))


def test_a_job_lost_before_its_write_writes_nothing(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(lease_seconds=2)
    road.put("a", b"new" * 8_000_000)
    road.replicas.put_object("a", b"old")
    road.oss.add_fault(Fault(operation="PutObject", bytes_per_second=5_000_000))
    look_again(road.rule, ["a"])
    with a_lane(seconds=0.1):
        eventually(running("a"))
        lose_the_lease("a")
    assert road.replica("a") == b"old"
    job = Job.objects.get()
    assert (job.state, job.attempt) == (JobState.PENDING, 1)


def test_a_job_lost_after_its_write_is_looked_at_again(road: Road) -> None:
    road.put("a")
    road.oss.add_fault(Fault(operation="PutObject", hold=True, when="after"))
    look_again(road.rule, ["a"])
    with lanes():
        eventually(lambda: road.oss.held_requests == 1)
        lose_the_lease("a")
        road.oss.clear_faults()
        eventually(ended(1))
    job = Job.objects.get(state=JobState.COMPLETED)
    assert (job.attempt, job.error_code) == (1, "")
    assert [attempt.code for attempt in job.tries] == [ErrorCode.LEASE_EXPIRED]
    assert len(road.oss.requests(operation="PutObject")) == 2


def test_a_job_that_is_claimed_again_while_its_old_transfer_ends_does_not_end_the_lane(
    road: Road,
) -> None:
    road.put("a")
    road.oss.add_fault(Fault(operation="PutObject", hold=True, when="after", times=2))
    look_again(road.rule, ["a"])
    with lanes():
        eventually(lambda: road.oss.held_requests == 1)
        lose_the_lease("a")
        TransferJob.objects.update(available_at=Now())
        eventually(lambda: road.oss.held_requests == 2)
        assert Job.objects.filter(attempt=1, state=JobState.RUNNING).exists()
        road.oss.clear_faults()
        eventually(
            lambda: (
                not Job.objects.filter(available_at__lte=Now())
                .exclude(state=JobState.COMPLETED)
                .exists()
            )
        )
    assert road.replica("a") == b"content"


def test_a_lane_survives_the_loss_of_its_connections(road: Road) -> None:
    keys = [f"key/{number}" for number in range(20)]
    for key in keys:
        road.put(key)
    road.oss.add_fault(Fault(operation="PutObject", times=None, delay_seconds=0.2))
    with lanes():
        for some in (keys[:10], keys[10:]):
            look_again(road.rule, some)
            eventually(lambda: Job.objects.filter(state=JobState.RUNNING).exists())
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        eventually(lambda: {key for key in keys if road.replica(key)} == set(keys))
        eventually(lambda: not Job.objects.exclude(state=JobState.COMPLETED).exists())


def test_a_lane_leaves_no_connection_open(road: Road) -> None:
    with connection.cursor() as cursor:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        cursor.execute(count)
        before = cursor.fetchone()[0]
        road.put("a")
        look_again(road.rule, ["a"])
        with a_lane(seconds=0.1):
            eventually(ended(1))

        def are_as_few() -> bool:
            cursor.execute(count)
            return bool(cursor.fetchone()[0] <= before)

        eventually(are_as_few)  # PostgreSQL takes a moment to end a closed connection
    assert not Heartbeat.objects.filter(started_at__isnull=False).exists()
