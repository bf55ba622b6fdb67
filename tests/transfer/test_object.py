"""The transfer of one key: what is copied, what is refused, and the code of each error."""

import base64
import gzip
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
from replication.models import (
    DeletePolicy,
    Job,
    JobState,
    Outcome,
    SourceKind,
    TransferAttempt,
)
from replication.stores.base import parse_retry_after
from replication.stores.factory import destination_store, source_store
from replication.transfer.object import Transfer
from replication.transfer.results import Completion, LargeObject
from sandbox.oss import Denial, Fault
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.http_origin import HttpOrigin, http_origin
from tests.support.looking import look_at
from tests.support.paths import REPOSITORY
from tests.support.policies import a_user_who_may
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a.txt"
ODD_KEYS = [
    *["a b+c%.txt", "图片/日本.txt", "emoji-😀", "a//b", "a/./b", "a/../b", "../a", "folder/"],
    *["?", "?a=b", "a?b", "#", "a#b", "%2F", "a%2Fb", "a&b=c", "quote'\"<&>", "...", "a;b", "~a"],
    *["back\\slash", "line\nbreak", "tab\tbed", " ", "trailing "],
]


@pytest.fixture(autouse=True)
def late_retries(settings: Settings) -> None:
    """Retries are due so late that no test sees a second attempt by chance."""
    limits = {"retry_base_seconds": 1e6, "retry_cap_seconds": 1e6}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=limits)


@pytest.fixture
def http() -> Iterator[HttpOrigin]:
    with http_origin() as origin:
        yield origin


@pytest.fixture
def http_road(road: Road, http: HttpOrigin) -> Road:
    """The road with a web server as its source."""
    road.source.kind = SourceKind.HTTP
    road.source.bucket = ""
    road.source.endpoint_url = http.url
    road.source.save()
    return road


def failure(job: Job, code: ErrorCode) -> str:
    """Check the code and state of the job's only attempt, and return the error detail."""
    attempt = TransferAttempt.objects.get(job_id=job.pk)
    assert (attempt.code, job.error_code) == (code, code), attempt.detail
    assert job.error is not None
    assert job.state == (JobState.FAILED if job.error.ends_the_job else JobState.PENDING)
    return attempt.detail


def put_count(road: Road) -> int:
    return len(road.oss.requests(operation="PutObject"))


# -- what is copied ----------------------------------------------------------------------------


def test_a_large_object_of_a_server_without_tags_is_copied_and_the_record_says_so(
    road: Road, http: HttpOrigin
) -> None:
    http.answers(b"x" * 2000, ETag='"strong"', x_amz_request_id="1")
    whole = http.answer
    http.answers(b"<Error><Code>NotImplemented</Code></Error>", status="501 Not Implemented")
    refused = http.answer
    http.answer = lambda target: refused if "tagging" in target else whole  # type: ignore[assignment, return-value]
    road.source.endpoint_url = http.url
    transfer = Transfer(
        rule=road.rule,
        key=KEY,
        source=source_store(road.source),
        destination=destination_store(road.destination),
        raise_if_stopped=lambda: None,
        threshold_bytes=1000,
        part_bytes=1000,
    )
    planned = transfer.run()
    assert isinstance(planned, LargeObject)
    assert "does not support" in "".join(planned.planned.remarks)


class SlowAllowance:
    """A rate limit under which each piece of an object waits."""

    def spend(self, size_bytes: int, *, raise_if_stopped: Callable[[], None]) -> None:
        time.sleep(0.1)


def test_the_latency_is_the_wait_for_both_sides_and_for_the_rate_limit(road: Road) -> None:
    road.put(KEY)
    road.oss.add_fault(Fault(operation="PutObject", delay_seconds=0.1))
    done = Transfer(
        rule=road.rule,
        key=KEY,
        source=source_store(road.source),
        destination=destination_store(road.destination),
        raise_if_stopped=lambda: None,
        threshold_bytes=10_000,
        part_bytes=10_000,
        allowance=SlowAllowance(),
    ).run()
    assert isinstance(done, Completion)
    assert done.latency_seconds is not None
    assert done.latency_seconds >= 0.2


def test_an_empty_object_is_copied(road: Road) -> None:
    road.put(KEY, b"", Metadata={"a": "b"})
    job = look_at(road, KEY)
    assert (job.outcome, job.size_bytes, job.source_crc64) == (Outcome.COPIED, 0, "0")
    assert road.replica(KEY) == b""
    assert road.replicas.head_object(KEY).headers["x-oss-meta-a"] == "b"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_is_copied_unchanged(road: Road, key: str) -> None:
    road.put(key, key.encode())
    job = look_at(road, key)
    assert (job.state, job.error_detail) == (JobState.COMPLETED, "")
    assert [entry.key for entry in road.oss.requests(operation="PutObject")] == [key]
    assert road.replica(key) == key.encode()


def test_an_empty_object_overwrites_the_earlier_one(road: Road) -> None:
    road.put(KEY, b"content")
    look_at(road, KEY)
    road.put(KEY, b"")
    look_at(road, KEY)
    assert road.replica(KEY) == b""


def test_the_version_in_a_versioned_bucket_is_kept_as_provenance(road: Road) -> None:
    road.s3.put_bucket_versioning(
        Bucket=road.source.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    version = road.s3.put_object(Bucket=road.source.bucket, Key=KEY, Body=b"x")["VersionId"]
    job = look_at(road, KEY)
    assert job.source_version_id == version
    assert road.replicas.head_object(KEY).headers["x-oss-meta-s3sync-version"] == version


def test_a_multipart_object_is_copied_although_its_etag_is_not_an_md5(road: Road) -> None:
    location = {"Bucket": road.source.bucket, "Key": KEY}
    upload = road.s3.create_multipart_upload(**location)["UploadId"]
    part = road.s3.upload_part(**location, UploadId=upload, PartNumber=1, Body=b"parts")
    road.s3.complete_multipart_upload(
        **location,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    job = look_at(road, KEY)
    assert job.source_etag.endswith("-1")
    assert road.replica(KEY) == b"parts"


def test_the_rule_decides_the_destination_key(make_road: Callable[..., Road]) -> None:
    road = make_road(source_prefix="in/", destination_prefix="out/", strip_source_prefix=True)
    road.put("in/a")
    look_at(road, "in/a")
    assert road.replica("out/a") == b"content"


# -- from a web server -------------------------------------------------------------------------


def test_an_object_is_copied_from_a_web_server_with_its_headers(
    http_road: Road, http: HttpOrigin
) -> None:
    body = gzip.compress(b"content")
    http.answers(
        body,
        Content_Type="text/plain; charset=utf-8",
        Content_Encoding="gzip",
        Cache_Control="max-age=60",
        Expires="Wed, 21 Oct 2026 07:28:00 GMT",
        ETag='W/"abc"',
        X_Amz_Meta_Secret="not ours to carry",
    )
    job = look_at(http_road, KEY)
    headers = {"Accept-Encoding": "gzip"}
    replica = http_road.replicas.get_object(KEY, headers=headers)
    assert replica.resp.response.raw.read() == body
    assert replica.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert replica.headers["Content-Encoding"] == "gzip"
    assert replica.headers["Cache-Control"] == "max-age=60"
    assert replica.headers["Expires"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert (job.source_etag, job.size_bytes) == ('W/"abc"', len(body))


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("a b+c%.txt", "/a%20b%2Bc%25.txt"),
        ("图", "/%E5%9B%BE"),
        ("a?b#c", "/a%3Fb%23c"),
        ("a%2Fb", "/a%252Fb"),
        ("a//b/", "/a//b/"),
        ("http://elsewhere/x", "/http%3A//elsewhere/x"),
    ],
)
def test_a_key_is_percent_encoded_into_the_path(
    http_road: Road, http: HttpOrigin, key: str, target: str
) -> None:
    http.answers(b"x")
    assert look_at(http_road, key).state == JobState.COMPLETED
    assert http.targets == [target]


@pytest.mark.parametrize("key", ["a/../b", "../a", "a/./b", "./a", "a/.."])
def test_a_key_that_would_become_another_path_is_never_requested(
    http_road: Road, http: HttpOrigin, key: str
) -> None:
    assert "'..'" in failure(look_at(http_road, key), ErrorCode.SOURCE_REFUSED)
    assert http.targets == []


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
@pytest.mark.parametrize(
    ("policy", "outcome"),
    [(DeletePolicy.KEEP, Outcome.ABSENT), (DeletePolicy.MIRROR, Outcome.DELETED)],
)
def test_a_web_servers_404_or_410_is_handled_as_the_rule_says(
    http_road: Road, http: HttpOrigin, status: str, policy: DeletePolicy, outcome: Outcome
) -> None:
    http.answers(b"x")
    look_at(http_road, KEY)
    http_road.rule.delete_policy = policy
    http_road.rule.save()
    http.answers(status=status)
    assert look_at(http_road, KEY).outcome == outcome
    assert http_road.replica(KEY) == (None if outcome == Outcome.DELETED else b"x")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 Unauthorized", ErrorCode.SOURCE_ACCESS_DENIED),
        ("403 Forbidden", ErrorCode.SOURCE_ACCESS_DENIED),
        ("302 Found", ErrorCode.SOURCE_REDIRECTED),
        ("308 Permanent Redirect", ErrorCode.SOURCE_REDIRECTED),
        ("400 Bad Request", ErrorCode.SOURCE_REFUSED),
        ("206 Partial Content", ErrorCode.SOURCE_REFUSED),
        ("408 Request Timeout", ErrorCode.SOURCE_UNREACHABLE),
        ("429 Too Many Requests", ErrorCode.SOURCE_THROTTLED),
        ("500 Internal Server Error", ErrorCode.SOURCE_UNAVAILABLE),
        ("503 Service Unavailable", ErrorCode.SOURCE_THROTTLED),
    ],
)
def test_other_answers_of_a_web_server_delete_nothing(
    http_road: Road, http: HttpOrigin, status: str, code: ErrorCode
) -> None:
    http_road.rule.delete_policy = DeletePolicy.MIRROR
    http_road.rule.save()
    http_road.replicas.put_object(KEY, b"kept")
    http.answers(status=status, Location="http://elsewhere.example.com/", Retry_After="600")
    job = look_at(http_road, KEY)
    detail = failure(job, code)
    assert status.split(maxsplit=1)[0] in detail
    if code == ErrorCode.SOURCE_REDIRECTED:
        assert "http://elsewhere.example.com/" in detail
    if code == ErrorCode.SOURCE_THROTTLED:
        assert (job.available_at - job.enqueued_at).total_seconds() >= 600
    assert http_road.replica(KEY) == b"kept"


def test_a_huge_retry_after_counts_as_an_hour(http_road: Road, http: HttpOrigin) -> None:
    http.answers(status="503 Service Unavailable", Retry_After="9" * 400)
    job = look_at(http_road, KEY)
    failure(job, ErrorCode.SOURCE_THROTTLED)
    assert (job.available_at - job.enqueued_at).total_seconds() >= 3600
    assert parse_retry_after("9" * 400) == 3600


@pytest.mark.parametrize("header", ["ETag", "X-Request-Id", "Location"])
def test_bytes_that_the_database_can_not_store_are_not_stored(
    http_road: Road, http: HttpOrigin, header: str
) -> None:
    nul: dict[str, Any] = {header: "a\0b"}
    http.answers(b"x", **nul)
    assert look_at(http_road, KEY).state == JobState.COMPLETED
    http.answers(status="302 a\0b", **nul)
    assert look_at(http_road, KEY).state == JobState.FAILED


def test_an_answer_without_a_length_is_refused(http_road: Road, http: HttpOrigin) -> None:
    http.answers(b"x", length=None)
    failure(look_at(http_road, KEY), ErrorCode.SOURCE_LENGTH_UNKNOWN)
    assert put_count(http_road) == 0


@pytest.mark.parametrize("sent", [b"", b"half", b"x" * 300_000])
def test_a_truncated_source_leaves_the_old_replica(
    http_road: Road, http: HttpOrigin, sent: bytes
) -> None:
    http_road.replicas.put_object(KEY, b"old")
    http.answers(sent, length=400_000)
    failure(look_at(http_road, KEY), ErrorCode.SOURCE_TRUNCATED)
    assert http_road.replica(KEY) == b"old"


def test_a_web_server_that_refuses_connections_is_unreachable(http_road: Road) -> None:
    http_road.source.endpoint_url = "http://127.0.0.1:9"
    http_road.source.save()
    failure(look_at(http_road, KEY), ErrorCode.SOURCE_UNREACHABLE)


def test_a_server_that_does_not_speak_http_is_unreachable(
    http_road: Road, http: HttpOrigin
) -> None:
    http.answer = b"SSH-2.0-OpenSSH\r\n"
    failure(look_at(http_road, KEY), ErrorCode.SOURCE_UNREACHABLE)


# -- what OSS does not accept -------------------------------------------------------------------


def test_metadata_that_oss_refuses_fails_before_a_byte_is_written(road: Road) -> None:
    road.put(KEY, Metadata={"taken_by": "x"})
    assert "'taken_by'" in failure(look_at(road, KEY), ErrorCode.METADATA_INCOMPATIBLE)
    assert put_count(road) == 0


def test_non_ascii_metadata_is_copied_as_s3_returns_it(
    http_road: Road, road: Road, aws: Any
) -> None:
    """S3 returns it as an encoded word of RFC 2047, and OSS keeps the encoded word."""
    http_road.source.kind = SourceKind.S3
    http_road.source.bucket = http_road.source.name
    http_road.source.endpoint_url = aws.endpoint_url
    http_road.source.save()
    encoded = "=?UTF-8?B?5pel5pys?="
    http_road.put(KEY, Metadata={"place": encoded})
    assert look_at(http_road, KEY).state == JobState.COMPLETED
    assert http_road.replicas.head_object(KEY).headers["x-oss-meta-place"] == encoded


@pytest.mark.parametrize("key", ["/a", "\\a", "a" * 1024, ".", ".."])
def test_a_key_that_oss_refuses_fails_before_any_request(road: Road, key: str) -> None:
    assert "OSS does not accept the destination key" in failure(
        look_at(road, key), ErrorCode.KEY_INCOMPATIBLE
    )
    assert road.oss.requests() == []


def test_a_destination_prefix_can_make_a_key_valid(make_road: Callable[..., Road]) -> None:
    road = make_road(destination_prefix="s3")
    road.put("/a")
    look_at(road, "/a")
    assert road.replica("s3/a") == b"content"


# -- answers of the source ---------------------------------------------------------------------


def test_bytes_that_differ_from_the_source_leave_the_old_replica(road: Road) -> None:
    """An S3 with the checksum of other content stands for a proxy that alters bytes."""
    road.replicas.put_object(KEY, b"old")
    crc32 = base64.b64encode(zlib.crc32(b"content").to_bytes(4, "big")).decode()
    with http_origin() as broken_s3:
        broken_s3.answers(b"altered", ETag='"e"', x_amz_checksum_crc32=crc32)
        road.source.endpoint_url = broken_s3.url
        road.source.save()
        detail = failure(look_at(road, KEY), ErrorCode.SOURCE_CORRUPT)
    assert crc32 in detail
    assert road.replica(KEY) == b"old"


def test_a_truncated_answer_of_s3_leaves_the_old_replica(road: Road) -> None:
    road.replicas.put_object(KEY, b"old")
    with http_origin() as broken_s3:
        broken_s3.answers(b"half", length=100, ETag='"x"')
        road.source.endpoint_url = broken_s3.url
        road.source.save()
        failure(look_at(road, KEY), ErrorCode.SOURCE_TRUNCATED)
    assert road.replica(KEY) == b"old"


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Len"])
@pytest.mark.parametrize("kind", SourceKind)
def test_a_connection_that_breaks_in_the_response_headers_is_retried(
    road: Road, http: HttpOrigin, kind: SourceKind, head: str
) -> None:
    http.answer = head.encode()
    road.source.kind = kind
    road.source.bucket = "" if kind == SourceKind.HTTP else road.source.bucket
    road.source.endpoint_url = http.url
    road.source.save()
    failure(look_at(road, KEY), ErrorCode.SOURCE_TRUNCATED)


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        ("500 Internal Server Error", "InternalError", ErrorCode.SOURCE_UNAVAILABLE),
        ("503 Slow Down", "SlowDown", ErrorCode.SOURCE_THROTTLED),
        ("503 Service Unavailable", "", ErrorCode.SOURCE_THROTTLED),
        ("502 Bad Gateway", "", ErrorCode.SOURCE_UNAVAILABLE),
        ("400 Bad Request", "RequestTimeout", ErrorCode.SOURCE_UNREACHABLE),
        ("400 Bad Request", "InvalidRequest", ErrorCode.SOURCE_INVALID_REQUEST),
        ("400 Bad Request", "ExpiredToken", ErrorCode.SOURCE_CREDENTIALS),
        ("400 Bad Request", "KMS.DisabledException", ErrorCode.SOURCE_KMS),
        ("301 Moved Permanently", "PermanentRedirect", ErrorCode.SOURCE_WRONG_REGION),
        ("403 Forbidden", "InvalidObjectState", ErrorCode.SOURCE_ARCHIVED),
        ("403 Forbidden", "SignatureDoesNotMatch", ErrorCode.SOURCE_CREDENTIALS),
        ("403 Forbidden", "Novelty", ErrorCode.SOURCE_ACCESS_DENIED),
        ("404 Not Found", "NoSuchBucket", ErrorCode.SOURCE_BUCKET_MISSING),
        ("404 Not Found", "", ErrorCode.UNEXPECTED),
        ("418 Teapot", "Novelty", ErrorCode.UNEXPECTED),
    ],
)
def test_no_answer_of_s3_but_no_such_key_deletes(
    make_road: Callable[..., Road], status: str, name: str, code: ErrorCode
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    road.replicas.put_object(KEY, b"kept")
    with http_origin() as s3:
        body = f"<Error><Code>{name}</Code><Message>m</Message></Error>" if name else ""
        s3.answers(
            body.encode(), status=status, x_amz_request_id="R1", x_amz_bucket_region="eu-west-1"
        )
        road.source.endpoint_url = s3.url
        road.source.save()
        job = look_at(road, KEY)
    failure(job, code)
    assert TransferAttempt.objects.get(job_id=job.pk).request_id == "R1"
    assert road.replica(KEY) == b"kept"


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [(DeletePolicy.KEEP, Outcome.ABSENT), (DeletePolicy.MIRROR, Outcome.DELETED)],
)
def test_a_deleted_object_is_handled_as_the_rule_says(
    make_road: Callable[..., Road], policy: DeletePolicy, outcome: Outcome
) -> None:
    road = make_road(delete_policy=policy)
    road.put(KEY)
    work()
    road.s3.delete_object(Bucket=road.source.bucket, Key=KEY)
    work()
    job = Job.objects.latest("id")
    assert job.outcome == outcome
    assert road.replica(KEY) == (None if outcome == Outcome.DELETED else b"content")
    assert look_at(road, KEY).outcome == Outcome.ABSENT  # nothing is left to delete


def test_a_missing_source_bucket_deletes_nothing(make_road: Callable[..., Road]) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    road.replicas.put_object(KEY, b"kept")
    road.source.bucket = "no-such-bucket"
    road.source.save()
    assert "NoSuchBucket" in failure(look_at(road, KEY), ErrorCode.SOURCE_BUCKET_MISSING)
    assert road.replica(KEY) == b"kept"


def test_a_source_that_denies_access_deletes_nothing(
    make_road: Callable[..., Road], monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    road.put(KEY)
    road.replicas.put_object(KEY, b"kept")
    road.source.credential_profile = a_user_who_may(road.aws, ["s3:ListBucket"], monkeypatch)
    road.source.save()
    assert "AccessDenied" in failure(look_at(road, KEY), ErrorCode.SOURCE_ACCESS_DENIED)
    assert road.replica(KEY) == b"kept"


def test_an_s3_that_refuses_connections_is_unreachable(road: Road) -> None:
    road.source.endpoint_url = "http://127.0.0.1:9"
    road.source.save()
    assert "127.0.0.1:9" in failure(look_at(road, KEY), ErrorCode.SOURCE_UNREACHABLE)


# -- answers of OSS ----------------------------------------------------------------------------


def test_a_different_checksum_from_oss_is_never_a_success(road: Road) -> None:
    road.put(KEY)
    road.oss.add_fault(Fault(operation="PutObject", wrong_crc=True))
    failure(look_at(road, KEY), ErrorCode.CHECKSUM_MISMATCH)


def test_a_throttled_job_is_retried_no_sooner_than_oss_asked(road: Road) -> None:
    road.put(KEY)
    road.oss.add_fault(
        Fault(
            operation="PutObject",
            status=503,
            code="UploadTrafficRateLimitExceeded",
            qos_delay_ms=90_000,
        )
    )
    job = look_at(road, KEY)
    failure(job, ErrorCode.DESTINATION_THROTTLED)
    attempt = TransferAttempt.objects.get()
    assert (job.available_at - attempt.started_at).total_seconds() >= 90
    assert attempt.request_id


def reset(road: Road) -> None:
    road.oss.add_fault(Fault(operation="PutObject", reset=True))


def unavailable(road: Road) -> None:
    road.oss.add_fault(Fault(operation="PutObject", status=500, code="InternalError"))


def throttled_without_a_hint(road: Road) -> None:
    road.oss.add_fault(Fault(operation="PutObject", status=503, code="TotalQpsLimitExceeded"))


def unknown_error(road: Road) -> None:
    road.oss.add_fault(Fault(operation="PutObject", status=418, code="Novelty"))


def kms_is_off(road: Road) -> None:
    road.oss.add_fault(Fault(operation="PutObject", status=403, code="KmsServiceNotEnabled"))


def denied(road: Road) -> None:
    road.oss.deny(Denial(actions=("oss:PutObject",)))


def bucket_is_missing(road: Road) -> None:
    road.destination.bucket = "no-such-bucket"
    road.destination.save()


def clock_is_off(road: Road) -> None:
    road.oss.set_clock_offset(3600)


def wrong_secret(road: Road) -> None:
    road.oss.set_secret(OSS_KEY_ID, "another secret")


def unknown_key(road: Road) -> None:
    road.oss.remove_key(OSS_KEY_ID)


def wrong_region(road: Road) -> None:
    road.destination.region = "cn-beijing"
    road.destination.save()


def not_there(road: Road) -> None:
    road.destination.endpoint = "http://127.0.0.1:9"
    road.destination.save()


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (reset, ErrorCode.DESTINATION_UNREACHABLE, ""),
        (unavailable, ErrorCode.DESTINATION_UNAVAILABLE, "500 InternalError"),
        (throttled_without_a_hint, ErrorCode.DESTINATION_THROTTLED, "TotalQpsLimitExceeded"),
        (unknown_error, ErrorCode.UNEXPECTED, "418 Novelty"),
        (kms_is_off, ErrorCode.DESTINATION_KMS, "KmsServiceNotEnabled"),
        (denied, ErrorCode.DESTINATION_ACCESS_DENIED, "EC 0003-00000001"),
        (bucket_is_missing, ErrorCode.DESTINATION_BUCKET_MISSING, "NoSuchBucket"),
        (clock_is_off, ErrorCode.DESTINATION_CLOCK, "RequestTimeTooSkewed"),
        (wrong_secret, ErrorCode.DESTINATION_CREDENTIALS, "SignatureDoesNotMatch"),
        (unknown_key, ErrorCode.DESTINATION_CREDENTIALS, "InvalidAccessKeyId"),
        (wrong_region, ErrorCode.DESTINATION_ENDPOINT, "InvalidArgument"),
        (not_there, ErrorCode.DESTINATION_UNREACHABLE, "127.0.0.1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("size", [7, 3_000_000], ids=["small", "large"])
def test_each_error_of_oss_has_a_code_and_leaves_the_old_replica(
    road: Road, break_it: Callable[[Road], None], code: ErrorCode, words: str, size: int
) -> None:
    road.put(KEY, b"x" * size)
    road.replicas.put_object(KEY, b"old")
    break_it(road)
    job = look_at(road, KEY)
    detail = failure(job, code)
    assert words in detail
    assert OSS_KEY_SECRET not in detail
    assert job.error is not None
    assert job.error.hint
    road.oss.set_clock_offset(0)
    road.oss.set_secret(OSS_KEY_ID, OSS_KEY_SECRET)
    road.oss.clear_denials()
    road.destination.refresh_from_db()
    assert road.replica(KEY) == b"old"


def test_a_delete_that_oss_refuses_has_a_code(make_road: Callable[..., Road]) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    road.put(KEY, b"old")
    look_at(road, KEY)
    road.s3.delete_object(Bucket=road.source.bucket, Key=KEY)
    road.oss.deny(Denial(actions=("oss:DeleteObject",)))
    failure(look_at(road, KEY), ErrorCode.DESTINATION_ACCESS_DENIED)
    assert road.replica(KEY) == b"old"


def test_a_write_without_an_answer_is_repeated(road: Road) -> None:
    road.put(KEY)
    road.oss.add_fault(Fault(operation="PutObject", reset=True, when="after"))
    failure(look_at(road, KEY), ErrorCode.DESTINATION_UNREACHABLE)
    assert look_at(road, KEY).state == JobState.COMPLETED
    assert road.replica(KEY) == b"content"


# -- memory ------------------------------------------------------------------------------------

_MEASURE = """
import resource, sys
import django
django.setup()
from replication.models import ReplicationRule, Source, SourceKind
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.transfer.object import Transfer

def copy(key):
    destination = OssStore(bucket="replica", endpoint=sys.argv[2], region="cn-hangzhou",
                           addressing="virtual_host", profile="default")
    rule = ReplicationRule(source=Source(kind=SourceKind.HTTP, endpoint_url=sys.argv[1]))
    return Transfer(rule, key, HttpStore(endpoint_url=sys.argv[1]), destination,
        raise_if_stopped=lambda: None, threshold_bytes=1 << 30, part_bytes=1 << 24).run()

copy("small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert copy("large").size_bytes == 64 << 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_object(road: Road, http: HttpOrigin) -> None:
    http.answers(bytes(64 << 20))
    large = http.answer
    http.answers(b"x")
    small = http.answer
    assert isinstance(large, bytes)
    assert isinstance(small, bytes)
    http.answer = lambda target: large if target == "/large" else small
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, http.url, road.oss.endpoint],
        cwd=REPOSITORY,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "s3sync.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20 * 1024  # KiB
    assert len(road.replica("large") or b"") == 64 << 20
