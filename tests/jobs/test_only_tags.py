"""A job is for tags only as long as nothing else asks for its key."""

from uuid import uuid4

import pytest

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import ClaimedJob, JobOrder
from replication.models import Job, JobOrigin, JobState, Outcome, ReplicationRule, TransferJob
from replication.transfer.results import Completion
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)

FAILURE = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE, may_still_land=True)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


def enqueue(rule: ReplicationRule, *, only_tags: bool) -> int:
    order = JobOrder(rule.pk, "a", only_tags=only_tags)
    [job_id] = jobs.enqueue([order], origin=JobOrigin.EVENT, priority=0)
    return job_id


def claim() -> ClaimedJob:
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    return job


def is_for_tags_only(job_id: int) -> bool:
    return Job.objects.get(pk=job_id).only_tags


@pytest.mark.parametrize("only_tags", [False, True])
def test_a_claim_says_whether_the_job_is_for_tags_only(
    rule: ReplicationRule, *, only_tags: bool
) -> None:
    enqueue(rule, only_tags=only_tags)
    assert claim().only_tags == only_tags


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_a_pending_job_is_for_tags_only_if_all_that_joined_it_are(
    rule: ReplicationRule, *, first: bool, second: bool
) -> None:
    job_id = enqueue(rule, only_tags=first)
    assert enqueue(rule, only_tags=second) == job_id
    assert is_for_tags_only(job_id) == (first and second)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_so_are_the_orders_of_one_call(rule: ReplicationRule, *, first: bool, second: bool) -> None:
    orders = [JobOrder(rule.pk, "a", only_tags=each) for each in (first, second)]
    [job_id] = jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
    assert is_for_tags_only(job_id) == (first and second)


@pytest.mark.parametrize("of_the_running_job", [False, True])
def test_a_job_that_takes_over_from_another_takes_over_all_of_it(
    rule: ReplicationRule, *, of_the_running_job: bool
) -> None:
    enqueue(rule, only_tags=of_the_running_job)
    running = claim()
    waiting = enqueue(rule, only_tags=True)
    assert jobs.retry_later(running, FAILURE) == JobState.SUPERSEDED
    assert is_for_tags_only(waiting) == of_the_running_job


@pytest.mark.parametrize("older", [False, True])
def test_of_several_failed_jobs_the_one_that_is_retried_does_what_all_had_to_do(
    rule: ReplicationRule, *, older: bool
) -> None:
    a_job(rule, "a", state=JobState.FAILED, only_tags=older)
    newer = a_job(rule, "a", state=JobState.FAILED, only_tags=True)
    assert jobs.retry(TransferJob.objects.all()) == 1
    assert is_for_tags_only(newer.pk) == older


@pytest.mark.parametrize("failed", [False, True])
def test_a_failed_job_that_is_retried_while_another_waits_is_done_by_that_one(
    rule: ReplicationRule, *, failed: bool
) -> None:
    a_job(rule, "a", state=JobState.FAILED, only_tags=failed)
    waiting = enqueue(rule, only_tags=True)
    assert jobs.retry(TransferJob.objects.filter(state=JobState.FAILED)) == 0
    assert is_for_tags_only(waiting) == failed


def test_after_a_write_in_doubt_the_tags_are_looked_at_again(rule: ReplicationRule) -> None:
    enqueue(rule, only_tags=True)
    jobs.retry_later(claim(), FAILURE)
    TransferJob.objects.update(available_at="2026-01-01T00:00Z")
    jobs.complete([(claim(), Completion(Outcome.UNCHANGED))])
    assert Job.objects.get(state=JobState.PENDING).only_tags


def test_after_a_change_of_the_rule_the_object_is_looked_at_in_full(rule: ReplicationRule) -> None:
    enqueue(rule, only_tags=True)
    job = claim()
    rule.acl = "private"
    rule.save()
    jobs.complete([(job, Completion(Outcome.UNCHANGED))])
    assert not Job.objects.get(state=JobState.PENDING).only_tags
