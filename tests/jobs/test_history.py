"""What ends leaves the queue for the history; its days are made ahead and dropped whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import JobOrder, history
from replication.models import (
    EndedJob,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    RuleVersion,
    TransferAttempt,
    TransferJob,
)
from replication.operations.proof import proof_of
from replication.operations.retention import prune
from replication.transfer.results import Completion
from tests.support.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


def claim_one() -> jobs.ClaimedJob:
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    return job


def complete(job: jobs.ClaimedJob, **proof: Any) -> None:
    assert jobs.complete([(job, Completion(Outcome.COPIED, size_bytes=7, **proof))])


# -- the way out of the queue ------------------------------------------------------------------


def test_a_completed_job_leaves_the_queue_with_its_tries_and_keeps_its_id(
    rule: ReplicationRule,
) -> None:
    job_id = a_job(rule, "a").pk
    failed = claim_one()
    error = ReplicationError(ErrorCode.SOURCE_THROTTLED, "slow down", request_id="R1")
    assert jobs.retry_later(failed, error) is JobState.PENDING
    TransferJob.objects.update(available_at=datetime.now(UTC))
    complete(claim_one(), source_etag="e", destination_etag="E")

    assert not TransferJob.objects.exists()
    assert not TransferAttempt.objects.exists()
    job = Job.objects.get(pk=job_id)
    assert (job.state, job.outcome, job.size_bytes, job.source_etag) == (
        *(JobState.COMPLETED, Outcome.COPIED),
        *(7, "e"),
    )
    assert (job.attempt, job.rule_version, job.error_code) == (1, rule.version, "")
    [one] = job.tries
    assert (one.number, one.code, one.detail, one.request_id) == (
        *(1, ErrorCode.SOURCE_THROTTLED),
        *("slow down", "R1"),
    )
    assert one.ended_at >= one.started_at


def test_a_job_that_was_tried_for_long_keeps_its_last_tries(rule: ReplicationRule) -> None:
    job = a_job(rule, "a", attempt=150)
    now = datetime.now(UTC)
    TransferAttempt.objects.bulk_create(
        TransferAttempt(
            job=job, number=number, started_at=now, ended_at=now, code=ErrorCode.SOURCE_THROTTLED
        )
        for number in range(1, 151)
    )
    complete(claim_one())
    assert [one.number for one in Job.objects.get().tries] == list(range(51, 151))
    assert not TransferAttempt.objects.exists()


def test_a_cancelled_and_a_superseded_job_leave_the_queue_too(rule: ReplicationRule) -> None:
    cancelled = a_job(rule, "cancelled").pk
    assert jobs.cancel(TransferJob.objects.all()) == 1
    superseded = a_job(rule, "a").pk
    running = claim_one()
    jobs.enqueue([JobOrder(rule.pk, "a")], origin=JobOrigin.EVENT, priority=0)
    error = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)
    assert jobs.retry_later(running, error) is JobState.SUPERSEDED
    failed = a_job(rule, "a", state=JobState.FAILED).pk
    assert jobs.retry(TransferJob.objects.all()) == 0

    left = dict(EndedJob.objects.values_list("pk", "state"))
    assert left == {
        cancelled: JobState.CANCELLED,
        superseded: JobState.SUPERSEDED,
        failed: JobState.SUPERSEDED,
    }
    assert [one.code for one in Job.objects.get(pk=superseded).tries] == [error.code]
    assert TransferJob.objects.get().state == JobState.PENDING


def test_a_failed_job_stays_where_it_can_be_retried(rule: ReplicationRule) -> None:
    a_job(rule, "a")
    jobs.fail(claim_one(), ReplicationError(ErrorCode.SOURCE_KMS))
    assert TransferJob.objects.get().state == JobState.FAILED
    assert not EndedJob.objects.exists()


def test_the_proof_says_where_the_bytes_went_then(rule: ReplicationRule) -> None:
    a_job(rule, "a")
    complete(claim_one())
    then = rule.destination.bucket
    rule.destination.bucket = "another"
    rule.destination.credential_profile = "another"
    rule.destination.save()
    rule.destination_prefix = "moved/"
    rule.save()
    proof = proof_of(Job.objects.get())
    assert (proof.destination.bucket, proof.destination.key) == (then, "a")
    assert proof.destination.credential_profile == "default"
    assert proof.rule_version == 1
    a_job(rule, "b")
    complete(claim_one())
    proof = proof_of(Job.objects.get(key="b"))
    assert (proof.destination.bucket, proof.destination.key) == ("another", "moved/b")
    assert proof.rule_version == 3


def test_the_database_keeps_a_version_for_each_change_of_what_an_operator_sets(
    rule: ReplicationRule,
) -> None:
    def versions() -> list[int]:
        return list(RuleVersion.objects.order_by("version").values_list("version", flat=True))

    assert versions() == [1]
    ReplicationRule.objects.update(braked_at=datetime.now(UTC))  # the service's own
    assert versions() == [1]
    ReplicationRule.objects.update(source_prefix="a/")
    rule.source.region = "eu-west-1"
    rule.source.save()
    assert versions() == [1, 2, 3]
    kept = RuleVersion.objects.order_by("version")
    regions = [version.as_rule().source.region for version in kept]
    assert regions == ["ap-east-1", "ap-east-1", "eu-west-1"]
    assert "braked_at" not in RuleVersion.objects.latest("version").rule_columns
    rule.delete()
    assert versions() == []


# -- the days ----------------------------------------------------------------------------------


@pytest.fixture
def no_days() -> Iterator[None]:
    """The days that exist now stay; those that a test makes are dropped at its end."""
    before = {day.day for day in history.days()}
    yield
    with connection.cursor() as cursor:
        for day in history.days():
            if day.day not in before:
                cursor.execute(f"DROP TABLE {day.table}")


def ended_on(rule: ReplicationRule, age: timedelta, key: str = "a") -> int:
    """A row of the history from so long ago, wherever PostgreSQL puts it."""
    at = datetime.now(UTC) - age
    job_id = 1_000_000_000 + EndedJob.objects.count()
    EndedJob.objects.create(
        pk=job_id,
        rule=rule,
        key=key,
        state=JobState.COMPLETED,
        outcome=Outcome.COPIED,
        origin=JobOrigin.EVENT,
        attempt_limit=10,
        event_at=at,
        enqueued_at=at,
        available_at=at,
        finalized_at=at,
    )
    return job_id


def table_of(job_id: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM replication_endedjob WHERE id = %s", [job_id]
        )
        return str(cursor.fetchone()[0])


def test_days_are_made_a_week_ahead() -> None:
    with connection.cursor() as cursor:
        for day in history.days():
            if day.day > TODAY:
                cursor.execute(f"DROP TABLE {day.table}")
    history.make_days()
    ahead = {day.day for day in history.days() if day.day >= TODAY}
    assert ahead == {TODAY + timedelta(days=number) for number in range(8)}
    history.make_days()  # there is nothing left to do


def test_a_row_whose_day_has_no_partition_is_kept_and_moved_there_later(
    rule: ReplicationRule, no_days: None
) -> None:
    strays = [ended_on(rule, timedelta(days=400), key) for key in "ab"]
    other = ended_on(rule, timedelta(days=401))
    assert {table_of(job_id) for job_id in (*strays, other)} == {history.DEFAULT}
    history.make_days()
    day = TODAY - timedelta(days=400)
    assert {table_of(job_id) for job_id in strays} == {f"replication_endedjob_{day:%Y%m%d}"}
    assert table_of(other) != history.DEFAULT
    assert Job.objects.filter(pk__in=[*strays, other]).count() == 3


def test_a_day_is_dropped_with_all_its_rows_and_no_other(
    rule: ReplicationRule, no_days: None
) -> None:
    old = ended_on(rule, timedelta(days=30))
    kept = ended_on(rule, timedelta(days=13))
    history.make_days()
    dropped = history.drop_days(older_than_days=14)
    assert [(day.day, day.rows) for day in dropped if day.rows] == [(TODAY - timedelta(days=30), 1)]
    assert list(EndedJob.objects.values_list("pk", flat=True)) == [kept]
    assert not Job.objects.filter(pk=old).exists()


@contextmanager
def a_long_reader() -> Iterator[None]:
    other = connection.copy("reader")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM replication_endedjob")
            yield
    finally:
        other.close()


def test_lanes_do_not_wait_behind_a_day_that_somebody_reads(
    rule: ReplicationRule, no_days: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOCK_SECONDS", 0.05)
    ended_on(rule, timedelta(days=30))
    history.make_days()
    with a_long_reader():
        assert history.drop_days(older_than_days=14) == []
        a_job(rule, "b")
        complete(claim_one())
    assert sum(day.rows for day in history.drop_days(older_than_days=14)) == 1


def test_a_day_that_another_drops_meanwhile_has_no_rows(
    rule: ReplicationRule, no_days: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_on(rule, timedelta(days=30))
    history.make_days()
    found = history.days()
    assert sum(day.rows for day in history.drop_days(older_than_days=14)) == 1
    with monkeypatch.context() as before:
        before.setattr(history, "days", lambda: found)
        assert {day.rows for day in history.due_days(older_than_days=14)} == {0}


# -- what an earlier version left in the queue -------------------------------------------------


def left_behind(rule: ReplicationRule, key: str, state: JobState, *, days: int = 0) -> int:
    """A job as a lane of the version before ends it: in the queue, with its proof and its tries."""
    job = a_job(rule, key, attempt=1)
    then = datetime.now(UTC) - timedelta(days=days)
    TransferAttempt.objects.create(
        job=job, number=1, started_at=then, ended_at=then, code=ErrorCode.SOURCE_THROTTLED
    )
    outcome = "copied" if state == JobState.COMPLETED else None
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob SET state = %s, finalized_at = %s, outcome = %s,
                source_etag = 'e', destination_crc64 = '7', source_crc64 = '7', size_bytes = 7,
                remarks = 'rewritten'
            WHERE id = %s
            """,
            [state, then, outcome, job.pk],
        )
    return int(job.pk)


ENDED = [JobState.COMPLETED, JobState.CANCELLED, JobState.SUPERSEDED]


def test_what_an_earlier_version_left_in_the_queue_is_moved_batch_by_batch(
    rule: ReplicationRule, no_days: None
) -> None:
    ids = [left_behind(rule, f"{state}", state, days=20) for state in ENDED]
    before = list(Job.objects.order_by("pk").values())
    tries = [Job.objects.get(pk=job_id).tries for job_id in ids]
    assert [row["id"] for row in before] == ids  # told where they are
    history.make_days()
    assert [history.move_ended(limit=2) for _ in range(3)] == [2, 1, 0]
    assert not TransferJob.objects.exists()
    after = list(Job.objects.order_by("pk").values())
    assert [row | {"tries_json": None} for row in after] == before
    assert [Job.objects.get(pk=job_id).tries for job_id in ids] == tries
    assert history.DEFAULT not in {table_of(job_id) for job_id in ids}


def test_a_move_joins_jobs_and_tries_in_one_go(rule: ReplicationRule) -> None:
    """A look at all tries of the batch for each of its jobs takes minutes for a full batch."""
    left_behind(rule, "a", JobState.COMPLETED)
    with CaptureQueriesContext(connection) as queries:
        assert history.move_ended(limit=10) == 1
    [move] = [sql for query in queries if "INSERT INTO" in (sql := query["sql"])]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {move}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "SubPlan" not in plan, plan
    assert "CTE told" in plan  # computed once


def test_no_job_is_moved_while_a_day_can_not_be_made(
    rule: ReplicationRule, no_days: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go to the default partition, and from there to its day under a lock for all."""
    monkeypatch.setattr(history, "LOCK_SECONDS", 0.05)
    job_id = left_behind(rule, "a", JobState.COMPLETED, days=10)
    with a_long_reader():
        prune(seconds=60)
        assert TransferJob.objects.filter(pk=job_id).exists()
    prune(seconds=60)
    assert table_of(job_id) == f"replication_endedjob_{TODAY - timedelta(days=10):%Y%m%d}"


def test_a_job_that_is_past_its_retention_is_dropped_with_its_day(
    rule: ReplicationRule, no_days: None
) -> None:
    job_id = left_behind(rule, "a", JobState.COMPLETED, days=20)
    assert prune(seconds=60).rows.finished_jobs == 1
    assert not Job.objects.filter(pk=job_id).exists()


def test_a_move_that_is_interrupted_loses_nothing(rule: ReplicationRule) -> None:
    left_behind(rule, "a", JobState.COMPLETED)

    class Interrupted(Exception):
        pass

    with pytest.raises(Interrupted), transaction.atomic():
        assert history.move_ended(limit=10) == 1
        raise Interrupted
    assert (TransferJob.objects.count(), EndedJob.objects.count()) == (1, 0)
    assert history.move_ended(limit=10) == 1
    assert (TransferJob.objects.count(), EndedJob.objects.count()) == (0, 1)
