"""Pruning deletes old history in small batches, and nothing else, whatever runs beside it."""

import re
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django import Settings

from replication import jobs, tasks
from replication.errors import ErrorCode
from replication.jobs import JobOrder
from replication.models import (
    ActorKind,
    AuditAction,
    AuditEntry,
    ClusterTask,
    DeadLetter,
    EventQueue,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    Sweep,
    SweepFinding,
    TransferAttempt,
    TransferJob,
)
from replication.operations import retention
from replication.operations.retention import Rows, count_due, prune
from replication.transfer.results import Completion
from tests.support.examples import a_job, a_rule
from tests.support.processes import eventually, manage
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

FINISHED = [JobState.COMPLETED, JobState.CANCELLED, JobState.SUPERSEDED]
UNFINISHED = [JobState.PENDING, JobState.RUNNING]
MINUTE = timedelta(minutes=1)
LONG_AGO = timedelta(days=1000)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule()


@pytest.fixture
def batches_of_10(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 10)


def old_job(
    rule: ReplicationRule, state: JobState, age: timedelta, *, tries: int = 0, key: str = "a"
) -> Job:
    """A job with all its times `age` ago."""
    then = datetime.now(UTC) - age
    times = {"event_at": then, "enqueued_at": then, "available_at": then}
    if state not in UNFINISHED:
        times["finalized_at"] = then
    job = a_job(rule, key, state=state, attempt=tries, **times)
    for number in range(1, tries + 1):
        TransferAttempt.objects.create(
            job_id=job.pk,
            number=number,
            started_at=then,
            ended_at=then,
            code=ErrorCode.DESTINATION_UNAVAILABLE,
        )
    return Job.objects.get(pk=job.pk)


def old_jobs(rule: ReplicationRule, state: JobState, *, number: int) -> None:
    for n in range(number):
        old_job(rule, state, LONG_AGO, key=f"old/{n}")


def old_letter(age: timedelta) -> DeadLetter:
    queue, _ = EventQueue.objects.get_or_create(
        name="events", url="https://sqs.example.com/queue", region="ap-east-1"
    )
    return DeadLetter.objects.create(
        queue=queue,
        message_id=str(uuid4()),
        body="what?",
        reason="not JSON",
        received_at=datetime.now(UTC) - age,
    )


def old_audit_entry(actor: str, age: timedelta = LONG_AGO) -> AuditEntry:
    return AuditEntry.objects.create(
        actor_kind=ActorKind.USER,
        actor=actor,
        action=AuditAction.CHANGED,
        began_at=datetime.now(UTC) - age,
    )


def old_findings(rule: ReplicationRule, *, number: int) -> list[SweepFinding]:
    sweep = Sweep.objects.create(
        rule=rule,
        kind="scrub",
        rule_version=1,
        state="completed",
        ended_at=datetime.now(UTC) - LONG_AGO,
    )
    return SweepFinding.objects.bulk_create(
        SweepFinding(sweep=sweep, key=f"{n}", verdict="missing") for n in range(number)
    )


def left() -> set[int]:
    return set(Job.objects.values_list("id", flat=True))


# -- what is deleted and kept ------------------------------------------------------------------


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_job_is_deleted_when_the_last_job_of_its_day_is_due(
    rule: ReplicationRule, state: JobState
) -> None:
    old_job(rule, state, timedelta(days=15))
    younger = old_job(rule, state, timedelta(days=14) - MINUTE)
    assert prune(seconds=60) == retention.Pruned(Rows(finished_jobs=1), is_complete=True)
    assert left() == {younger.id}


def test_a_failed_job_is_kept_longer(rule: ReplicationRule) -> None:
    old_job(rule, JobState.FAILED, timedelta(days=90) + MINUTE)
    younger = old_job(rule, JobState.FAILED, timedelta(days=90) - MINUTE)
    assert prune(seconds=60).rows == Rows(failed_jobs=1)
    assert left() == {younger.id}


def test_a_dead_letter_is_kept_as_long_as_a_failed_job() -> None:
    old_letter(timedelta(days=90) + MINUTE)
    younger = old_letter(timedelta(days=90) - MINUTE)
    assert prune(seconds=60).rows == Rows(dead_letters=1)
    assert DeadLetter.objects.get() == younger


def test_the_audit_is_kept_for_its_own_days(settings: Settings) -> None:
    for days in (399, 401):
        old_audit_entry(f"{days}", timedelta(days=days))
    prune(seconds=10)
    assert AuditEntry.objects.get().actor == "399"


@pytest.mark.parametrize("state", UNFINISHED)
def test_an_unfinished_job_stays_however_old_it_is(rule: ReplicationRule, state: JobState) -> None:
    job = old_job(rule, state, LONG_AGO, tries=2)
    assert prune(seconds=60).rows == Rows()
    assert left() == {job.id}
    assert len(job.tries) == 2


def test_the_tries_of_a_failed_job_are_deleted_with_it_and_others_stay(
    rule: ReplicationRule,
) -> None:
    old_job(rule, JobState.FAILED, LONG_AGO, tries=2)
    kept = old_job(rule, JobState.PENDING, MINUTE, tries=4)
    assert prune(seconds=60).rows == Rows(failed_jobs=1, attempts=2)
    assert set(TransferAttempt.objects.values_list("job_id", flat=True)) == {kept.id}


def test_the_settings_decide_after_how_many_days_jobs_are_deleted(
    rule: ReplicationRule, settings: Settings
) -> None:
    days = {"keep_jobs_days": 2, "keep_failures_days": 4}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=days)
    for age in (2, 3, 5):
        old_job(rule, JobState.COMPLETED, timedelta(days=age))
        old_job(rule, JobState.FAILED, timedelta(days=age))
    assert prune(seconds=60).rows == Rows(finished_jobs=2, failed_jobs=1)


# -- small batches -----------------------------------------------------------------------------


def test_each_transaction_deletes_one_batch_at_most(
    rule: ReplicationRule, batches_of_10: None
) -> None:
    old_jobs(rule, JobState.FAILED, number=25)
    with CaptureQueriesContext(connection) as queries:
        assert prune(seconds=60).rows == Rows(failed_jobs=25)
    statements = [query["sql"] for query in queries]
    deletes = [sql for sql in statements if "DELETE FROM replication_transferjob" in sql]
    sizes = [len(re.findall(r"\d+", sql.partition("'{")[2].partition("}'")[0])) for sql in deletes]
    assert sizes == [10, 10, 5]
    # The five other transactions fold the minutes, and look for ended jobs to move, dead letters,
    # findings and the audit; they delete nothing.
    assert statements.count("BEGIN") == statements.count("COMMIT") == len(deletes) + 5
    assert not any("'{}'" in sql for sql in statements)


def test_pruning_ends_when_its_time_is_up_and_continues_the_next_time(
    rule: ReplicationRule, batches_of_10: None
) -> None:
    old_jobs(rule, JobState.FAILED, number=15)
    first = prune(seconds=0.000_001)
    assert not first.is_complete
    second = prune(seconds=60)
    assert (first.rows + second.rows, second.is_complete) == (Rows(failed_jobs=15), True)


def test_an_index_finds_the_oldest_failed_jobs(rule: ReplicationRule) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_transferjob
                (rule_id, key, state, origin, priority, attempt, attempt_limit, event_at,
                 enqueued_at, available_at, finalized_at)
            SELECT %s, n::text, 'failed', 'event', 0, 0, 10, now(), now(), now(),
                   now() - make_interval(mins => n)
            FROM generate_series(1, 200000, 10) AS n
            """,
            [rule.pk],
        )
        cursor.execute("ANALYZE replication_transferjob")
    with CaptureQueriesContext(connection) as queries:
        prune(seconds=60)
    [select] = [
        sql
        for sql in {query["sql"] for query in queries}
        if sql.startswith("SELECT") and "'failed'" in sql
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {select}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "job_failed" in plan, plan
    assert "Sort" not in plan


def test_a_locked_job_is_left_for_the_next_time(rule: ReplicationRule) -> None:
    locked = old_job(rule, JobState.FAILED, LONG_AGO, tries=1)
    old_job(rule, JobState.FAILED, LONG_AGO)
    with transaction.atomic():
        TransferJob.objects.select_for_update().get(id=locked.id)
        [pruned] = at_once(lambda: prune(seconds=60))
    assert pruned.rows == Rows(failed_jobs=1)
    assert left() == {locked.id}
    assert prune(seconds=60).rows == Rows(failed_jobs=1, attempts=1)


def test_a_locked_finding_and_audit_entry_are_left_for_the_next_time(
    rule: ReplicationRule,
) -> None:
    finding, _ = old_findings(rule, number=2)
    entry, _ = (old_audit_entry(actor) for actor in ("one", "other"))
    with transaction.atomic():
        SweepFinding.objects.select_for_update().get(id=finding.id)
        AuditEntry.objects.select_for_update().get(id=entry.id)
        [pruned] = at_once(lambda: prune(seconds=60))
    assert pruned.rows == Rows(findings=1)
    assert (SweepFinding.objects.get(), AuditEntry.objects.get()) == (finding, entry)
    assert prune(seconds=60).rows == Rows(findings=1)
    assert not AuditEntry.objects.exists()


def test_concurrent_pruners_share_the_work(rule: ReplicationRule, batches_of_10: None) -> None:
    old_jobs(rule, JobState.FAILED, number=200)
    done = at_once(*[lambda: prune(seconds=60)] * 3)
    assert sum(pruned.rows.failed_jobs for pruned in done) == 200
    assert left() == set()


def test_pruning_does_not_disturb_other_work(rule: ReplicationRule, batches_of_10: None) -> None:
    """Jobs of the same keys are made, copied and retried while the old ones are deleted."""
    keys = [f"old/{number}" for number in range(60)]
    for state in (*FINISHED, JobState.FAILED):
        old_jobs(rule, state, number=len(keys))
    produced = threading.Event()

    def produce() -> None:
        for _ in range(20):
            orders = [JobOrder(rule.pk, key) for key in keys]
            jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
        produced.set()

    def work() -> None:
        lane = uuid4()
        done = False
        while not done:
            done = produced.is_set()
            while held := jobs.claim(lane, limit=16, lease_seconds=60):
                jobs.extend_leases(lane, held, lease_seconds=60)
                jobs.complete([(job, Completion(Outcome.COPIED)) for job in held])

    def retry() -> None:
        jobs.retry(TransferJob.objects.filter(rule=rule))

    def prune_all() -> None:
        while not prune(seconds=60).is_complete or count_due():
            pass

    at_once(produce, work, work, retry, prune_all, prune_all)
    assert not count_due()
    waiting = Job.objects.filter(state__in=UNFINISHED).values_list("key", flat=True)
    completed = Job.objects.filter(state=JobState.COMPLETED).values_list("key", flat=True)
    assert set(waiting) | set(completed) == set(keys)


# -- by hand -----------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:
    out = StringIO()
    call_command("prune", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_counts_and_changes_nothing(rule: ReplicationRule) -> None:
    for state in FINISHED:
        old_job(rule, state, LONG_AGO)
    old_job(rule, JobState.FAILED, LONG_AGO, tries=2)
    old_job(rule, JobState.PENDING, MINUTE, tries=2)
    old_letter(LONG_AGO)
    before = left()
    assert run_command("--dry-run").splitlines() == [
        "Would delete finished jobs older than 14 days: 3",
        "Would delete failed jobs older than 90 days: 1",
        "Would delete their unsuccessful tries: 2",
        "Would delete dead letters older than 90 days: 1",
        "Would delete findings of sweeps that ended over 14 days ago: 0",
        "Dry run: nothing was deleted.",
    ]
    assert left() == before
    assert TransferAttempt.objects.count() == 4
    assert DeadLetter.objects.count() == 1
    due = count_due()
    assert prune(seconds=60).rows == due


def test_the_command_says_what_it_deleted(rule: ReplicationRule) -> None:
    old_job(rule, JobState.FAILED, LONG_AGO, tries=1)
    assert run_command().splitlines() == [
        "Deleted finished jobs older than 14 days: 0",
        "Deleted failed jobs older than 90 days: 1",
        "Deleted their unsuccessful tries: 1",
        "Deleted dead letters older than 90 days: 0",
        "Deleted findings of sweeps that ended over 14 days ago: 0",
    ]


def test_the_command_says_that_its_time_was_up(rule: ReplicationRule, batches_of_10: None) -> None:
    old_jobs(rule, JobState.FAILED, number=15)
    assert "The time was up: run it again" in run_command("--seconds", "0.000001")
    assert left()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_the_command_requires_a_positive_time(seconds: str) -> None:
    with pytest.raises(CommandError, match="--seconds must be more than 0"):
        run_command("--seconds", seconds)


# -- by the cluster ----------------------------------------------------------------------------


def test_the_cluster_continues_in_a_new_task_when_the_time_was_too_short(
    rule: ReplicationRule, batches_of_10: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PRUNE_SECONDS", 0)
    old_jobs(rule, JobState.FAILED, number=15)
    tasks.prune()
    assert OrmQ.objects.get().func() == "replication.tasks.prune"
    OrmQ.objects.all().delete()
    monkeypatch.setattr(tasks, "PRUNE_SECONDS", 60)
    tasks.prune()
    assert not OrmQ.objects.exists()
    assert left() == set()


def test_the_cluster_prunes_by_itself_each_hour(rule: ReplicationRule, tmp_path: Path) -> None:
    timer = ClusterTask.objects.filter(name="replication.tasks.prune", due_at__gt=Now())
    with manage("qcluster", directory=tmp_path, S3SYNC_POLL_IN_CLUSTER="false") as cluster:
        for _ in range(2):
            old = old_job(rule, JobState.COMPLETED, LONG_AGO)
            timer.update(due_at=Now())  # an hour has passed
            eventually(lambda: old.id not in left(), unless_ended=cluster)  # noqa: B023
        assert timer.get().due_at > datetime.now(UTC) + timedelta(minutes=50)  # type: ignore[operator]


def test_findings_of_old_sweeps_go_and_the_sweeps_stay(
    rule: ReplicationRule, batches_of_10: None
) -> None:
    now = datetime.now(UTC)
    for state, ended_at in (("completed", now - LONG_AGO), ("failed", now), ("settling", None)):
        sweep = Sweep.objects.create(
            rule=rule, kind="scrub", rule_version=1, state=state, ended_at=ended_at
        )
        SweepFinding.objects.bulk_create(
            [SweepFinding(sweep=sweep, key=f"{number}", verdict="missing") for number in range(25)]
        )
    assert count_due() == Rows(findings=25)
    assert prune(seconds=60).rows == Rows(findings=25)
    assert (Sweep.objects.count(), SweepFinding.objects.count()) == (3, 50)


@pytest.mark.django_db
def test_sessions_that_are_over_are_deleted():
    now = timezone.now()
    for number, left in enumerate((timedelta(minutes=-1), timedelta(hours=1))):
        Session.objects.create(session_key=str(number), session_data="", expire_date=now + left)
    prune(seconds=60)
    assert [session.session_key for session in Session.objects.all()] == ["1"]
