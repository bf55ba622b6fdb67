"""Uploads that no job will complete are aborted at OSS, and only those that our tables name."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import oss2
import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ

from replication import jobs, tasks
from replication.cluster import loops
from replication.cluster.ipc import Flag
from replication.errors import ErrorCode
from replication.intake.matching import look_again
from replication.jobs import aborting, uploads
from replication.models import (
    Destination,
    Job,
    JobState,
    MultipartUpload,
    ReplicationRule,
    TransferJob,
    UploadPart,
    UploadToAbort,
)
from replication.operations.stale_uploads import STALE_AFTER, abort_due, give_up_stale
from sandbox.oss import Fault
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.lanes import lanes, lanes_until
from tests.support.processes import eventually
from tests.support.road import OSS_REGION, Log, Road
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024**2
CONTENT = random.Random(13).randbytes(2 * MIB + 7)
ENDED = [JobState.COMPLETED, JobState.FAILED]
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def small_parts(limits: Callable[..., None]) -> None:
    limits(
        multipart_threshold_bytes=MIB,
        multipart_chunksize_bytes=MIB,
        lane_concurrency=4,
        retry_base_seconds=0.1,
        lease_seconds=5,
    )


def an_upload(road: Road, key: str = "a") -> MultipartUpload:
    """An upload of ours: OSS has its first part, and the database its record."""
    upload_id = road.replicas.init_multipart_upload(key).upload_id
    road.replicas.upload_part(key, upload_id, 1, b"part")
    upload = MultipartUpload.objects.create(
        rule=road.rule,
        key=key,
        destination=road.destination,
        **MultipartUpload.location_of(road.destination),
        destination_key=key,
        upload_id=upload_id,
        began_at=timezone.now(),
        size_bytes=len(CONTENT),
        part_size_bytes=MIB,
        source_etag="e",
    )
    UploadPart.objects.create(upload=upload, number=1, available_at=timezone.now())
    return upload


def an_upload_to_abort(road: Road, key: str = "a") -> UploadToAbort:
    """An upload of ours whose record is gone, and which is due."""
    upload = an_upload(road, key)
    upload.delete()
    all_are_due()
    return UploadToAbort.objects.get(upload_id=upload.upload_id)


def all_are_due() -> None:
    """Let so much time have passed that each upload to abort is due."""
    long_ago = timezone.now() - timedelta(days=1)
    UploadToAbort.objects.update(noted_at=long_ago, next_try_at=long_ago)


def a_copy_that_failed(road: Road, key: str = "a") -> MultipartUpload:
    """The upload of a large object whose job has failed in its midst."""
    road.put(key, CONTENT)
    denied = Fault(operation="UploadPart", skip=1, status=403, code="AccessDenied", times=None)
    road.oss.add_fault(denied)
    look_again(road.rule, [key])
    lanes_until(Job.objects.filter(key=key, state__in=ENDED).exists)
    road.oss.clear_faults()
    return MultipartUpload.objects.get(key=key)


def retry(road: Road) -> None:
    jobs.retry(TransferJob.objects.filter(state=JobState.FAILED))
    lanes_until(lambda: not Job.objects.exclude(state=JobState.COMPLETED).exists())


def at_oss(road: Road, *, bucket: str = "replica") -> list[str]:
    """The ids of the unfinished uploads that OSS has."""
    auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
    client = oss2.Bucket(auth, road.oss.endpoint, bucket, region=OSS_REGION)
    return [upload.upload_id for upload in client.list_multipart_uploads().upload_list]


def operations(road: Road) -> list[str]:
    return [request.operation for request in road.oss.requests()]


# -- what is noted -----------------------------------------------------------------------------


def delete_by_sql(upload: MultipartUpload) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM replication_uploadpart")
        cursor.execute("DELETE FROM replication_multipartupload WHERE id = %s", [upload.pk])


WAYS: dict[str, Callable[[MultipartUpload], Any]] = {
    "its record is deleted": lambda upload: upload.delete(),
    "records are deleted by a query": lambda upload: MultipartUpload.objects.all().delete(),
    "records are deleted by SQL": delete_by_sql,
    "its rule is deleted": lambda upload: upload.rule.delete(),
    "rules are deleted by a query": lambda upload: ReplicationRule.objects.all().delete(),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_an_upload_is_noted_whichever_way_its_record_goes(
    road: Road, way: Callable[[MultipartUpload], Any]
) -> None:
    upload = an_upload(road)
    way(upload)
    noted = UploadToAbort.objects.get()
    assert (noted.upload_id, noted.destination_key) == (upload.upload_id, "a")
    assert (noted.endpoint, noted.bucket) == (road.oss.endpoint, "replica")
    assert (noted.region, noted.addressing) == (OSS_REGION, road.destination.addressing)
    assert noted.credential_profile == "default"


def test_a_delete_that_is_rolled_back_notes_nothing(road: Road) -> None:
    upload = an_upload(road)
    with transaction.atomic():
        upload.delete()
        transaction.set_rollback(True)
    assert MultipartUpload.objects.exists()
    assert not UploadToAbort.objects.exists()


def test_an_upload_that_a_cluster_of_the_version_before_records_is_noted_with_its_place(
    road: Road,
) -> None:
    upload = an_upload(road)
    row: dict[str, Any] = {**MultipartUpload.objects.filter(pk=upload.pk).values().get()}
    for name in MultipartUpload.location_of(road.destination):
        del row[name]
    UploadPart.objects.all().delete()
    MultipartUpload.objects.all().delete()
    UploadToAbort.objects.all().delete()
    MultipartUpload.objects.create(**row)
    MultipartUpload.objects.all().delete()
    noted = UploadToAbort.objects.get()
    assert (noted.endpoint, noted.bucket) == (road.oss.endpoint, "replica")


def test_a_completed_upload_is_never_noted(road: Road) -> None:
    road.put("a", CONTENT)
    with connection.cursor() as cursor:  # a row that came and went would be seen, too
        cursor.execute("SELECT last_value, is_called FROM replication_uploadtoabort_id_seq")
        before = cursor.fetchone()
        look_again(road.rule, ["a"])
        lanes_until(Job.objects.filter(state=JobState.COMPLETED).exists)
        cursor.execute("SELECT last_value, is_called FROM replication_uploadtoabort_id_seq")
        assert cursor.fetchone() == before
    assert not MultipartUpload.objects.exists()
    assert "AbortMultipartUpload" not in operations(road)


def test_an_upload_begun_by_a_lane_that_lost_its_job_is_noted_and_replaces_nothing(
    road: Road,
) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="InitiateMultipartUpload", when="after", hold=True))
    look_again(road.rule, ["a"])
    with lanes():
        eventually(lambda: road.oss.held_requests == 1)
        [too_late] = at_oss(road)
        # Another lane has claimed the job since, and has begun an upload.
        later = timezone.now() + timedelta(hours=1)
        job = TransferJob.objects.get()
        TransferJob.objects.update(token=job.token + 1, lease_expires_at=later)
        theirs = an_upload(road)
        road.oss.clear_faults()
        eventually(UploadToAbort.objects.exists)
    assert UploadToAbort.objects.get().upload_id == too_late
    assert MultipartUpload.objects.get() == theirs


def test_recording_an_upload_twice_does_not_note_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lane does after the answer to its commit was lost."""
    begun = []
    begin = uploads.begin

    def begin_twice(*args: Any, **named: Any) -> MultipartUpload | None:
        begun.extend([begin(*args, **named), begin(*args, **named)])
        return begun[-1]

    monkeypatch.setattr("replication.jobs.uploads.begin", begin_twice)
    road.put("a", CONTENT)
    look_again(road.rule, ["a"])
    lanes_until(Job.objects.filter(state__in=ENDED).exists)
    assert begun[0] == begun[1]
    assert not UploadToAbort.objects.exists()
    assert road.replica("a") == CONTENT


# -- edits of the configuration ----------------------------------------------------------------


def test_an_upload_is_aborted_after_an_edit_of_the_prefix_and_the_key_is_copied_anew(
    road: Road,
) -> None:
    upload = a_copy_that_failed(road)
    ReplicationRule.objects.update(destination_prefix="new/")
    retry(road)
    assert road.replica("new/a") == CONTENT
    assert at_oss(road) == [upload.upload_id]
    all_are_due()
    assert abort_due(seconds=10) == 1
    assert at_oss(road) == []
    assert not UploadToAbort.objects.exists()


def test_an_upload_is_aborted_after_rule_and_destination_are_deleted(road: Road) -> None:
    a_copy_that_failed(road)
    TransferJob.objects.all().delete()
    road.rule.delete()
    road.destination.delete()
    assert len(at_oss(road)) == 1
    all_are_due()
    assert abort_due(seconds=10) == 1
    assert at_oss(road) == []


def test_an_upload_is_aborted_where_it_was_begun_after_the_destination_leads_elsewhere(
    road: Road,
) -> None:
    upload = a_copy_that_failed(road)
    auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
    other = oss2.Bucket(auth, road.oss.endpoint, "other", region=OSS_REGION)
    other.create_bucket()
    Destination.objects.update(bucket="other")
    retry(road)
    assert other.get_object("a").read() == CONTENT
    assert at_oss(road) == [upload.upload_id]
    all_are_due()
    assert abort_due(seconds=10) == 1
    assert at_oss(road) == []


def test_an_abort_uses_credentials_that_were_corrected_since(road: Road) -> None:
    Destination.objects.update(credential_profile="gone")
    road.destination.refresh_from_db()
    an_upload_to_abort(road)
    assert abort_due(seconds=10) == 0
    assert UploadToAbort.objects.get().error_code == ErrorCode.CREDENTIAL_PROFILE
    Destination.objects.update(credential_profile="default")
    all_are_due()
    assert abort_due(seconds=10) == 1


# -- never another program's -------------------------------------------------------------------


def test_another_programs_upload_of_the_same_key_is_left_alone(road: Road) -> None:
    foreign = road.replicas.init_multipart_upload("a").upload_id
    road.replicas.upload_part("a", foreign, 1, b"theirs")
    a_copy_that_failed(road)
    retry(road)
    assert road.replica("a") == CONTENT
    UploadToAbort.objects.all().update(noted_at=timezone.now() - timedelta(days=1))
    give_up_stale()
    abort_due(seconds=10)
    listed = operations(road).count("ListMultipartUploads")
    assert at_oss(road) == [foreign]
    assert listed == 0
    road.replicas.complete_multipart_upload(
        "a", foreign, road.replicas.list_parts("a", foreign).parts
    )
    assert road.replica("a") == b"theirs"


# -- stale uploads -----------------------------------------------------------------------------


def test_an_upload_without_a_job_is_given_up_after_a_day_and_aborted(road: Road) -> None:
    upload = a_copy_that_failed(road)
    give_up_stale()
    assert MultipartUpload.objects.exists(), "a retry may still go on with it"
    MultipartUpload.objects.update(began_at=upload.began_at - STALE_AFTER)
    tasks.prune()
    assert not MultipartUpload.objects.exists()
    all_are_due()
    tasks.prune()
    assert not UploadToAbort.objects.exists()
    assert at_oss(road) == []


def test_an_upload_whose_job_is_pending_or_running_is_not_given_up(road: Road) -> None:
    upload = a_copy_that_failed(road)
    MultipartUpload.objects.update(began_at=upload.began_at - STALE_AFTER)
    jobs.retry(TransferJob.objects.all())
    give_up_stale()
    assert MultipartUpload.objects.exists()


def test_uploads_that_are_due_are_aborted_within_minutes(road: Road) -> None:
    an_upload_to_abort(road)
    OrmQ.objects.all().delete()
    tasks.revive()
    assert "replication.tasks.abort_uploads" in [task.func() for task in OrmQ.objects.all()]
    tasks.abort_uploads()
    assert at_oss(road) == []
    OrmQ.objects.all().delete()
    tasks.revive()
    assert "replication.tasks.abort_uploads" not in [task.func() for task in OrmQ.objects.all()]


# -- aborts ------------------------------------------------------------------------------------


def test_an_abort_waits_until_no_part_can_be_under_way(road: Road) -> None:
    an_upload(road).delete()
    assert not aborting.is_due()
    assert abort_due(seconds=10) == 0
    UploadToAbort.objects.update(noted_at=timezone.now() - aborting.settles_after())
    assert aborting.is_due()
    assert abort_due(seconds=10) == 1


def test_an_upload_stays_noted_with_the_error_while_oss_can_not_be_reached(
    road: Road, logged: Log
) -> None:
    an_upload_to_abort(road)
    road.oss.add_fault(Fault(operation="AbortMultipartUpload", reset=True, times=None))
    assert abort_due(seconds=10) == 0
    noted = UploadToAbort.objects.get()
    assert (noted.error_code, noted.tries) == (ErrorCode.DESTINATION_UNREACHABLE, 1)
    assert noted.error_detail
    assert "upload.not_aborted" in logged.text
    assert abort_due(seconds=10) == 0
    assert operations(road).count("AbortMultipartUpload") == 1, "it is tried again later"
    road.oss.clear_faults()
    all_are_due()
    assert abort_due(seconds=10) == 1
    assert at_oss(road) == []


def test_the_waits_between_the_tries_grow_up_to_a_limit(road: Road) -> None:
    an_upload_to_abort(road)
    waits = []
    for _ in range(40):
        all_are_due()
        upload = aborting.claim()
        assert upload is not None
        upload.refresh_from_db()
        waits.append(round((upload.next_try_at - timezone.now()).total_seconds() / 60))
    assert waits == [2, 4, 8, 16, 32, *[60] * 35]


def test_an_upload_that_oss_does_not_know_is_no_longer_noted(road: Road) -> None:
    noted = an_upload_to_abort(road)
    road.replicas.abort_multipart_upload("a", noted.upload_id)
    assert abort_due(seconds=10) == 1
    assert not UploadToAbort.objects.exists()


def test_an_upload_whose_bucket_is_gone_is_no_longer_noted(road: Road) -> None:
    noted = an_upload_to_abort(road)
    road.replicas.abort_multipart_upload("a", noted.upload_id)
    road.replicas.delete_bucket()
    assert abort_due(seconds=10) == 1
    assert not UploadToAbort.objects.exists()


def test_an_abort_that_died_before_it_was_recorded_is_tried_again(road: Road) -> None:
    noted = an_upload_to_abort(road)
    assert aborting.claim() == noted
    road.replicas.abort_multipart_upload("a", noted.upload_id)
    assert abort_due(seconds=10) == 0, "whoever claimed it may still be at it"
    all_are_due()
    assert abort_due(seconds=10) == 1


def test_callers_at_the_same_time_share_the_aborts(road: Road) -> None:
    for number in range(12):
        an_upload_to_abort(road, f"key-{number}")
    assert sum(at_once(*[lambda: abort_due(seconds=30)] * 4)) == 12
    assert operations(road).count("AbortMultipartUpload") == 12
    assert at_oss(road) == []
    assert not UploadToAbort.objects.exists()


def test_an_endpoint_that_is_away_is_asked_once_and_holds_up_no_other(road: Road) -> None:
    away = Destination(
        name="away", bucket="bucket", endpoint=NOBODY_LISTENS, region="r", addressing="path", pk=0
    )
    for number in range(3):
        aborting.note(away, destination_key="a", upload_id=f"{number}")
    an_upload_to_abort(road)
    assert abort_due(seconds=10) == 1
    assert at_oss(road) == []
    assert UploadToAbort.objects.filter(error_code=ErrorCode.DESTINATION_UNREACHABLE).count() == 1


def test_aborting_ends_when_its_time_is_up(road: Road) -> None:
    an_upload_to_abort(road)
    assert abort_due(seconds=0) == 0
    assert UploadToAbort.objects.get().tries == 0


def test_aborting_ends_when_the_cluster_is_being_stopped(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_upload_to_abort(road)
    monkeypatch.setattr(loops, "_told_to_stop", Flag())
    loops.tell_to_stop()
    assert abort_due(seconds=10) == 0
    assert UploadToAbort.objects.get().tries == 0
