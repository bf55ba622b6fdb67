"""A fault stops what it concerns, and nothing beside it; what waited goes on by itself."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.models.functions import Now
from django.test import Client

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.intake.matching import look_again
from replication.jobs import JobOrder, circuits, retrying
from replication.jobs.circuits import GROWTH_SECONDS, OPEN_AFTER_KEYS
from replication.models import (
    Circuit,
    Destination,
    FailedJob,
    Heartbeat,
    Job,
    JobOrigin,
    JobState,
    ReplicationRule,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.worker.capacity import PLACES_WITHOUT_SUCCESS, Rulebook
from replication.worker.settling import apply_error
from sandbox.oss import Denial, Fault
from tests.support.examples import a_rule
from tests.support.lanes import lanes
from tests.support.looking import look_at
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually, manage
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

DENIED_JOBS = 120  # many times the places of all lanes
DENIED = ReplicationError(ErrorCode.DESTINATION_ACCESS_DENIED, "403 AccessDenied")
UNREACHABLE = ReplicationError(ErrorCode.DESTINATION_UNREACHABLE, "connection refused")
WRONG_SECRET = ReplicationError(ErrorCode.DESTINATION_CREDENTIALS, "403 SignatureDoesNotMatch")
LANE: Any = "00000000-0000-0000-0000-000000000001"


def fail_keys(rule: ReplicationRule, error: ReplicationError, count: int = OPEN_AFTER_KEYS) -> bool:
    """Note this error of so many different keys; returns whether the circuit is open then."""
    return [circuits.note_error(rule, f"{number}", error) for number in range(count)][-1]


def parked() -> set[str]:
    stopped = ReplicationRule.objects.filter(parked_at__isnull=False)
    return set(stopped.values_list("name", flat=True))


def enqueue(rule: ReplicationRule, *keys: str) -> None:
    orders = [JobOrder(rule.pk, key) for key in keys]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)


def succeed() -> None:
    circuits.note_success(Circuit.objects.all())


# -- what opens a circuit --------------------------------------------------------------------------


def test_a_circuit_opens_when_different_keys_have_failed(road: Road) -> None:
    assert [circuits.note_error(road.rule, key, DENIED) for key in "aabbcd"] == [
        *(False, False, False, False),
        *(True, True),
    ]
    rule = ReplicationRule.objects.get()
    assert (rule.parked_code, rule.parked_detail) == (DENIED.code, DENIED.detail)
    succeed()
    assert parked() == set()


def test_a_success_in_between_is_evidence_against_it(road: Road) -> None:
    for _ in range(2):
        assert not fail_keys(road.rule, DENIED, 2)
        succeed()


def test_a_success_of_another_lane_is_evidence_against_it(road: Road) -> None:
    """The lane that notes the failures may not know yet of this success."""
    road.put("works")
    circuits.note_error(road.rule, "a", DENIED)
    look_at(road, "works")
    Circuit.objects.update(first_failed_at=Now() - timedelta(minutes=1), failed_keys=["a", "b"])
    assert not fail_keys(road.rule, DENIED)
    assert parked() == set()


def test_a_rule_that_has_just_shown_that_it_works_is_not_parked_again(road: Road) -> None:
    assert fail_keys(road.rule, DENIED)
    succeed()
    assert not fail_keys(road.rule, DENIED, 12)
    Circuit.objects.update(closed_at=Now() - timedelta(minutes=10))
    assert fail_keys(road.rule, DENIED)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DENIED, {"one"}),
        (UNREACHABLE, {"one", "neighbour"}),
        (ReplicationError(ErrorCode.DESTINATION_BUCKET_MISSING), {"one"}),
        (WRONG_SECRET, set()),
    ],
)
def test_a_fault_stops_what_it_concerns_and_nothing_beside_it(
    error: ReplicationError, expected: set[str]
) -> None:
    one = a_rule("one")
    neighbour = a_rule("neighbour")
    Destination.objects.filter(pk=neighbour.destination_id).update(
        endpoint=one.destination.endpoint, bucket="another-bucket"
    )
    elsewhere = a_rule("elsewhere")
    Destination.objects.filter(pk=elsewhere.destination_id).update(endpoint="https://elsewhere")
    assert fail_keys(one, error)
    assert parked() == expected


def test_wrong_credentials_of_a_host_stop_only_its_own_lanes(
    road: Road, limits: Callable[..., None]
) -> None:
    def room() -> int:
        rulebook = Rulebook()
        rulebook.begin()
        return rulebook.room(Counter(), places=32)[road.rule.pk]

    assert fail_keys(road.rule, WRONG_SECRET)
    assert room() == 0
    limits(host="another-host")
    assert room() > 0
    enqueue(road.rule, "a")
    assert circuits.claim_probes(LANE, lease_seconds=60) == []


def test_an_edited_rule_leaves_the_circuit_behind(road: Road) -> None:
    assert fail_keys(road.rule, UNREACHABLE)
    assert parked()
    Destination.objects.update(endpoint="https://oss-cn-hangzhou.aliyuncs.com")
    circuits.park_rules()
    assert not parked()


# -- probes ----------------------------------------------------------------------------------------


def test_jobs_of_a_parked_rule_are_claimed_only_as_due_probes(road: Road) -> None:
    enqueue(road.rule, *"abcdefgh")
    assert fail_keys(road.rule, DENIED)
    assert jobs.claim(LANE, limit=10, lease_seconds=60) == []
    assert circuits.claim_probes(LANE, lease_seconds=60) == []
    Circuit.objects.update(probe_at=Now())
    probes = {job.key for job in circuits.claim_probes(LANE, lease_seconds=60)}
    assert {"a", "h"} <= probes  # the oldest and the newest
    assert len(probes) <= 3
    assert circuits.claim_probes(LANE, lease_seconds=60) == []


def test_jobs_that_wait_for_another_try_are_probes_too(road: Road) -> None:
    enqueue(road.rule, "a")
    TransferJob.objects.update(available_at=Now() + timedelta(hours=1))
    assert fail_keys(road.rule, UNREACHABLE)
    Circuit.objects.update(probe_at=Now())
    assert len(circuits.claim_probes(LANE, lease_seconds=60)) == 1


def test_what_has_just_come_is_tried_at_once_where_a_rule_is_parked(road: Road) -> None:
    assert fail_keys(road.rule, DENIED)
    enqueue(road.rule, "new")
    soon = Circuit.objects.filter(probe_at__lte=Now() + timedelta(seconds=1))
    assert soon.exists()


def test_when_a_circuit_closes_what_waited_is_due_at_once(road: Road) -> None:
    enqueue(road.rule, "a", "b")
    for job in jobs.claim(LANE, limit=2, lease_seconds=60):
        circuits.note_error(road.rule, job.key, UNREACHABLE)
        jobs.retry_later(job, UNREACHABLE, uses_up_a_try=False)
    circuits.note_error(road.rule, "c", UNREACHABLE)
    TransferJob.objects.update(available_at=Now() + timedelta(hours=1))
    assert jobs.claim(LANE, limit=2, lease_seconds=60) == []
    succeed()
    assert len(jobs.claim(LANE, limit=2, lease_seconds=60)) == 2


def test_jobs_that_waited_for_a_profile_are_due_when_its_circuit_closes(road: Road) -> None:
    missing = ReplicationError(ErrorCode.CREDENTIAL_PROFILE)
    missing.side = "destination"
    enqueue(road.rule, "a")
    [job] = jobs.claim(LANE, limit=1, lease_seconds=60)
    jobs.retry_later(job, missing, uses_up_a_try=False)
    assert fail_keys(road.rule, missing)
    TransferJob.objects.update(available_at=Now() + timedelta(hours=1))
    succeed()
    assert len(jobs.claim(LANE, limit=1, lease_seconds=60)) == 1


def test_after_a_circuit_has_closed_the_places_grow(road: Road) -> None:
    def room() -> int:
        rulebook = Rulebook()
        rulebook.begin()
        rulebook.note_success([road.rule.pk])
        return rulebook.room(Counter(), places=32)[road.rule.pk]

    assert fail_keys(road.rule, UNREACHABLE)
    succeed()
    assert PLACES_WITHOUT_SUCCESS <= room() < 32
    Circuit.objects.update(closed_at=Now() - timedelta(seconds=GROWTH_SECONDS))
    assert room() == 32


def test_a_probe_finds_a_place_in_a_full_lane(
    make_road: Callable[..., Road], limits: Callable[..., None]
) -> None:
    limits(lane_concurrency=2)
    busy, stopped = make_road(), make_road()
    for key in "1234":
        busy.put(key)
    look_again(busy.rule, [*"1234"])
    busy.oss.add_fault(Fault(operation="PutObject", hold=True, key_pattern="[1-4]", times=None))
    stopped.put("probe")
    assert fail_keys(stopped.rule, DENIED)
    with lanes():
        eventually(lambda: busy.oss.held_requests == 2)
        look_again(stopped.rule, ["probe"])
        Circuit.objects.update(probe_at=Now())
        eventually(lambda: stopped.replica("probe") is not None)
        assert busy.oss.held_requests == 2
        busy.oss.clear_faults()
    assert parked() == set()


# -- what becomes of the jobs ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [UNREACHABLE, WRONG_SECRET])
def test_an_error_that_concerns_more_than_its_object_never_ends_a_job(
    road: Road, error: ReplicationError
) -> None:
    enqueue(road.rule, "a")
    for _ in range(3 * settings.S3SYNC.max_attempts):
        [job] = jobs.claim(LANE, limit=1, lease_seconds=60, only=[Job.objects.get().pk])
        assert apply_error(job, road.rule, error) == JobState.PENDING


def test_an_unknown_error_ends_a_job_after_its_tries(road: Road) -> None:
    enqueue(road.rule, "a")
    unknown = ReplicationError(ErrorCode.UNEXPECTED)
    states = []
    for _ in range(settings.S3SYNC.max_attempts):
        [job] = jobs.claim(LANE, limit=1, lease_seconds=60, only=[Job.objects.get().pk])
        states.append(apply_error(job, road.rule, unknown))
    assert states[-1] == JobState.FAILED
    assert set(states[:-1]) == {JobState.PENDING}


def test_an_object_that_changes_all_the_time_is_tried_less_and_less_often(road: Road) -> None:
    enqueue(road.rule, "a")
    changed = ReplicationError(ErrorCode.SOURCE_CHANGED)
    for _ in range(8):
        [job] = jobs.claim(LANE, limit=1, lease_seconds=60, only=[Job.objects.get().pk])
        assert apply_error(job, road.rule, changed) == JobState.PENDING
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying.random, "uniform", lambda _, most: most)
        [job] = jobs.claim(LANE, limit=1, lease_seconds=60, only=[Job.objects.get().pk])
        apply_error(job, road.rule, changed)
    assert not Job.objects.filter(available_at__lt=Now() + timedelta(minutes=1)).exists()


def test_denied_objects_fail_alone_where_others_succeed(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(probe_seconds=2)
    road.oss.deny(Denial(key_prefix="denied/", actions=("oss:PutObject",)))
    keys = [f"denied/{number}" for number in range(12)] + ["good"]
    for key in keys:
        road.put(key)
    enqueue(road.rule, *keys)
    failed = FailedJob.objects.filter(error_code=ErrorCode.DESTINATION_ACCESS_DENIED)
    with lanes():
        eventually(lambda: failed.count() == 12)
        road.put("later")
        enqueue(road.rule, "later")
        eventually(lambda: road.replica("later") is not None)
    assert parked() == set()


# -- with lanes ------------------------------------------------------------------------------------


def test_a_new_lane_gives_all_its_places_to_a_rule_only_after_a_recent_success(
    road: Road,
) -> None:
    def room() -> int:
        rulebook = Rulebook()
        rulebook.begin()
        return rulebook.room(Counter(), places=32)[road.rule.pk]

    assert room() == PLACES_WITHOUT_SUCCESS
    road.put("a", b"content")
    work()
    assert room() == 32
    circuits.note_error(road.rule, "b", DENIED)
    assert room() == PLACES_WITHOUT_SUCCESS


@pytest.mark.timeout(400)  # puts 120 objects, and copies them
def test_a_rule_without_rights_is_parked_and_later_drains_while_another_is_served(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    bad, good = make_road(destination_prefix="bad/"), make_road()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bad.put, [f"{number}" for number in range(DENIED_JOBS)]))
    poll_until_empty(bad.queue)
    assert Job.objects.filter(rule=bad.rule).count() == DENIED_JOBS
    bad.oss.deny(Denial(key_prefix="bad/", actions=("oss:PutObject",)))
    fresh = Job.objects.filter(rule=good.rule, state=JobState.COMPLETED)
    with manage("qcluster", directory=tmp_path, S3SYNC_PROBE_SECONDS="600") as cluster:
        beating = Heartbeat.objects.filter(beat_at__isnull=False).values("kind").distinct()
        eventually(lambda: beating.count() >= 2, unless_ended=cluster)  # lanes and pollers
        for number in range(20):  # one after the other, from before the bad rule is parked
            good.put(f"fresh {number}")
            eventually(lambda: fresh.count() > number, unless_ended=cluster)  # noqa: B023
        rule = ReplicationRule.objects.filter(pk=bad.rule.pk)
        assert rule.get().parked_at is not None
        refused = [r for r in bad.oss.requests() if r.key.startswith("bad/")]
        assert OPEN_AFTER_KEYS <= len(refused) <= 20
        assert {request.status for request in refused} == {403}
        assert FailedJob.objects.filter(rule=bad.rule).count() < OPEN_AFTER_KEYS

        bad.oss.clear_denials()
        assert Circuit.objects.filter(opened_at__isnull=False).update(probe_at=Now()) == 1
        done = Job.objects.filter(rule=bad.rule, state=JobState.COMPLETED)
        eventually(lambda: done.count() == DENIED_JOBS, timeout_seconds=240, unless_ended=cluster)
    assert rule.get().parked_at is None
    assert not FailedJob.objects.exists()
    assert not Job.objects.filter(attempt__gt=1).exists()


def test_every_lane_waits_as_long_as_a_throttling_destination_asks(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    road = make_road()
    keys = [f"{number}" for number in range(60)]
    for key in keys:
        road.put(key)
    hint_seconds = 5
    road.oss.add_fault(
        Fault(
            operation="PutObject",
            status=503,
            code="TotalQpsLimitExceeded",
            qos_delay_ms=hint_seconds * 1000,
        )
    )
    with manage("qcluster", directory=tmp_path, S3SYNC_LANE_CONCURRENCY="4") as cluster:
        done = Job.objects.filter(state=JobState.COMPLETED)
        eventually(lambda: done.count() == len(keys), unless_ended=cluster)
    puts = road.oss.requests(operation="PutObject")
    refused = next(request for request in puts if request.status == 503)
    begun = [put.started_monotonic - refused.ended_monotonic for put in puts]
    # Writes that other lanes had in flight are finished. A slow machine takes a while for them.
    assert not [seconds for seconds in begun if hint_seconds / 2 < seconds < hint_seconds]
    assert sum(seconds >= hint_seconds for seconds in begun) > len(keys) / 2
    assert not FailedJob.objects.exists()


def test_a_parked_rule_is_a_problem_that_says_what_to_do(road: Road) -> None:
    assert fail_keys(road.rule, DENIED)
    [problem] = [p for p in read_status().problems if p.code == "rule_parked"]
    assert "OSS denies permission to write" in problem.detail
    assert "Grant oss:PutObject" in problem.detail


def test_an_operator_resumes_a_parked_rule_and_its_failed_jobs_are_retried(
    road: Road, admin_client: Client
) -> None:
    for number in range(3):
        road.put(f"{number}")
    road.oss.deny(Denial(actions=("oss:PutObject",)))
    work()
    assert ReplicationRule.objects.get().parked_at
    page = admin_client.get(f"/admin/replication/replicationrule/{road.rule.pk}/change/")
    assert "This rule is parked" in page.content.decode()
    road.oss.clear_denials()
    admin_client.post(
        "/admin/replication/replicationrule/",
        {"action": "resume", "_selected_action": [road.rule.pk]},
    )
    work()
    assert Job.objects.filter(state=JobState.COMPLETED).count() == 3
