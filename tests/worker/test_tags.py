"""Tags that change after the upload reach the replica, and its bytes are not copied again."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now

from replication.errors import ErrorCode
from replication.intake.matching import look_again
from replication.mapping.metadata import PROVENANCE_SOURCE
from replication.mapping.ownership import source_mark
from replication.models import ArchivePolicy, Job, JobState, Outcome, TransferJob
from replication.stores.base import RestoreStatus
from replication.stores.factory import source_store
from replication.transfer.attributes import provenance
from replication.transfer.tags import TAGS_SET
from sandbox.oss import Denial, Fault
from tests.support.policies import a_user_who_may
from tests.support.processes import eventually
from tests.support.road import Road, work
from tests.support.sqs import put_event, send

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a.txt"


def tag(road: Road, *, announced: bool = True, **tags: str) -> None:
    """Set the object's tags, and announce it as S3 does: MiniStack sends no event of tags."""
    location = {"Bucket": road.source.bucket, "Key": KEY}
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    if tags:
        road.s3.put_object_tagging(**location, Tagging={"TagSet": pairs})
    else:
        road.s3.delete_object_tagging(**location)
    if announced:
        announce(road, "ObjectTagging:Put" if tags else "ObjectTagging:Delete")


def announce(road: Road, name: str) -> None:
    send(road, put_event(road.source.bucket, KEY, name))


def last_job() -> Job:
    return Job.objects.order_by("-id")[0]


def replica_tags(road: Road) -> dict[str, str]:
    tags: dict[str, str] = road.replicas.get_object_tagging(KEY).tag_set.tagging_rule
    return tags


def puts(road: Road) -> int:
    return len(road.oss.requests(operation="PutObject"))


def tagged_road(road: Road, **arguments: Any) -> Road:
    """The road with an object that has arrived with a tag."""
    road.put(KEY, Tagging="state=new", **arguments)
    work()
    assert replica_tags(road) == {"state": "new"}
    return road


def test_new_tags_are_set_by_one_request_and_nothing_is_copied(road: Road) -> None:
    tagged_road(road)
    copied = Job.objects.get()
    before = len(road.oss.requests())
    tag(road, state="seen", owner="ops")
    work()
    made = [request.operation for request in road.oss.requests()[before:]]
    assert made == ["HeadObject", "PutObjectTagging"]
    assert replica_tags(road) == {"state": "seen", "owner": "ops"}
    job = last_job()
    assert (job.state, job.outcome, job.remarks) == (
        JobState.COMPLETED,
        Outcome.UNCHANGED,
        TAGS_SET,
    )
    assert (job.source_etag, job.destination_etag, job.destination_crc64, job.size_bytes) == (
        copied.source_etag,
        copied.destination_etag,
        copied.destination_crc64,
        copied.size_bytes,
    )


def test_deleted_tags_are_deleted(road: Road) -> None:
    tagged_road(road)
    tag(road)
    work()
    assert replica_tags(road) == {}
    assert puts(road) == 1
    assert last_job().remarks == TAGS_SET


def test_an_object_without_tags_on_either_side_costs_no_write(road: Road) -> None:
    road.put(KEY)
    work()
    announce(road, "ObjectTagging:Delete")
    work()
    assert (last_job().outcome, last_job().remarks) == (Outcome.UNCHANGED, "")
    assert not road.oss.requests(operation="DeleteObjectTagging")


def test_the_tags_of_a_large_object_are_set_too(road: Road, limits: Callable[..., None]) -> None:
    limits(multipart_threshold_bytes=1000, multipart_chunksize_bytes=1_000_000)
    road.put(KEY, b"x" * 2000, Tagging="state=new")
    work()
    tag(road, state="seen")
    work()
    assert replica_tags(road) == {"state": "seen"}
    assert len(road.oss.requests(operation="UploadPart")) == 1


def test_a_full_look_at_a_large_object_that_is_a_copy_sets_its_tags(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(multipart_threshold_bytes=1000, multipart_chunksize_bytes=1_000_000)
    road.put(KEY, b"x" * 2000, Tagging="state=new")
    work()
    tag(road, announced=False, state="seen")
    look_again(road.rule, [KEY])
    work()
    assert replica_tags(road) == {"state": "seen"}
    assert len(road.oss.requests(operation="UploadPart")) == 1


# -- copied in full instead --------------------------------------------------------------------


def test_an_object_that_was_replaced_meanwhile_is_copied(road: Road) -> None:
    tagged_road(road)
    put_unannounced(road, b"other content", "state=other")
    announce(road, "ObjectTagging:Put")
    work()
    assert last_job().outcome == Outcome.COPIED
    assert road.replica(KEY) == b"other content"
    assert replica_tags(road) == {"state": "other"}


def put_unannounced(road: Road, body: bytes, tagging: str, **arguments: Any) -> None:
    """Write the object, and lose the event of it."""
    road.put(KEY, body, Tagging=tagging, **arguments)
    sqs = road.aws.client("sqs")
    eventually(
        lambda: (
            sqs.get_queue_attributes(
                QueueUrl=road.queue.url, AttributeNames=["ApproximateNumberOfMessages"]
            )["Attributes"]["ApproximateNumberOfMessages"]
            != "0"
        )
    )
    sqs.purge_queue(QueueUrl=road.queue.url)


def test_a_key_without_a_replica_is_copied(road: Road) -> None:
    put_unannounced(road, b"content", "state=new")
    announce(road, "ObjectTagging:Put")
    work()
    assert last_job().outcome == Outcome.COPIED
    assert replica_tags(road) == {"state": "new"}


@pytest.mark.parametrize("mark", ["", "another-bucket/a.txt"])
def test_a_replica_that_is_not_marked_as_a_copy_of_the_object_is_replaced(
    road: Road, mark: str
) -> None:
    tagged_road(road)
    headers = {
        name: value
        for name, value in road.replicas.head_object(KEY).headers.items()
        if name.lower().startswith("x-oss-meta-") and not name.lower().endswith("s3sync-source")
    }
    if mark:
        headers["x-oss-meta-s3sync-source"] = mark
    road.replicas.put_object(KEY, b"content", headers=headers)
    tag(road, state="seen")
    work()
    assert last_job().outcome == Outcome.COPIED
    assert replica_tags(road) == {"state": "seen"}


def test_a_replica_that_is_gone_when_its_tags_are_set_is_copied(road: Road) -> None:
    tagged_road(road)
    road.oss.add_fault(Fault(operation="PutObjectTagging", status=404, code="NoSuchKey"))
    tag(road, state="seen")
    work()
    assert last_job().outcome == Outcome.COPIED
    assert replica_tags(road) == {"state": "seen"}


@pytest.mark.parametrize("action", ["oss:GetObject", "oss:DeleteObjectTagging"])
def test_permission_to_write_objects_is_enough(road: Road, action: str) -> None:
    tagged_road(road)
    road.oss.deny(Denial(actions=(action,)))
    tag(road)
    work()
    assert last_job().outcome == Outcome.COPIED
    road.oss.clear_denials()
    assert replica_tags(road) == {}


# -- which tags --------------------------------------------------------------------------------


def test_an_event_of_an_old_version_sets_the_tags_of_the_current_one(road: Road) -> None:
    bucket = road.source.bucket
    road.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    road.put(KEY, b"old", Tagging="state=old")
    old = road.s3.head_object(Bucket=bucket, Key=KEY)["VersionId"]
    tagged_road(road)
    tags = {"TagSet": [{"Key": "state", "Value": "expired"}]}
    road.s3.put_object_tagging(Bucket=bucket, Key=KEY, VersionId=old, Tagging=tags)
    announce(road, "ObjectTagging:Put")
    work()
    assert last_job().outcome == Outcome.UNCHANGED
    assert replica_tags(road) == {"state": "new"}


def test_the_rules_policy_for_tags_is_kept(make_road: Callable[..., Road]) -> None:
    road = tagged_road(make_road(tag_policy="drop"))
    tag(road, state="seen", owner="a@b")
    work()
    assert replica_tags(road) == {"state": "seen"}
    assert "without 'owner'" in last_job().remarks
    road.rule.tag_policy = "fail"
    road.rule.save()
    announce(road, "ObjectTagging:Put")
    work()
    assert last_job().error_code == ErrorCode.METADATA_INCOMPATIBLE


def test_tags_that_may_not_be_read_leave_the_replica_as_it_is(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged_road(road)
    allowed = ["s3:GetObject", "s3:ListBucket"]
    road.source.credential_profile = a_user_who_may(road.aws, allowed, monkeypatch)
    road.source.save()
    tag(road, state="seen")
    work()
    assert last_job().outcome == Outcome.UNCHANGED
    assert "the source denies access" in last_job().remarks
    assert replica_tags(road) == {"state": "new"}


# -- as every look at a key --------------------------------------------------------------------


@pytest.mark.parametrize("policy", [ArchivePolicy.FAIL, ArchivePolicy.RESTORE])
def test_the_tags_of_an_archived_object_are_set_without_a_restore(
    make_road: Callable[..., Road], policy: ArchivePolicy
) -> None:
    road = make_road(archive_policy=policy)
    put_unannounced(road, b"content", "state=new", StorageClass="GLACIER")
    # Copied before a lifecycle rule archived it, which leaves its ETag and time as they were.
    info = source_store(road.source).head(KEY)
    mark = {PROVENANCE_SOURCE: source_mark(road.source.location, KEY)}
    marks = {f"x-oss-meta-{n}": v for n, v in (provenance(info) | mark).items()}
    road.replicas.put_object(KEY, b"content", headers=marks)
    tag(road, state="seen")
    work()
    assert (last_job().outcome, last_job().error_code) == (Outcome.UNCHANGED, "")
    assert replica_tags(road) == {"state": "seen"}
    assert source_store(road.source).head(KEY).restore == RestoreStatus.NONE


def test_an_event_of_tags_of_a_missing_object_is_a_look_like_any_other(
    make_road: Callable[..., Road],
) -> None:
    road = tagged_road(make_road(delete_policy="mirror"))
    road.s3.delete_object(Bucket=road.source.bucket, Key=KEY)
    announce(road, "ObjectTagging:Put")
    work()
    assert road.replica(KEY) is None


def test_an_answer_that_never_came_is_followed_by_another_look(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(retry_base_seconds=0.01)
    tagged_road(road)
    road.oss.add_fault(Fault(operation="PutObjectTagging", when="after", reset=True))
    tag(road, state="seen")
    work()
    job = Job.objects.exclude(write_in_doubt_until=None).earliest("id")
    assert job.only_tags
    TransferJob.objects.filter(state=JobState.PENDING).update(available_at=Now())
    work()
    assert replica_tags(road) == {"state": "seen"}
    assert puts(road) == 1
