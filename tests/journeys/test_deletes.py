"""Whether an object is deleted, expires or is revived, its replica ends up equal to the source.

If the source's answer is unclear, the replica stays.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
from replication.models import (
    DeletePolicy,
    Job,
    JobState,
    Outcome,
    TransferAttempt,
)
from tests.support.http_origin import http_origin
from tests.support.looking import look_at
from tests.support.processes import eventually
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "photos/a b+c.jpg"


@pytest.fixture(autouse=True)
def late_retries(settings: Settings) -> None:
    """Make retries so late that no test sees a second try by chance."""
    limits = {"retry_base_seconds": 1e6, "retry_cap_seconds": 1e6}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=limits)


class Bucket:
    """The source bucket, as its owner uses it."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.location = {"Bucket": road.source.bucket, "Key": KEY}

    def set_versioning(self, status: str) -> None:
        self.road.s3.put_bucket_versioning(
            Bucket=self.road.source.bucket, VersioningConfiguration={"Status": status}
        )

    def put(self, body: bytes) -> str:
        """Put the object; returns the version's id, empty if the bucket is not versioned."""
        answer = self.road.s3.put_object(**self.location, Body=body)
        return str(answer.get("VersionId", ""))

    def delete(self, version_id: str = "") -> str:
        """Delete the object or a version; returns the delete marker's version id, if any."""
        version = {"VersionId": version_id} if version_id else {}
        answer = self.road.s3.delete_object(**self.location, **version)
        return str(answer.get("VersionId", ""))

    def delete_in_a_batch(self) -> None:
        self.road.s3.delete_objects(
            Bucket=self.road.source.bucket, Delete={"Objects": [{"Key": KEY}]}
        )

    def content(self) -> bytes | None:
        try:
            return bytes(self.road.s3.get_object(**self.location)["Body"].read())
        except self.road.s3.exceptions.NoSuchKey:
            return None


def events(road: Road) -> list[str]:
    """Remove the messages from the queue without processing them; returns the events' names."""
    sqs, names = road.aws.client("sqs"), []
    while messages := sqs.receive_message(
        QueueUrl=road.queue.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
    ).get("Messages"):
        for message in messages:
            body = json.loads(message["Body"])
            names += [record["eventName"] for record in body.get("Records", [])]
            sqs.delete_message(QueueUrl=road.queue.url, ReceiptHandle=message["ReceiptHandle"])
    return names


def announce(road: Road, name: str) -> None:
    """Send S3's message of an event that the stand-in can't cause."""
    record = {
        "eventVersion": "2.3",
        "eventName": name,
        "s3": {
            "bucket": {"name": road.source.bucket},
            "object": {"key": "photos/a+b%2Bc.jpg", "sequencer": "0055AED6DCD90281E5"},
        },
    }
    body = json.dumps({"Records": [record]})
    road.aws.client("sqs").send_message(QueueUrl=road.queue.url, MessageBody=body)


def process_the_event() -> None:
    """Wait until an event arrives in the queue, and process it."""
    jobs = Job.objects.count()

    def is_processed() -> bool:
        work()
        return Job.objects.count() > jobs

    eventually(is_processed)


# -- how a bucket's owner deletes or revives an object ------------------------------------------


def unversioned_delete(bucket: Bucket) -> None:
    bucket.put(b"1")
    work()
    bucket.delete()


def unversioned_batch_delete(bucket: Bucket) -> None:
    bucket.put(b"1")
    work()
    bucket.delete_in_a_batch()


def a_delete_marker(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    bucket.put(b"1")
    work()
    bucket.delete()


def a_marker_on_a_marker(bucket: Bucket) -> None:
    a_delete_marker(bucket)
    work()
    bucket.delete()
    announce(bucket.road, "ObjectRemoved:DeleteMarkerCreated")  # the stand-in does not send it


def the_null_marker_of_a_suspended_bucket(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    bucket.put(b"1")
    work()
    bucket.set_versioning("Suspended")
    bucket.delete()


def an_old_version_deleted(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    old = bucket.put(b"1")
    bucket.put(b"2")
    work()
    bucket.delete(old)


def the_newest_version_deleted(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    bucket.put(b"1")
    newest = bucket.put(b"2")
    work()
    bucket.delete(newest)


def the_only_version_deleted(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    only = bucket.put(b"1")
    work()
    bucket.delete(only)


def a_marker_removed(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    bucket.put(b"1")
    work()
    marker = bucket.delete()
    work()
    assert bucket.road.replica(KEY) is None
    bucket.delete(marker)


def a_version_deleted_under_a_marker(bucket: Bucket) -> None:
    bucket.set_versioning("Enabled")
    only = bucket.put(b"1")
    work()
    bucket.delete()
    work()
    bucket.delete(only)


def deleted_and_put_again(bucket: Bucket) -> None:
    bucket.put(b"1")
    work()
    bucket.delete()
    bucket.put(b"2")


# Changes of the object, each with the object's content in the end.
CHANGES: list[tuple[Callable[[Bucket], None], bytes | None]] = [
    (unversioned_delete, None),
    (unversioned_batch_delete, None),
    (a_delete_marker, None),
    (a_marker_on_a_marker, None),
    (the_null_marker_of_a_suspended_bucket, None),
    (an_old_version_deleted, b"2"),
    (the_newest_version_deleted, b"1"),
    (the_only_version_deleted, None),
    (a_marker_removed, b"1"),
    (a_version_deleted_under_a_marker, None),
    (deleted_and_put_again, b"2"),
]


@pytest.mark.parametrize(("change", "content"), CHANGES)
def test_the_replica_ends_up_equal_to_the_source(
    make_road: Callable[..., Road], change: Callable[[Bucket], None], content: bytes | None
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    bucket = Bucket(road)
    change(bucket)
    assert bucket.content() == content
    process_the_event()
    assert road.replica(KEY) == content
    assert not any(job.tries for job in Job.objects.all())
    assert set(Job.objects.values_list("state", flat=True)) == {JobState.COMPLETED}


@pytest.mark.parametrize("change", [change for change, content in CHANGES if content is None])
def test_a_rule_that_does_not_delete_keeps_the_last_replica(
    make_road: Callable[..., Road], change: Callable[[Bucket], None]
) -> None:
    road = make_road(delete_policy=DeletePolicy.KEEP)
    change(Bucket(road))
    process_the_event()
    assert road.replica(KEY) == b"1"
    assert Job.objects.latest("id").outcome == Outcome.ABSENT
    assert road.oss.requests(operation="DeleteObject") == []


# -- lifecycle rules, and events that do not match the object ----------------------------------


@pytest.mark.parametrize("is_versioned", [False, True])
def test_the_replica_of_an_expired_object_is_deleted(
    make_road: Callable[..., Road], is_versioned: bool
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    bucket = Bucket(road)
    if is_versioned:
        bucket.set_versioning("Enabled")
    bucket.put(b"1")
    work()
    bucket.delete()
    assert events(road)  # S3 does not send these for an expiry, but the next one
    name = "DeleteMarkerCreated" if is_versioned else "Delete"
    announce(road, f"LifecycleExpiration:{name}")
    work()
    assert road.replica(KEY) is None


@pytest.mark.parametrize(
    "name",
    [
        "ObjectRemoved:Delete",
        "ObjectRemoved:DeleteMarkerCreated",
        "LifecycleExpiration:Delete",  # of an old version
        "LifecycleExpiration:DeleteMarkerCreated",
    ],
)
def test_a_delete_event_does_not_delete_the_replica_of_an_existing_object(
    make_road: Callable[..., Road], name: str
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    Bucket(road).put(b"1")
    work()
    announce(road, name)
    work()
    assert Job.objects.count() == 2
    assert road.replica(KEY) == b"1"
    assert road.oss.requests(operation="DeleteObject") == []


def test_a_late_creation_event_does_not_revive_a_deleted_object(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    bucket = Bucket(road)
    bucket.put(b"1")
    work()
    bucket.delete()
    work()
    announce(road, "ObjectCreated:Put")
    work()
    assert road.replica(KEY) is None


# -- answers that only look like a missing object ----------------------------------------------


def answering(status: str, body: bytes = b"", *, content_type: str = "application/xml") -> Any:
    @contextmanager
    def serve() -> Iterator[str]:
        with http_origin() as s3:
            s3.answers(body, status=status, Content_Type=content_type)
            yield s3.url

    return serve


@contextmanager
def a_closed_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def an_unknown_host() -> Iterator[str]:
    yield "http://s3.nowhere.invalid:9"


@contextmanager
def a_connection_closed_without_an_answer() -> Iterator[str]:
    with http_origin() as s3:
        yield s3.url  # its answer is empty


@contextmanager
def a_truncated_answer() -> Iterator[str]:
    with http_origin() as s3:
        s3.answer = b"HTTP/1.1 404 Not Found\r\nContent-Le"
        yield s3.url


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        # S3's answer for a missing object if the caller may not list the bucket.
        (answering("403 Forbidden", error("AccessDenied")), ErrorCode.SOURCE_ACCESS_DENIED),
        (answering("404 Not Found", error("NoSuchBucket")), ErrorCode.SOURCE_BUCKET_MISSING),
        (answering("404 Not Found", error("NoSuchVersion")), ErrorCode.SOURCE_CHANGED),
        (answering("404 Not Found"), ErrorCode.UNEXPECTED),
        (
            answering("404 Not Found", b"<html>proxy</html>", content_type="text/html"),
            ErrorCode.UNEXPECTED,
        ),
        (answering("410 Gone"), ErrorCode.UNEXPECTED),
        (answering("500 Internal Server Error"), ErrorCode.SOURCE_UNAVAILABLE),
        (answering("503 Slow Down", error("SlowDown")), ErrorCode.SOURCE_THROTTLED),
        (a_closed_port, ErrorCode.SOURCE_UNREACHABLE),
        (an_unknown_host, ErrorCode.SOURCE_UNREACHABLE),
        (a_connection_closed_without_an_answer, ErrorCode.SOURCE_UNREACHABLE),
        (a_truncated_answer, None),  # any code: it depends on botocore
    ],
)
def test_an_unclear_answer_deletes_nothing(
    make_road: Callable[..., Road], source: Any, code: ErrorCode | None
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    bucket = Bucket(road)
    bucket.put(b"1")
    work()
    bucket.delete()  # the object is gone, but the answers do not prove it
    with source() as endpoint_url:
        road.source.endpoint_url = endpoint_url
        road.source.save()
        job = look_at(road, KEY)
    attempt = TransferAttempt.objects.filter(job_id=job.pk).latest("number")
    assert code is None or attempt.code == code, attempt.detail
    assert job.state in {JobState.PENDING, JobState.FAILED}
    assert road.replica(KEY) == b"1"
    assert road.oss.requests(operation="DeleteObject") == []
