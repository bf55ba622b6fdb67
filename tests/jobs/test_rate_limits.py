"""Rate limits and throttling apply to all lanes together, and throttling ends by itself."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F
from django.db.models.functions import Now

from replication import jobs
from replication.errors import ErrorCode, LeaseLost, ReplicationError
from replication.intake.matching import look_again
from replication.jobs import ClaimedJob, JobOrder, rate_limits, uploads
from replication.jobs.rate_limits import ByteAllowance
from replication.models import (
    Destination,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    TransferJob,
)
from replication.transfer.results import Completion
from replication.worker.settling import apply_error
from sandbox.oss import Fault
from tests.support.examples import a_rule
from tests.support.lanes import lanes_until
from tests.support.road import Road
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

# The test is one transaction, in which now() stands still: only `let_pass` moves time.
ONE_MOMENT = pytest.mark.django_db(transaction=False)

COPIED = Completion(Outcome.COPIED, size_bytes=7)
KEYS = [f"{number:03}" for number in range(100)]


def enqueue(rule: ReplicationRule, keys: list[str] = KEYS) -> None:
    orders = [JobOrder(rule.pk, key) for key in keys]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)


def claim(*, limit: int = 20) -> list[ClaimedJob]:
    """Claim jobs like a lane that has just read the rules."""
    rules = list(ReplicationRule.objects.select_related("destination"))
    return rate_limits.claim(uuid4(), rules, limit=limit, lease_seconds=60, room={})


def let_pass(seconds: float) -> None:
    """Move all times of the destinations that far into the past."""
    ago = timedelta(seconds=seconds)
    Destination.objects.update(
        throttled_until=F("throttled_until") - ago,
        width_at=F("width_at") - ago,
        requests_paced_until=F("requests_paced_until") - ago,
        bytes_paced_until=F("bytes_paced_until") - ago,
    )


# -- throttled ---------------------------------------------------------------------------------


def throttle(job: ClaimedJob, rule: ReplicationRule, *, seconds: float) -> None:
    error = ReplicationError(ErrorCode.DESTINATION_THROTTLED, retry_after_seconds=seconds)
    assert apply_error(job, rule, error) == JobState.PENDING


@ONE_MOMENT
def test_a_throttled_destination_gets_half_the_transfers_and_then_more_and_more() -> None:
    rule = a_rule()
    enqueue(rule)
    for job in claim(limit=20):
        throttle(job, rule, seconds=10)
    assert claim() == []

    let_pass(10)
    half = claim()
    assert len(half) == 10
    assert claim() == []
    let_pass(jobs.WIDTH_DOUBLES_SECONDS)
    assert len(claim()) == 10
    let_pass(jobs.WIDTH_FORGOTTEN_SECONDS)
    assert len(claim(limit=100)) == 60  # the twenty that were refused are due later


def test_jobs_and_parts_can_be_claimed_however_long_ago_the_throttling_was() -> None:
    rule = a_rule()
    enqueue(rule)
    Destination.objects.update(width=1000, width_at=Now())
    for _ in range(70):
        let_pass(2)
        assert len(claim(limit=1)) == 1
        assert uploads.claim_parts(uuid4(), limit=1, lease_seconds=60) == []


@ONE_MOMENT
def test_a_destination_that_throttles_again_gets_fewer_transfers_again() -> None:
    rule = a_rule()
    enqueue(rule)
    held = claim(limit=16)
    for expected in (8, 4, 2, 2):
        for job in held:
            throttle(job, rule, seconds=10)
        let_pass(10)
        TransferJob.objects.update(available_at=F("enqueued_at"))
        held = claim(limit=16)
        assert len(held) == expected
        let_pass(rate_limits.SLOWDOWN_GRACE_SECONDS)


@ONE_MOMENT
def test_transfers_in_flight_at_a_throttling_do_not_slow_the_destination_further() -> None:
    rule = a_rule()
    enqueue(rule)
    held = claim(limit=16)
    throttle(held[0], rule, seconds=0.1)
    let_pass(0.2)
    throttle(held[1], rule, seconds=0.1)
    let_pass(0.2)
    for job in held[2:]:
        jobs.hand_over(job)
    assert len(claim(limit=16)) == 8


@ONE_MOMENT
def test_a_throttled_destination_slows_down_no_other() -> None:
    slow, fast = a_rule("slow"), a_rule("fast")
    enqueue(slow, ["a", "b"])
    enqueue(fast, ["a", "b"])
    first = next(job for job in claim(limit=2) if job.rule_id == slow.pk)
    throttle(first, slow, seconds=60)
    assert {job.rule_id for job in claim()} == {fast.pk}


@ONE_MOMENT
def test_two_rules_to_a_throttled_destination_share_what_it_can_take() -> None:
    one = a_rule("one")
    other = a_rule("other", destination=one.destination)
    enqueue(one)
    enqueue(other)
    for job in claim(limit=8):
        throttle(job, {one.pk: one, other.pk: other}[job.rule_id], seconds=1)
    let_pass(1)
    claimed = claim()
    assert len(claimed) == 4
    assert {job.rule_id for job in claimed} == {one.pk, other.pk}


def test_lanes_go_on_by_themselves_after_a_throttling(road: Road) -> None:
    for key in KEYS[:30]:
        road.put(key)
    fault = Fault(
        operation="PutObject", status=503, code="TotalQpsLimitExceeded", qos_delay_ms=200, times=10
    )
    road.oss.add_fault(fault)
    look_again(road.rule, KEYS[:30])
    done = Job.objects.filter(state=JobState.COMPLETED)
    lanes_until(lambda: done.count() == 30, seconds=2)
    refused = [r for r in road.oss.requests(operation="PutObject") if r.status == 503]
    assert len(refused) == 10
    assert not Job.objects.filter(attempt_limit__lte=F("attempt")).exists()


# -- limits ------------------------------------------------------------------------------------


def test_a_rule_never_has_more_transfers_than_its_limit_however_many_lanes_claim() -> None:
    enqueue(a_rule(max_concurrency=7))
    most = 0
    running = Job.objects.filter(state=JobState.RUNNING)
    for _ in range(5):
        claimed = [job for jobs_of_lane in at_once(*[claim] * 6) for job in jobs_of_lane]
        most = max(most, running.count())
        for job in claimed[:3]:
            jobs.complete([(job, COPIED)])
    assert most == 7


def test_a_destination_starts_no_more_requests_than_its_limit_however_many_lanes_claim() -> None:
    rule = a_rule()
    Destination.objects.update(max_requests_per_second=10)
    enqueue(rule)
    began = time.monotonic()
    started = sum(len(claimed) for claimed in at_once(*[claim] * 6))
    assert 10 <= started <= 10 * (1 + time.monotonic() - began)
    assert len(claim()) <= 10 * (time.monotonic() - began)
    let_pass(0.5)
    assert 5 <= len(claim()) <= 5 + 10 * (time.monotonic() - began)


def test_an_unlimited_rule_beside_a_limited_one_gets_what_it_asks_for() -> None:
    limited, free = a_rule("limited", max_concurrency=1), a_rule("free")
    enqueue(limited)
    enqueue(free)
    rule_ids = [job.rule_id for job in claim(limit=30)]
    assert rule_ids.count(limited.pk) == 1
    assert rule_ids.count(free.pk) == 29


def test_processes_share_a_byte_limit() -> None:
    rule = a_rule()
    Destination.objects.update(max_bytes_per_second=1_000_000)
    began = time.monotonic()

    def send() -> int:
        """How many bytes one process may send in 0.6 s."""
        allowance, sent = ByteAllowance(rule.destination_id, 1_000_000), 0
        while time.monotonic() - began < 0.6:
            allowance.fill(1_000_000)
            while allowance.left > 0:
                allowance.spend(10_000, raise_if_stopped=lambda: None)
                sent += 10_000
            time.sleep(0.05)
        return sent

    sent = at_once(*[send] * 3)
    # The second before the test, which was not used, and the time that the test took.
    most = 1_000_000 * (1 + time.monotonic() - began) + 3 * 10_000
    assert 1_000_000 <= sum(sent) <= most


def test_a_transfer_that_waits_for_bytes_stops_when_its_lease_is_lost() -> None:
    allowance = ByteAllowance(a_rule().destination_id, 1000)
    allowance.fill(1000)
    asked = threading.Event()

    def raise_if_stopped() -> None:
        asked.set()
        raise LeaseLost

    # Does not wait, as something is left.
    allowance.spend(1_000_000, raise_if_stopped=raise_if_stopped)
    with pytest.raises(LeaseLost):
        allowance.spend(1, raise_if_stopped=raise_if_stopped)
    assert asked.is_set()


def test_removing_a_limit_releases_the_transfers_that_wait() -> None:
    allowance = ByteAllowance(a_rule().destination_id, 1000)
    allowance.fill(1000)
    allowance.spend(1_000_000, raise_if_stopped=lambda: None)
    waiting = threading.Thread(
        target=allowance.spend, args=[1], kwargs={"raise_if_stopped": lambda: None}
    )
    waiting.start()
    allowance.fill(None)
    waiting.join(90)
    assert not waiting.is_alive()


def test_a_lane_sends_no_faster_than_the_limit_and_sends_all(road: Road) -> None:
    Destination.objects.update(max_bytes_per_second=1_000_000)
    for key in KEYS[:4]:
        road.put(key, b"x" * 750_000)
    look_again(road.rule, KEYS[:4])
    began = time.monotonic()
    lanes_until(lambda: Job.objects.filter(state=JobState.COMPLETED).count() == 4)
    # 3 MB, of which 1 MB may be sent at once.
    assert time.monotonic() - began > 1.8
