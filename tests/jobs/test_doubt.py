"""A write without an answer may land late, over a newer one: the key is looked at once more."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.intake.matching import look_again
from replication.jobs import JobOrder
from replication.models import Job, JobOrigin, JobState, Outcome
from replication.transfer.results import Completion
from sandbox.oss import Fault
from tests.support.examples import a_job, a_rule
from tests.support.lanes import a_lane
from tests.support.processes import eventually
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

UNANSWERED = ReplicationError(ErrorCode.DESTINATION_UNREACHABLE, may_still_land=True)
COPIED = Completion(Outcome.COPIED, size_bytes=7)
READ_TIMEOUT_SECONDS = 2.0


def claim_all() -> list[jobs.ClaimedJob]:
    return jobs.claim(uuid4(), limit=10, lease_seconds=60)


def test_old_content_that_lands_after_the_new_content_is_replaced(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(read_timeout_seconds=READ_TIMEOUT_SECONDS, retry_base_seconds=0.1)
    road.put("a", b"old")
    # OSS has the whole request, and executes it after we gave up and wrote the new content.
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=READ_TIMEOUT_SECONDS * 1.7))
    look_again(road.rule, ["a"])
    with a_lane(seconds=READ_TIMEOUT_SECONDS * 2 + 2):
        eventually(lambda: Job.objects.filter(attempt=1).exists())
        road.put("a", b"new")
        look_again(road.rule, ["a"])
        eventually(Job.objects.filter(origin=JobOrigin.DOUBT, state="completed").exists)
    assert road.replica("a") == b"new"
    assert not Job.objects.exclude(state__in=[JobState.COMPLETED, "superseded"]).exists()
    writes = road.oss.requests(operation="PutObject")
    late = next(write for write in writes if write.fault)
    assert any(write.started_monotonic > late.ended_monotonic for write in writes)


def test_a_key_in_doubt_is_looked_at_once_more_when_the_doubt_is_over(
    limits: Callable[..., None],
) -> None:
    limits(read_timeout_seconds=60, retry_base_seconds=0.000001)
    a_job(a_rule())
    [first] = claim_all()
    assert first.write_in_doubt_until is None
    jobs.retry_later(first, UNANSWERED)
    [second] = claim_all()
    assert second.write_in_doubt_until
    assert jobs.complete([(second, COPIED)]) == {second.claim}

    look = Job.objects.get(state=JobState.PENDING)
    assert (look.key, look.origin) == ("a.jpg", JobOrigin.DOUBT)
    assert look.available_at == look.event_at == second.write_in_doubt_until
    assert claim_all() == []


def test_a_write_with_an_answer_leaves_no_doubt(limits: Callable[..., None]) -> None:
    limits(retry_base_seconds=0.000001)
    a_job(a_rule())
    [first] = claim_all()
    jobs.retry_later(first, ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE))
    [second] = claim_all()
    jobs.complete([(second, COPIED)])
    assert Job.objects.get().state == JobState.COMPLETED


def test_an_event_that_joins_a_job_is_served_at_once_and_keeps_the_doubt() -> None:
    rule = a_rule()
    until = datetime.now(UTC) + timedelta(minutes=1)
    orders = [JobOrder(rule.pk, "a", not_before=until)]
    jobs.enqueue(orders, origin=JobOrigin.DOUBT, priority=0)
    jobs.enqueue([JobOrder(rule.pk, "a")], origin=JobOrigin.EVENT, priority=0)
    [job] = claim_all()
    assert job.write_in_doubt_until == until
    jobs.complete([(job, COPIED)])
    look = Job.objects.get(state=JobState.PENDING)
    assert (look.available_at, look.origin) == (until, JobOrigin.DOUBT)


def test_the_doubt_of_a_superseded_job_passes_to_the_pending_job(
    limits: Callable[..., None],
) -> None:
    rule = a_rule()
    a_job(rule)
    [job] = claim_all()
    jobs.enqueue([JobOrder(rule.pk, "a.jpg")], origin=JobOrigin.EVENT, priority=0)
    assert jobs.retry_later(job, UNANSWERED) == JobState.SUPERSEDED
    [waiting] = claim_all()
    assert waiting.write_in_doubt_until


def test_an_expired_lease_leaves_a_write_in_doubt(limits: Callable[..., None]) -> None:
    limits(retry_base_seconds=0.000001)
    past = datetime.now(UTC) - timedelta(seconds=1)
    a_job(a_rule(), state=JobState.RUNNING, lease_expires_at=past, started_at=past)
    assert jobs.rescue(limit=10) == 1
    [job] = claim_all()
    assert job.write_in_doubt_until
