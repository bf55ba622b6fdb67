"""Each transition of a job: what it changes, and that a late caller changes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from replication import jobs
from replication.errors import MEANINGS, ErrorCode, ReplicationError
from replication.jobs import ClaimedJob, JobOrder, manual
from replication.models import (
    Destination,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    TransferAttempt,
    TransferJob,
)
from replication.transfer.results import Completion
from replication.worker import settling
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)

RETRYABLE = ReplicationError(
    ErrorCode.DESTINATION_UNAVAILABLE, "503 InternalError", request_id="5F0A"
)
NOT_PENDING = [state for state in JobState if state != JobState.PENDING]
NOT_RUNNING = [state for state in JobState if state != JobState.RUNNING]
NOT_FAILED = [state for state in JobState if state != JobState.FAILED]
COPIED = Completion(Outcome.COPIED, size_bytes=7, source_etag="e", source_crc64="1")


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


def enqueue(rule: ReplicationRule, *keys: str, priority: int = 0) -> list[int]:
    orders = [JobOrder(rule.pk, key) for key in keys]
    return jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=priority)


def claim(*, limit: int = 100, lease_seconds: float = 60, lane: UUID | None = None):
    return jobs.claim(lane or uuid4(), limit=limit, lease_seconds=lease_seconds)


def claim_one(rule: ReplicationRule, key: str = "a.jpg", **fields: Any) -> ClaimedJob:
    a_job(rule, key, **fields)
    [claimed] = claim()
    return claimed


def claimed(job: TransferJob | Job) -> ClaimedJob:
    """The job as known to a lane that holds it or once held it."""
    return ClaimedJob(
        job.id,
        getattr(job, "token", 1),  # an ended job has none
        job.rule_id,
        job.key,
        job.attempt,
        job.attempt_limit,
        datetime.now(UTC),
        rule_version=1,
    )


def row(job_id: int) -> dict[str, Any]:
    return dict(Job.objects.values().get(id=job_id))


def expire_lease(job_id: int) -> None:
    TransferJob.objects.filter(id=job_id).update(
        lease_expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )


# -- enqueue -----------------------------------------------------------------------------------


def test_a_new_key_gets_a_pending_job_that_is_due(rule: ReplicationRule) -> None:
    [job_id] = enqueue(rule, "图/a b+c")
    job = Job.objects.get(id=job_id)
    assert (job.key, job.state, job.attempt) == ("图/a b+c", JobState.PENDING, 0)
    assert job.attempt_limit == settings.S3SYNC.max_attempts
    assert job.event_at == job.enqueued_at == job.available_at


def test_the_same_key_joins_its_pending_job(rule: ReplicationRule) -> None:
    assert enqueue(rule, "a", "b") == enqueue(rule, "b", "a", "b")
    assert Job.objects.count() == 2


def test_enqueueing_no_keys_creates_no_jobs(rule: ReplicationRule) -> None:
    assert enqueue(rule) == []


def test_a_joined_job_keeps_the_oldest_event_and_the_smallest_priority(
    rule: ReplicationRule,
) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for minutes, priority in [(5, 10), (0, 0), (9, 10)]:
        order = JobOrder(rule.pk, "a", noon + timedelta(minutes=minutes))
        jobs.enqueue([order], origin=JobOrigin.EVENT, priority=priority)
    job = Job.objects.get()
    assert (job.event_at, job.priority) == (noon, 0)


def test_several_orders_for_a_key_keep_the_oldest_event(rule: ReplicationRule) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    orders = [JobOrder(rule.pk, "a", at) for at in (None, noon + timedelta(1), noon, None)]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
    assert Job.objects.get().event_at == noon


def test_an_event_from_the_future_counts_from_now(rule: ReplicationRule) -> None:
    order = JobOrder(rule.pk, "a", datetime.now(UTC) + timedelta(days=1))
    jobs.enqueue([order], origin=JobOrigin.EVENT, priority=0)
    job = Job.objects.get()
    assert job.event_at == job.enqueued_at


def test_an_event_makes_a_job_that_waits_for_a_retry_due_at_once(rule: ReplicationRule) -> None:
    a_job(rule, "a", attempt=3, available_at=datetime.now(UTC) + timedelta(hours=1))
    enqueue(rule, "a")
    assert [job.attempt for job in claim()] == [3]


def test_a_key_with_a_running_job_gets_a_second_job_that_waits(rule: ReplicationRule) -> None:
    running = claim_one(rule, "a")
    [waiting] = enqueue(rule, "a")
    assert waiting != running.id
    assert claim() == []
    jobs.complete([(running, COPIED)])
    assert [job.id for job in claim()] == [waiting]


@pytest.mark.parametrize("state", [s for s in NOT_PENDING if s != JobState.RUNNING])
def test_a_new_event_does_not_change_a_final_job(rule: ReplicationRule, state: JobState) -> None:
    before = row(a_job(rule, "a", state=state).id)
    [job_id] = enqueue(rule, "a")
    assert job_id != before["id"]
    assert row(before["id"]) == before


def test_two_rules_have_a_job_each_for_the_same_key(rule: ReplicationRule) -> None:
    other = a_rule("other", source=rule.source)
    assert len({*enqueue(rule, "a"), *enqueue(other, "a")}) == 2


# -- claim -------------------------------------------------------------------------------------


def test_a_claim_takes_the_job_for_the_length_of_the_lease(rule: ReplicationRule) -> None:
    lane = uuid4()
    job_id = a_job(rule, attempt=2).id
    [held] = claim(lane=lane, lease_seconds=60)
    job = Job.objects.get()
    assert (held.id, held.key, held.attempt) == (job_id, "a.jpg", 2)
    assert (job.state, job.claimed_by) == (JobState.RUNNING, lane)
    assert job.started_at == held.started_at
    assert job.lease_expires_at == held.started_at + timedelta(seconds=60)


def test_a_claim_takes_due_jobs_by_priority_and_age(rule: ReplicationRule) -> None:
    now = datetime.now(UTC)
    for key, priority, seconds in [
        ("bulk", 10, 100),
        ("younger", 0, 1),
        ("older", 0, 5),
        ("later", 0, -60),
    ]:
        a_job(rule, key, priority=priority, available_at=now - timedelta(seconds=seconds))
    assert [job.key for job in claim(limit=1)] == ["older"]
    assert [job.key for job in claim(limit=1)] == ["younger"]
    assert [job.key for job in claim()] == ["bulk"]


@pytest.mark.parametrize("change", [{"enabled": False}, {"paused_at": datetime.now(UTC)}])
def test_jobs_of_a_paused_or_disabled_rule_wait(
    rule: ReplicationRule, change: dict[str, Any]
) -> None:
    a_job(rule)
    ReplicationRule.objects.update(**change)
    assert claim() == []
    ReplicationRule.objects.update(enabled=True, paused_at=None)
    assert len(claim()) == 1


@pytest.mark.parametrize("state", NOT_PENDING)
def test_only_pending_jobs_are_claimed(rule: ReplicationRule, state: JobState) -> None:
    before = row(a_job(rule, state=state).id)
    assert claim() == []
    assert row(before["id"]) == before


def test_a_claim_does_not_wait_for_locked_rows(rule: ReplicationRule) -> None:
    from concurrent.futures import ThreadPoolExecutor

    enqueue(rule, "a", "b")

    def elsewhere() -> list[str]:
        try:
            return [job.key for job in claim()]
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        TransferJob.objects.select_for_update().get(key="a")
        assert pool.submit(elsewhere).result(timeout=90) == ["b"]


# -- leases ------------------------------------------------------------------------------------


def test_a_lane_extends_only_its_own_leases(rule: ReplicationRule) -> None:
    lane = uuid4()
    enqueue(rule, "a", "b")
    [mine] = claim(lane=lane, limit=1, lease_seconds=10)
    [other] = claim(limit=1, lease_seconds=10)
    before = row(other.id)
    assert jobs.extend_leases(lane, [mine, other], lease_seconds=100) == {mine.claim}
    assert row(mine.id)["lease_expires_at"] > before["lease_expires_at"] + timedelta(seconds=80)
    assert row(other.id) == before


def test_a_lane_that_lost_a_job_does_not_extend_it(rule: ReplicationRule) -> None:
    lane = uuid4()
    a_job(rule)
    [held] = claim(lane=lane)
    expire_lease(held.id)
    assert jobs.rescue(limit=10) == 1
    assert jobs.extend_leases(lane, [held], lease_seconds=100) == set()


# -- complete ----------------------------------------------------------------------------------


def test_completing_records_the_proof_and_clears_the_last_error(rule: ReplicationRule) -> None:
    held = claim_one(rule, error_code=ErrorCode.SOURCE_CHANGED, error_detail="x", attempt=1)
    done = Completion(
        Outcome.COPIED, 5 * 1024**3, "e1", "v1", "11", "MD5 e1", "r1", "E2", "11", "r2", "remark"
    )
    assert jobs.complete([(held, done)]) == {held.claim}
    job = Job.objects.get()
    assert job.state == JobState.COMPLETED
    assert job.finalized_at is not None
    assert (job.lease_expires_at, job.claimed_by) == (None, None)
    assert (job.outcome, job.size_bytes) == (Outcome.COPIED, 5 * 1024**3)
    assert (job.source_etag, job.source_version_id, job.source_crc64) == ("e1", "v1", "11")
    assert (job.destination_etag, job.destination_crc64) == ("E2", "11")
    assert (job.source_request_id, job.destination_request_id) == ("r1", "r2")
    assert (job.source_checksum, job.remarks) == ("MD5 e1", "remark")
    assert (job.error_code, job.error_detail, job.attempt) == ("", "", 1)


def test_many_jobs_are_completed_at_once_and_the_answer_leaves_out_lost_ones(
    rule: ReplicationRule,
) -> None:
    enqueue(rule, "a", "b", "c")
    held = {job.key: job for job in claim()}
    expire_lease(held["b"].id)
    jobs.rescue(limit=10)
    ended = jobs.complete([(job, COPIED) for job in held.values()])
    assert ended == {held["a"].claim, held["c"].claim}
    assert row(held["b"].id)["state"] == JobState.PENDING


def test_completing_no_jobs_runs_no_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert jobs.complete([]) == set()


# -- unsuccessful attempts ---------------------------------------------------------------------


def test_a_retry_is_due_after_the_backoff_and_the_attempt_is_recorded(
    rule: ReplicationRule,
) -> None:
    held = claim_one(rule)
    hinted = ReplicationError(
        ErrorCode.DESTINATION_THROTTLED, "slow", request_id="5F0A", retry_after_seconds=100
    )
    assert jobs.retry_later(held, hinted) == JobState.PENDING
    job = Job.objects.get()
    assert (job.state, job.attempt, job.is_retrying) == (JobState.PENDING, 1, True)
    assert (job.error_code, job.error_detail) == ("destination_throttled", "slow")
    assert (job.lease_expires_at, job.claimed_by, job.finalized_at) == (None, None, None)
    attempt = TransferAttempt.objects.get()
    assert (attempt.number, attempt.code, attempt.detail) == (1, "destination_throttled", "slow")
    assert (attempt.request_id, attempt.started_at) == ("5F0A", held.started_at)
    assert attempt.started_at < attempt.ended_at
    assert job.available_at >= held.started_at + timedelta(seconds=100)
    assert claim() == []


def test_a_job_to_retry_is_superseded_if_a_newer_job_waits(rule: ReplicationRule) -> None:
    held = claim_one(rule, "a")
    [newer] = enqueue(rule, "a")
    before = row(newer)
    assert jobs.retry_later(held, RETRYABLE) == JobState.SUPERSEDED
    job = Job.objects.get(id=held.id)
    # The newer job also serves the older change, so its lag counts from there.
    assert row(newer) == before | {"event_at": job.event_at}
    assert (job.state, job.attempt) == (JobState.SUPERSEDED, 1)
    assert job.finalized_at is not None
    assert len(job.tries) == 1
    assert [job.id for job in claim()] == [newer]


def test_the_last_attempt_fails_the_job(rule: ReplicationRule) -> None:
    held = claim_one(rule, attempt=9, attempt_limit=10)
    assert jobs.retry_later(held, RETRYABLE) == JobState.FAILED
    job = Job.objects.get()
    assert (job.state, job.attempt) == (JobState.FAILED, 10)
    assert job.finalized_at is not None
    assert job.error is not None


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_is_settled_as_its_disposition_says(
    rule: ReplicationRule, code: ErrorCode
) -> None:
    error = ReplicationError(code)
    state = settling.apply_error(claim_one(rule), rule, error)
    assert state == (JobState.FAILED if MEANINGS[code].ends_the_job else JobState.PENDING)


def test_an_error_that_the_job_did_not_cause_uses_up_no_attempt_but_is_recorded(
    rule: ReplicationRule,
) -> None:
    held = claim_one(rule, attempt=9, attempt_limit=10)
    assert jobs.retry_later(held, RETRYABLE, uses_up_a_try=False) == JobState.PENDING
    job = Job.objects.get()
    assert (job.attempt, job.attempt_limit, len(job.tries)) == (10, 11, 1)


@pytest.mark.parametrize("state", NOT_RUNNING)
def test_a_job_that_does_not_run_can_not_be_settled(rule: ReplicationRule, state: JobState) -> None:
    job = a_job(rule, state=state)
    before = row(job.id)
    late = claimed(job)
    assert jobs.complete([(late, COPIED)]) == set()
    assert jobs.retry_later(late, RETRYABLE) is None
    assert jobs.fail(late, RETRYABLE) is None
    assert row(job.id) == before
    assert not TransferAttempt.objects.exists()


def test_a_stale_attempt_changes_nothing(rule: ReplicationRule) -> None:
    zombie = claim_one(rule, "a", attempt_limit=100)
    expire_lease(zombie.id)
    jobs.rescue(limit=10)
    TransferJob.objects.update(available_at=datetime.now(UTC))
    [successor] = claim()
    assert (successor.id, successor.attempt) == (zombie.id, zombie.attempt + 1)
    before = row(successor.id)
    assert jobs.complete([(zombie, COPIED)]) == set()
    assert jobs.retry_later(zombie, RETRYABLE) is None
    assert jobs.fail(zombie, RETRYABLE) is None
    enqueue(rule, "a")
    assert jobs.retry_later(zombie, RETRYABLE) is None
    assert row(successor.id) == before
    assert TransferAttempt.objects.count() == 1
    assert jobs.complete([(successor, COPIED)]) == {successor.claim}


# -- rescue ------------------------------------------------------------------------------------


def test_a_rescue_takes_only_expired_leases_and_counts_the_attempt(rule: ReplicationRule) -> None:
    enqueue(rule, "dead", "alive")
    held = {job.key: job for job in claim()}
    expire_lease(held["dead"].id)
    before = row(held["alive"].id)
    assert jobs.rescue(limit=10) == 1
    assert row(held["alive"].id) == before
    job = Job.objects.get(key="dead")
    assert (job.state, job.attempt, job.error_code) == (JobState.PENDING, 1, "lease_expired")
    assert TransferAttempt.objects.get().code == ErrorCode.LEASE_EXPIRED
    assert jobs.rescue(limit=10) == 0


def test_a_rescued_job_is_superseded_if_a_newer_job_waits(rule: ReplicationRule) -> None:
    held = claim_one(rule, "a")
    enqueue(rule, "a")
    expire_lease(held.id)
    assert jobs.rescue(limit=10) == 1
    assert row(held.id)["state"] == JobState.SUPERSEDED


def test_a_job_that_kills_every_lane_fails_eventually(rule: ReplicationRule) -> None:
    held = claim_one(rule, attempt_limit=1)
    expire_lease(held.id)
    assert jobs.rescue(limit=10) == 1
    assert row(held.id)["state"] == JobState.FAILED


def test_a_rescue_takes_no_more_jobs_than_its_limit(rule: ReplicationRule) -> None:
    enqueue(rule, "a", "b", "c")
    for job in claim():
        expire_lease(job.id)
    assert [jobs.rescue(limit=2), jobs.rescue(limit=2)] == [2, 1]


# -- by a person -------------------------------------------------------------------------------


def test_retry_makes_a_failed_job_due_with_a_full_allowance_of_attempts(
    rule: ReplicationRule,
) -> None:
    job = a_job(rule, state=JobState.FAILED, attempt=10, attempt_limit=10)
    TransferAttempt.objects.create(
        job=job, number=10, started_at=job.enqueued_at, ended_at=job.enqueued_at, code="unexpected"
    )
    assert jobs.retry(TransferJob.objects.all()) == 1
    attempts = 0
    while held := claim():
        attempts += 1
        [again] = held
        if jobs.retry_later(again, RETRYABLE) == JobState.FAILED:
            break
        TransferJob.objects.update(available_at=datetime.now(UTC))
    assert attempts == settings.S3SYNC.max_attempts
    numbers = list(TransferAttempt.objects.values_list("number", flat=True))
    assert numbers == list(range(10, 11 + attempts))


def test_retry_moves_one_job_of_each_key(rule: ReplicationRule) -> None:
    other = a_rule("other")
    ids = {
        name: a_job(which, key, state=JobState.FAILED).id
        for name, which, key in [
            ("old", rule, "a"),
            ("new", rule, "a"),
            ("b", rule, "b"),
            ("other", other, "a"),
        ]
    }
    assert jobs.retry(TransferJob.objects.all()) == 3
    states = {name: row(job_id)["state"] for name, job_id in ids.items()}
    assert states == {
        "old": JobState.SUPERSEDED,
        "new": JobState.PENDING,
        "b": JobState.PENDING,
        "other": JobState.PENDING,
    }


def test_retry_supersedes_a_failed_job_whose_key_has_a_pending_job(rule: ReplicationRule) -> None:
    failed = a_job(rule, "a", state=JobState.FAILED)
    [waiting] = enqueue(rule, "a")
    before = row(waiting)
    assert jobs.retry(TransferJob.objects.all()) == 0
    assert row(failed.id)["state"] == JobState.SUPERSEDED
    assert row(waiting) == before


def test_a_retried_job_waits_for_the_running_job_of_its_key(rule: ReplicationRule) -> None:
    failed = a_job(rule, "a", state=JobState.FAILED)
    enqueue(rule, "a")
    [running] = claim()
    assert jobs.retry(TransferJob.objects.filter(id=failed.id)) == 1
    assert claim() == []
    jobs.complete([(running, COPIED)])
    assert [job.id for job in claim()] == [failed.id]


def test_retry_takes_more_than_one_batch(
    rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "BATCH", 2)
    for key in "abaca":
        a_job(rule, key, state=JobState.FAILED)
    jobs.retry(TransferJob.objects.all())
    by_state = Job.objects.filter(state=JobState.PENDING)
    assert sorted(by_state.values_list("key", flat=True)) == ["a", "b", "c"]
    assert not Job.objects.filter(state=JobState.FAILED).exists()


@pytest.mark.parametrize("state", NOT_FAILED)
def test_only_failed_jobs_are_retried(rule: ReplicationRule, state: JobState) -> None:
    before = row(a_job(rule, state=state).id)
    assert jobs.retry(TransferJob.objects.all()) == 0
    assert row(before["id"]) == before


def test_cancel_ends_a_pending_job(rule: ReplicationRule) -> None:
    job_id = a_job(rule, attempt=1).id
    assert jobs.cancel(TransferJob.objects.all()) == 1
    job = Job.objects.get(id=job_id)
    assert (job.state, job.attempt) == (JobState.CANCELLED, 1)
    assert job.finalized_at is not None
    assert claim() == []


def test_many_jobs_are_cancelled_in_short_transactions(
    rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be enqueued during one."""
    monkeypatch.setattr(manual, "BATCH", 2)
    for key in "abcde":
        a_job(rule, key)
    assert jobs.cancel(TransferJob.objects.all()) == 5
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT xmin::text) FROM replication_endedjob")
        assert cursor.fetchone() == (3,)


@pytest.mark.parametrize("state", NOT_PENDING)
def test_only_pending_jobs_are_cancelled(rule: ReplicationRule, state: JobState) -> None:
    before = row(a_job(rule, state=state).id)
    assert jobs.cancel(TransferJob.objects.all()) == 0
    assert row(before["id"]) == before


# -- backoff -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [0, 1, 5, 9, 40, 10_000])
def test_a_backoff_is_between_the_hint_and_its_ceiling(attempt: int) -> None:
    ceiling = min(
        settings.S3SYNC.retry_cap_seconds,
        settings.S3SYNC.retry_base_seconds * 2 ** min(attempt, 40),
    )
    waits = [jobs.backoff_seconds(attempt) for _ in range(200)]
    assert 0 <= min(waits) < ceiling / 4
    assert ceiling * 3 / 4 < max(waits) <= ceiling
    hinted = [jobs.backoff_seconds(attempt, hint_seconds=7) for _ in range(50)]
    assert min(hinted) >= 7
    assert max(hinted) <= 7 + ceiling


# -- rules take turns --------------------------------------------------------------------------


def test_one_rules_backlog_does_not_hold_up_another(rule: ReplicationRule) -> None:
    other = a_rule("documents")
    backlog = enqueue(rule, *[f"{number:03}" for number in range(50)])
    [fresh] = enqueue(other, "fresh")
    taken = {job.id for job in claim(limit=2)}
    assert fresh in taken
    assert len(taken & set(backlog)) == 1


def test_a_lane_claims_no_more_jobs_of_a_rule_than_it_has_room_for(rule: ReplicationRule) -> None:
    other = a_rule("documents")
    enqueue(rule, "a", "b", "c")
    enqueue(other, "a", "b", "c")
    taken = jobs.claim(uuid4(), limit=10, lease_seconds=60, room={rule.pk: 1, other.pk: 0})
    assert [job.rule_id for job in taken] == [rule.pk]


def test_no_job_is_claimed_for_a_destination_that_is_throttled(rule: ReplicationRule) -> None:
    enqueue(rule, "a")
    Destination.objects.update(throttled_until=Now() + timedelta(seconds=60))
    assert claim() == []
    Destination.objects.update(throttled_until=Now() - timedelta(seconds=1))
    assert len(claim()) == 1
