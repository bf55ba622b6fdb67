"""An archived object: failed with a plain reason, or restored, waited for, and copied then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.intake.matching import look_again
from replication.models import (
    ArchivePolicy,
    Job,
    JobState,
    Outcome,
    ReplicationRule,
    TransferAttempt,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.worker import settling
from tests.support.examples import a_job, a_rule
from tests.support.http_origin import http_origin
from tests.support.lanes import lanes
from tests.support.looking import look_at
from tests.support.policies import a_user_who_may
from tests.support.processes import eventually
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a.bin"
RESTORING = ReplicationError(ErrorCode.SOURCE_RESTORING)
ARCHIVED = b"<Error><Code>InvalidObjectState</Code><Message>m</Message></Error>"
GONE = b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>"


@pytest.fixture
def restoring_road(make_road: Callable[..., Road]) -> Road:
    return make_road(archive_policy=ArchivePolicy.RESTORE, restore_days=2)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(archive_policy=ArchivePolicy.RESTORE)


def due_in_hours(job: Job) -> float:
    return (job.available_at - datetime.now(UTC)).total_seconds() / 3600


def copied(road: Road) -> bool:
    """Take what has come from S3, and work on it; whether the replica is there by now."""
    work()
    return road.replica(KEY) is not None


# -- failing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_fails_at_once_with_what_to_do(road: Road, storage_class: str) -> None:
    road.put(KEY, StorageClass=storage_class)
    work()
    job = Job.objects.get()
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.SOURCE_ARCHIVED)
    assert job.error is not None
    assert "until it is restored" in job.error.cause
    assert "x-amz-restore" not in head(road)


def test_what_somebody_restores_is_copied_by_the_event_of_it(road: Road) -> None:
    road.put(KEY, StorageClass="GLACIER")
    work()
    road.s3.restore_object(Bucket=road.source.bucket, Key=KEY, RestoreRequest={"Days": 1})
    eventually(lambda: copied(road))


def head(road: Road) -> dict[str, str]:
    answer = road.s3.head_object(Bucket=road.source.bucket, Key=KEY)
    return dict(answer["ResponseMetadata"]["HTTPHeaders"])


# -- restoring ---------------------------------------------------------------------------------


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_restored_and_copied_when_s3_announces_it(
    restoring_road: Road, storage_class: str
) -> None:
    road = restoring_road
    road.put(KEY, b"cold", StorageClass=storage_class)
    work()
    job = Job.objects.get()
    assert (job.state, job.error_code) == (JobState.PENDING, ErrorCode.SOURCE_RESTORING)
    assert (job.attempt, TransferAttempt.objects.count()) == (0, 0)
    assert 0.9 < due_in_hours(job) <= 1  # no busy waiting
    assert 'ongoing-request="true"' in head(road)["x-amz-restore"]

    eventually(lambda: copied(road))
    job.refresh_from_db()
    assert (job.state, job.outcome, job.error_code) == (JobState.COMPLETED, Outcome.COPIED, "")
    assert road.replica(KEY) == b"cold"
    assert Job.objects.count() == 1


def test_should_the_announcement_get_lost_the_job_looks_by_itself(restoring_road: Road) -> None:
    road = restoring_road
    road.put(KEY, b"cold", StorageClass="GLACIER")
    work()
    eventually(lambda: 'ongoing-request="false"' in head(road)["x-amz-restore"])
    TransferJob.objects.update(available_at=Now())
    assert look_at(road, KEY).outcome == Outcome.COPIED


def test_another_look_while_s3_restores_waits_on(restoring_road: Road) -> None:
    road = restoring_road
    road.put(KEY, StorageClass="GLACIER")
    for _ in range(2):
        job = look_at(road, KEY)
        assert (job.state, job.error_code) == (JobState.PENDING, ErrorCode.SOURCE_RESTORING)
        assert (job.attempt, due_in_hours(job) > 0.9) == (0, True)


def test_an_object_that_replaces_the_archived_one_is_copied_at_once(restoring_road: Road) -> None:
    road = restoring_road
    road.put(KEY, b"cold", StorageClass="GLACIER")
    work()
    road.put(KEY, b"warm")
    work()
    assert road.replica(KEY) == b"warm"


def test_without_the_right_to_restore_a_person_is_asked_for_it(
    restoring_road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = restoring_road
    road.put(KEY, StorageClass="GLACIER")
    rights = ["s3:GetObject", "s3:ListBucket"]
    road.source.credential_profile = a_user_who_may(road.aws, rights, monkeypatch)
    road.source.save()
    job = look_at(road, KEY)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.SOURCE_ACCESS_DENIED)
    assert job.error is not None
    assert "s3:RestoreObject" in job.error.hint


def test_an_object_that_is_deleted_before_it_is_restored_is_looked_at_again(
    restoring_road: Road,
) -> None:
    road = restoring_road
    with http_origin() as s3:
        answers = {}
        for body, status in ((ARCHIVED, "403 Forbidden"), (GONE, "404 Not Found")):
            s3.answers(body, status=status)
            answers[body] = s3.answer
        turns = iter([ARCHIVED])
        s3.answer = lambda _target: answers[next(turns, GONE)]  # type: ignore[assignment, return-value]
        road.source.endpoint_url = s3.url
        road.source.save()
        look_at(road, KEY)
        assert any("?restore" in target for target in s3.targets)
        with lanes():
            eventually(Job.objects.filter(state=JobState.COMPLETED).exists)
    job = Job.objects.get()
    assert job.outcome == Outcome.ABSENT
    assert [attempt.code for attempt in job.tries] == [ErrorCode.SOURCE_CHANGED]


def test_a_large_object_that_was_archived_since_it_was_seen_is_restored(
    restoring_road: Road, limits: Callable[..., None]
) -> None:
    road = restoring_road
    limits(multipart_threshold_bytes=1000)
    road.put(KEY, b"x" * 2000, StorageClass="GLACIER")
    look_again(road.rule, [KEY])
    TransferJob.objects.update(size_bytes=2000)  # as a lane notes that hands over a large one
    work()
    assert Job.objects.get().error_code == ErrorCode.SOURCE_RESTORING
    assert 'ongoing-request="true"' in head(road)["x-amz-restore"]


# -- the wait ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("age_hours", "wait_hours"), [(0, 1), (3, 3), (10, 6)])
def test_the_older_the_change_the_more_seldom_is_it_looked_at(
    rule: ReplicationRule, age_hours: float, wait_hours: float
) -> None:
    a_job(rule, event_at=datetime.now(UTC) - timedelta(hours=age_hours))
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert jobs.await_restore(job, RESTORING) == JobState.PENDING
    assert due_in_hours(Job.objects.get()) == pytest.approx(wait_hours, abs=0.1)


def test_an_event_makes_a_waiting_job_due_at_once(rule: ReplicationRule) -> None:
    a_job(rule, KEY)
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    jobs.await_restore(job, RESTORING)
    assert jobs.claim(uuid4(), limit=1, lease_seconds=60) == []
    assert look_again(rule, [KEY]) == [job.id]
    assert [again.id for again in jobs.claim(uuid4(), limit=1, lease_seconds=60)] == [job.id]


def test_a_job_whose_key_has_a_newer_one_does_not_wait(rule: ReplicationRule) -> None:
    a_job(rule, KEY)
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    look_again(rule, [KEY])
    assert jobs.await_restore(job, RESTORING) == JobState.SUPERSEDED
    assert jobs.await_restore(job, RESTORING) is None
    assert Job.objects.get(id=job.id).finalized_at is not None


def test_what_was_restored_and_has_expired_is_tried_again(rule: ReplicationRule) -> None:
    archived = ReplicationError(ErrorCode.SOURCE_ARCHIVED)
    a_job(rule, KEY)
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert settling.apply_error(job, rule, archived) == JobState.PENDING


def test_who_waits_for_s3_is_seen_and_no_sign_of_being_behind(
    rule: ReplicationRule, admin_client: Client
) -> None:
    a_job(rule, event_at=datetime.now(UTC) - timedelta(hours=2))
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    jobs.await_restore(job, RESTORING)
    status = read_status()
    assert (status.jobs.pending, status.jobs.restoring) == (1, 1)
    assert "rule_behind" not in {problem.code for problem in status.problems}
    for page in ("transferjob/?state=pending", f"transferjob/{job.id}/change/"):
        assert "being restored" in admin_client.get(f"/admin/replication/{page}").content.decode()
    assert "1 being restored" in admin_client.get("/status/").content.decode()
