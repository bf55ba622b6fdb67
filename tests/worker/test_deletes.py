"""Which deletes a lane sends, and which ends it settles instead."""

from datetime import UTC, datetime

import pytest

from replication.errors import LeaseLost
from replication.jobs import ClaimedJob
from replication.mapping.ownership import Mark
from replication.models import DeletePolicy, ReplicationRule
from replication.transfer.results import DeleteWanted
from replication.worker import deletes
from replication.worker.capacity import Rulebook
from replication.worker.leases import Finished
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db(transaction=True)

WANTED = DeleteWanted("a", "request", Mark.OURS, "etag")


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(delete_policy=DeletePolicy.MIRROR)


def claimed(rule: ReplicationRule, *, token: int) -> ClaimedJob:
    return ClaimedJob(7, token, rule.pk, "a", 0, 10, datetime.now(UTC), rule_version=1)


def test_no_end_is_lost_where_a_lost_claim_ends_together_with_the_next_claim(
    rule: ReplicationRule,
) -> None:
    lost = Finished(claimed(rule, token=1), LeaseLost())
    current = Finished(claimed(rule, token=2), WANTED)
    permitted, rest = deletes.select([lost, current], Rulebook())
    assert permitted == [(current.job, WANTED)]
    assert rest == [lost]


def test_both_claims_of_a_job_that_want_to_delete_go_on(rule: ReplicationRule) -> None:
    ends = [Finished(claimed(rule, token=number), WANTED) for number in (0, 1)]
    permitted, rest = deletes.select(ends, Rulebook())
    assert permitted == [(end.job, WANTED) for end in ends]
    assert rest == []
