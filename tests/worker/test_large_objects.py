"""A large object goes in parts that lanes share; parts that are at OSS are not copied again."""

import random
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from replication import jobs
from replication.errors import ErrorCode
from replication.intake.matching import look_again
from replication.jobs import uploads
from replication.jobs.rate_limits import MIN_WIDTH
from replication.models import (
    Destination,
    Job,
    JobState,
    MultipartUpload,
    Outcome,
    Source,
    SourceKind,
    TransferJob,
    UploadPart,
    UploadToAbort,
)
from replication.stores.checksums import CRC64
from sandbox.oss import Fault
from tests.support.http_origin import http_origin
from tests.support.lanes import lanes, lanes_until
from tests.support.policies import a_user_who_may
from tests.support.processes import eventually
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024**2
CONTENT = random.Random(4).randbytes(5 * MIB + 12_345)


@pytest.fixture(autouse=True)
def small_parts(limits: Callable[..., None]) -> None:
    limits(
        multipart_threshold_bytes=MIB,
        multipart_chunksize_bytes=MIB,
        lane_concurrency=4,
        retry_base_seconds=0.1,
        lease_seconds=5,
    )


def completed(count: int = 1) -> Callable[[], bool]:
    return lambda: Job.objects.filter(state=JobState.COMPLETED).count() == count


def copy(road: Road, key: str = "a") -> Job:
    """Look at the key until its job is settled; returns the job."""
    [job_id] = look_again(road.rule, [key])
    job = Job.objects.filter(id=job_id)
    lanes_until(job.filter(state__in=[JobState.COMPLETED, JobState.FAILED]).exists)
    return job.get()


def test_a_large_object_arrives_whole_with_all_that_belongs_to_it(road: Road) -> None:
    road.put(
        "a",
        CONTENT,
        ContentType="video/mp4",
        Metadata={"taken-by": "me"},
        Tagging="year=2026",
    )
    job = copy(road)
    assert (job.outcome, job.size_bytes) == (Outcome.COPIED, len(CONTENT))
    assert job.source_crc64 == job.destination_crc64 == str(CRC64.calc(CONTENT))
    answer = road.replicas.get_object("a")
    assert answer.read() == CONTENT
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-oss-meta-taken-by"] == "me"
    assert road.replicas.get_object_tagging("a").tag_set.tagging_rule == {"year": "2026"}
    assert [r.operation for r in road.oss.requests()].count("UploadPart") == 6
    assert not MultipartUpload.objects.exists()


def test_a_large_object_that_was_handed_over_arrives_with_its_tags(road: Road) -> None:
    road.put("a", CONTENT, Tagging="year=2026")
    headers = road.s3.head_object(Bucket=road.source.bucket, Key="a")["ResponseMetadata"]
    assert "x-amz-tagging-count" not in headers["HTTPHeaders"], "this source tells it by HEAD"
    look_again(road.rule, ["a"])
    TransferJob.objects.update(size_bytes=len(CONTENT))  # as a hand-over leaves it
    with lanes():
        eventually(completed())
    assert road.replicas.get_object_tagging("a").tag_set.tagging_rule == {"year": "2026"}


def test_a_large_object_whose_tags_may_not_be_read_is_copied_and_says_so(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.put("a", CONTENT)
    road.source.credential_profile = a_user_who_may(road.aws, ["s3:GetObject"], monkeypatch)
    road.source.save()
    job = copy(road)
    assert job.outcome == Outcome.COPIED
    assert "without tags" in job.remarks


def test_the_sources_own_checksum_of_the_whole_is_compared(road: Road) -> None:
    road.put("a", CONTENT, ChecksumAlgorithm="CRC32")
    job = copy(road)
    assert job.source_checksum.startswith("CRC32 ")


def test_a_replica_that_is_a_copy_already_is_not_copied_again(road: Road) -> None:
    road.put("a", CONTENT)
    copy(road)
    job = copy(road)
    assert job.outcome == Outcome.UNCHANGED
    assert [r.operation for r in road.oss.requests()].count("UploadPart") == 6


def test_credentials_that_may_only_write_are_enough(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="HeadObject", status=403, code="AccessDenied", times=None))
    assert copy(road).outcome == Outcome.COPIED


def test_the_same_bytes_with_other_metadata_are_copied(road: Road) -> None:
    road.put("a", CONTENT, ContentType="a/b")
    copy(road)
    road.put("a", CONTENT, ContentType="c/d")
    assert copy(road).outcome == Outcome.COPIED
    assert road.replicas.head_object("a").headers["content-type"] == "c/d"


def test_a_part_that_fails_is_carried_again_and_no_other(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", status=500, code="InternalError", times=2))
    job = copy(road)
    assert (job.outcome, job.attempt) == (Outcome.COPIED, 0)
    assert road.replica("a") == CONTENT
    assert [r.operation for r in road.oss.requests()].count("UploadPart") == 8


def test_a_part_that_arrives_altered_is_carried_again(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", wrong_crc=True))
    job = copy(road)
    assert job.outcome == Outcome.COPIED
    assert road.replica("a") == CONTENT


def test_parts_refused_for_good_end_the_jobs_try_with_their_reason(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", status=403, code="AccessDenied", times=20))
    job = copy(road)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.DESTINATION_ACCESS_DENIED)


def test_parts_at_oss_are_not_carried_again_by_the_retry(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(
        Fault(operation="UploadPart", status=403, code="AccessDenied", skip=3, times=None)
    )
    copy(road)
    there = UploadPart.objects.exclude(etag="").count()
    assert there >= 1
    road.oss.clear_faults()
    before = [r.operation for r in road.oss.requests()].count("UploadPart")
    jobs.retry(TransferJob.objects.all())
    lanes_until(completed())
    after = [r.operation for r in road.oss.requests()].count("UploadPart")
    assert after - before == 6 - there
    assert road.replica("a") == CONTENT


def test_two_lanes_carry_the_parts_of_one_object(road: Road) -> None:
    road.put("a", CONTENT)
    # One lane may hold three of the six parts.
    road.oss.add_fault(Fault(operation="UploadPart", hold=True, times=None))
    look_again(road.rule, ["a"])
    with lanes(count=2):
        eventually(lambda: road.oss.held_requests == 6)
        carriers = UploadPart.objects.values_list("claimed_by", flat=True)
        assert len(set(carriers)) == 2
        road.oss.clear_faults()
        eventually(completed())
    assert road.replica("a") == CONTENT


def test_a_lane_whose_time_is_up_lets_another_lead(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", delay_seconds=0.5, times=100))
    look_again(road.rule, ["a"])
    lanes_until(completed(), seconds=0.4)
    job = Job.objects.get()
    assert job.attempt == 0
    assert [r.operation for r in road.oss.requests()].count("InitiateMultipartUpload") == 1
    assert [r.operation for r in road.oss.requests()].count("UploadPart") == 6
    assert road.replica("a") == CONTENT


def test_a_source_that_changes_while_it_is_copied_is_copied_as_it_is_then(road: Road) -> None:
    new = CONTENT[::-1]
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", hold=True, skip=3, times=3))
    look_again(road.rule, ["a"])
    with lanes():
        eventually(lambda: road.oss.held_requests == 3)
        road.put("a", new)
        look_again(road.rule, ["a"])
        road.oss.clear_faults()
        eventually(lambda: road.replica("a") == new)
    # The first upload was completed before the change was seen, or it is aborted later.
    unfinished = [each.upload_id for each in road.replicas.list_multipart_uploads().upload_list]
    assert unfinished == [*UploadToAbort.objects.values_list("upload_id", flat=True)]
    codes = {attempt.code for job in Job.objects.all() for attempt in job.tries}
    assert codes <= {ErrorCode.SOURCE_CHANGED}


def test_an_upload_whose_completion_got_no_answer_counts_as_completed(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="CompleteMultipartUpload", when="after", reset=True))
    job = copy(road)
    assert job.outcome in {Outcome.COPIED, Outcome.UNCHANGED}
    assert [r.operation for r in road.oss.requests()].count("UploadPart") == 6
    assert road.replica("a") == CONTENT


def test_a_destination_that_throttles_parts_is_given_fewer_and_gets_them_all(road: Road) -> None:
    road.put("a", CONTENT)
    throttled = Fault(
        operation="UploadPart",
        status=503,
        code="UploadTrafficRateLimitExceeded",
        qos_delay_ms=200,
        times=3,
    )
    road.oss.add_fault(throttled)
    job = copy(road)
    assert (job.outcome, job.attempt) == (Outcome.COPIED, 0)
    assert road.replica("a") == CONTENT
    assert Destination.objects.get().width == MIN_WIDTH


def test_a_source_that_ignores_ranges_is_copied_in_one_piece(road: Road) -> None:
    with http_origin() as web:
        web.answers(CONTENT, ETag='"strong"', Accept_Ranges="bytes")
        road.rule.source = Source.objects.create(
            name="web", kind=SourceKind.HTTP, endpoint_url=web.url
        )
        road.rule.save()
        job = copy(road)
    assert (job.outcome, job.attempt) == (Outcome.COPIED, 0)
    assert road.replica("a") == CONTENT
    assert [r.operation for r in road.oss.requests()].count("PutObject") == 1


def test_many_large_objects_leave_places_for_small_ones(road: Road) -> None:
    large = [f"large/{number}" for number in range(8)]
    for key in large:
        road.put(key, CONTENT)
    road.put("small", b"small")
    road.oss.add_fault(Fault(operation="UploadPart", hold=True, times=None))
    look_again(road.rule, large)
    with lanes():
        eventually(lambda: road.oss.held_requests == 3)  # three quarters of the lane's places
        look_again(road.rule, ["small"])
        eventually(lambda: road.replica("small") == b"small")
        assert road.oss.held_requests == 3
        road.oss.clear_faults()
        eventually(completed(9))
    assert all(road.replica(key) == CONTENT for key in large)


def test_a_zombies_part_changes_nothing(road: Road) -> None:
    road.put("a", CONTENT)
    road.oss.add_fault(Fault(operation="UploadPart", status=403, code="AccessDenied", times=50))
    copy(road)
    road.oss.clear_faults()
    jobs.retry(TransferJob.objects.all())
    assert jobs.claim(uuid4(), limit=1, lease_seconds=60)
    MultipartUpload.objects.update(error_code="")
    UploadPart.objects.update(available_at=Now())
    lane = uuid4()
    [part] = uploads.claim_parts(lane, limit=1, lease_seconds=60)
    UploadPart.objects.filter(id=part.id).update(attempt=part.token + 1)
    assert uploads.extend_leases(lane, [part], lease_seconds=60) == set()
    uploads.put_back(part)
    row = UploadPart.objects.get(id=part.id)
    assert (row.claimed_by, row.etag) == (lane, "")


def test_a_large_object_does_not_wait_for_the_small_ones_behind_it(
    make_road: Callable[..., Road], limits: Callable[..., None]
) -> None:
    limits(lane_concurrency=4, multipart_threshold_bytes=MIB, multipart_chunksize_bytes=MIB)
    roads = [make_road(destination_prefix=f"{number}/") for number in range(3)]
    road = roads[0]
    road.put("large", b"x" * (12 * MIB))
    look_again(road.rule, ["large"])
    for each in roads:  # together, they can fill every place of the lane
        look_again(each.rule, [f"absent {number}" for number in range(1000)])
    large = Job.objects.filter(key="large", state=JobState.COMPLETED)
    small = Job.objects.filter(state=JobState.COMPLETED).exclude(key="large")
    with lanes():
        eventually(large.exists)
        assert small.count() < 1500


def test_a_handed_over_job_keeps_its_turn(road: Road) -> None:
    look_again(road.rule, ["first"])
    [job] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    look_again(road.rule, ["second"])
    assert jobs.hand_over(job)
    [again] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert again.key == "first"
