"""A rule whose errors need a person is parked after a few attempts, and resumed automatically."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import JobOrder, parking
from replication.jobs.parking import PARK_AFTER_ERRORS
from replication.models import (
    FailedJob,
    Heartbeat,
    JobOrigin,
    JobState,
    LoopKind,
    ReplicationRule,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.worker.capacity import PLACES_WITHOUT_SUCCESS, Rulebook
from sandbox.oss import Denial, Fault
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually, manage
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

DENIED_JOBS = 120  # many times the places of all lanes
DENIED = ReplicationError(ErrorCode.DESTINATION_ACCESS_DENIED, "403 AccessDenied")


def test_a_rule_is_parked_at_the_third_error_in_a_row(road: Road) -> None:
    rule = ReplicationRule.objects.filter(pk=road.rule.pk)
    assert [parking.note_error(road.rule.pk, DENIED) for _ in range(4)] == [
        *(False, False),
        *(True, True),
    ]
    parked = rule.get()
    assert (parked.parked_code, parked.parked_detail) == (DENIED.code, DENIED.detail)
    parking.note_success(road.rule.pk)
    assert (rule.get().parked_at, rule.get().errors_in_a_row) == (None, 0)


def test_a_success_in_between_restarts_the_count(road: Road) -> None:
    for _ in range(2):
        assert [parking.note_error(road.rule.pk, DENIED) for _ in range(2)] == [False, False]
        parking.note_success(road.rule.pk)


def test_a_job_of_a_parked_rule_is_claimed_only_as_a_due_probe(road: Road) -> None:
    orders = [JobOrder(road.rule.pk, f"{number}") for number in range(5)]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
    for _ in range(3):
        parking.note_error(road.rule.pk, DENIED)
    lane: Any = "00000000-0000-0000-0000-000000000001"
    assert jobs.claim(lane, limit=10, lease_seconds=60) == []
    assert parking.claim_probe(lane, lease_seconds=60) == []
    ReplicationRule.objects.update(probe_at=Now())
    assert len(parking.claim_probe(lane, lease_seconds=60)) == 1
    assert parking.claim_probe(lane, lease_seconds=60) == []


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
    parking.note_error(road.rule.pk, DENIED)
    assert room() == PLACES_WITHOUT_SUCCESS


@pytest.mark.timeout(400)  # puts 120 objects, and copies them
def test_a_rule_without_rights_is_parked_and_later_drains_while_another_is_served(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    bad, good = make_road(destination_prefix="bad/"), make_road()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bad.put, [f"{number}" for number in range(DENIED_JOBS)]))
    poll_until_empty(bad.queue)
    assert TransferJob.objects.filter(rule=bad.rule).count() == DENIED_JOBS
    bad.oss.deny(Denial(key_prefix="bad/", actions=("oss:PutObject",)))
    fresh = TransferJob.objects.filter(rule=good.rule, state=JobState.COMPLETED)
    with manage("qcluster", directory=tmp_path, S3SYNC_PROBE_SECONDS="10") as cluster:
        beating = Heartbeat.objects.filter(beat_at__isnull=False).values("kind").distinct()
        eventually(lambda: beating.count() == len(LoopKind), unless_ended=cluster)
        for number in range(20):  # one after the other, from before the bad rule is parked
            good.put(f"fresh {number}")
            eventually(lambda: fresh.count() > number, unless_ended=cluster)  # noqa: B023
        rule = ReplicationRule.objects.filter(pk=bad.rule.pk)
        assert rule.get().parked_at is not None
        refused = [r for r in bad.oss.requests() if r.key.startswith("bad/")]
        assert PARK_AFTER_ERRORS <= len(refused) <= 20
        assert {request.status for request in refused} == {403}
        assert FailedJob.objects.filter(rule=bad.rule).count() < PARK_AFTER_ERRORS

        bad.oss.clear_denials()
        done = TransferJob.objects.filter(rule=bad.rule, state=JobState.COMPLETED)
        eventually(lambda: done.count() == DENIED_JOBS, timeout_seconds=240, unless_ended=cluster)
    assert rule.get().parked_at is None
    assert not FailedJob.objects.exists()
    assert not TransferJob.objects.filter(attempt__gt=1).exists()


def test_every_lane_waits_as_long_as_a_throttling_destination_asks(
    make_road: Callable[..., Road], tmp_path: Path
) -> None:
    road = make_road()
    keys = [f"{number}" for number in range(60)]
    for key in keys:
        road.put(key)
    hint_ms = 1500
    road.oss.add_fault(
        Fault(operation="PutObject", status=503, code="TotalQpsLimitExceeded", qos_delay_ms=hint_ms)
    )
    with manage("qcluster", directory=tmp_path, S3SYNC_LANE_CONCURRENCY="4") as cluster:
        done = TransferJob.objects.filter(state=JobState.COMPLETED)
        eventually(lambda: done.count() == len(keys), unless_ended=cluster)
    puts = road.oss.requests(operation="PutObject")
    refused = next(request for request in puts if request.status == 503)
    # Writes in flight are finished; no write is begun before the time that OSS asked for.
    begun = [p for p in puts if p.started_monotonic - refused.ended_monotonic > 0.5]
    assert min(p.started_monotonic for p in begun) - refused.ended_monotonic >= hint_ms / 1000
    assert not FailedJob.objects.exists()


def test_a_parked_rule_is_a_problem_that_says_what_to_do(road: Road) -> None:
    for _ in range(3):
        parking.note_error(road.rule.pk, DENIED)
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
    assert TransferJob.objects.filter(state=JobState.COMPLETED).count() == 3
