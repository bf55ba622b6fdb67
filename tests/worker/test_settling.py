"""What a lane settles at once, and what it starts instead."""

from datetime import UTC, datetime

import pytest

from replication.errors import LeaseLost
from replication.jobs import ClaimedJob
from replication.models import DeletePolicy, ReplicationRule
from replication.transfer.results import DeleteWanted
from replication.worker.capacity import Rulebook
from replication.worker.leases import Finished
from replication.worker.settling import permitted_deletes
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db(transaction=True)

WANTED = DeleteWanted("a", "request")


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(delete_policy=DeletePolicy.MIRROR)


def claimed(rule: ReplicationRule, *, attempt: int) -> ClaimedJob:
    return ClaimedJob(7, rule.pk, "a", attempt, 10, datetime.now(UTC))


def test_no_end_is_lost_where_a_lost_claim_ends_together_with_the_next_claim(
    rule: ReplicationRule,
) -> None:
    lost = Finished(claimed(rule, attempt=0), LeaseLost())
    current = Finished(claimed(rule, attempt=1), WANTED)
    permitted, rest = permitted_deletes([lost, current], Rulebook())
    assert permitted == [(current.job, WANTED)]
    assert rest == [lost]


def test_both_claims_of_a_job_that_want_to_delete_go_on(rule: ReplicationRule) -> None:
    ends = [Finished(claimed(rule, attempt=number), WANTED) for number in (0, 1)]
    permitted, rest = permitted_deletes(ends, Rulebook())
    assert permitted == [(end.job, WANTED) for end in ends]
    assert rest == []
