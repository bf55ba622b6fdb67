"""The database refuses jobs and attempts that must not exist, whatever the code does."""

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection

from replication.errors import ErrorCode
from replication.models import JobState, ReplicationRule, TransferAttempt
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


@pytest.mark.parametrize(
    ("assignments", "constraint"),
    [
        ("state = 'lost'", "job_state_is_known"),
        ("state = 'completed', outcome = 'copied'", "job_is_finalized_exactly_in_final_states"),
        ("state = 'failed'", "job_is_finalized_exactly_in_final_states"),
        ("finalized_at = now()", "job_is_finalized_exactly_in_final_states"),
        ("state = 'running'", "job_has_a_lease_exactly_while_running"),
        (
            "state = 'running', lease_expires_at = now()",
            "job_has_a_lease_exactly_while_running",
        ),
        ("lease_expires_at = now()", "job_has_a_lease_exactly_while_running"),
        ("claimed_by = gen_random_uuid()", "job_has_a_lease_exactly_while_running"),
        ("state = 'completed', finalized_at = now()", "job_has_an_outcome_exactly_when_completed"),
        ("outcome = 'copied'", "job_has_an_outcome_exactly_when_completed"),
    ],
)
def test_the_database_refuses_impossible_states(
    rule: ReplicationRule, assignments: str, constraint: str
) -> None:
    a_job(rule)
    with (
        pytest.raises(IntegrityError, match=constraint),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"UPDATE replication_transferjob SET {assignments}")


@pytest.mark.parametrize(
    ("state", "constraint"),
    [
        (JobState.PENDING, "job_one_pending_per_key"),
        (JobState.RUNNING, "job_one_running_per_key"),
    ],
)
def test_the_database_refuses_a_second_pending_or_running_job_of_a_key(
    rule: ReplicationRule, state: JobState, constraint: str
) -> None:
    a_job(rule, state=state)
    with pytest.raises(IntegrityError, match=constraint):
        a_job(rule, state=state)


def test_the_database_refuses_an_attempt_with_a_duplicate_number_or_an_unknown_code(
    rule: ReplicationRule,
) -> None:
    now = datetime.now(UTC)
    attempt = {"job": a_job(rule), "number": 1, "started_at": now, "ended_at": now}
    TransferAttempt.objects.create(**attempt, code=ErrorCode.UNEXPECTED)
    with pytest.raises(IntegrityError, match="attempt_number_is_unique"):
        TransferAttempt.objects.create(**attempt, code=ErrorCode.UNEXPECTED)
    with pytest.raises(IntegrityError, match="attempt_code_is_known"):
        TransferAttempt.objects.create(**attempt | {"number": 2}, code="surprise")
