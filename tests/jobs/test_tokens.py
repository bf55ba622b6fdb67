"""A claim is told from every other claim of its job: a transition repeated late changes nothing."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import ClaimedJob
from replication.models import Job, Outcome, ReplicationRule, TransferAttempt
from replication.transfer.results import Completion
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)

ERROR = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)
RESTORING = ReplicationError(ErrorCode.SOURCE_RESTORING)

TRANSITIONS: dict[str, Callable[[ClaimedJob], Any]] = {
    "complete": lambda job: jobs.complete([(job, Completion(Outcome.COPIED))]),
    "retry_later": lambda job: jobs.retry_later(job, ERROR),
    "fail": lambda job: jobs.fail(job, ERROR),
    "hand_over": jobs.hand_over,
    "await_restore": lambda job: jobs.await_restore(job, RESTORING),
    "await_confirmation": lambda job: jobs.await_confirmation([job]),
    "grant_deletes": lambda job: jobs.grant_deletes([job]),
}


def claim() -> ClaimedJob:
    [claimed] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    return claimed


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


def test_each_claim_has_a_token_of_its_own(rule: ReplicationRule) -> None:
    a_job(rule)
    tokens = []
    for _ in range(3):
        claimed = claim()
        tokens.append(claimed.token)
        assert jobs.hand_over(claimed)
    assert tokens == [1, 2, 3]
    assert Job.objects.get().attempt == 0


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_repeated_after_a_hand_over_moves_no_job_that_another_lane_claimed(
    rule: ReplicationRule, name: str
) -> None:
    """The answer to the hand-over was lost, so the lane repeats it, or another statement."""
    a_job(rule)
    before = claim()
    assert jobs.hand_over(before)
    current = claim()
    row = Job.objects.values().get()
    assert not TRANSITIONS[name](before)
    assert Job.objects.values().get() == row
    assert not TransferAttempt.objects.exists()
    assert jobs.complete([(current, Completion(Outcome.COPIED))]) == {current.claim}


def test_leases_of_an_earlier_claim_are_not_extended(rule: ReplicationRule) -> None:
    a_job(rule)
    lane = uuid4()
    [before] = jobs.claim(lane, limit=1, lease_seconds=60)
    jobs.hand_over(before)
    [current] = jobs.claim(lane, limit=1, lease_seconds=60)
    assert jobs.extend_leases(lane, [before, current], lease_seconds=60) == {current.claim}
