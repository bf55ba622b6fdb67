"""What a source gives as a checksum decides, unless it only looked like one."""

import base64
import hashlib
from itertools import cycle

import oss2
import pytest

from replication.errors import ErrorCode
from replication.models import ReplicationRule, Source, SourceKind
from replication.stores.base import SourceStore
from replication.stores.http.store import HttpStore
from replication.transfer.object import Transfer
from replication.transfer.results import Completion
from sandbox.oss import OssServer
from tests.stores.conftest import oss_store, scripted_s3
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin, http_origin
from tests.support.road import OSS_REGION

KEY = "a.txt"
# 32 hexadecimal digits that are no MD5 of any content here, as some gateways give.
OPAQUE = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def origin():
    with http_origin() as server:
        yield server


@pytest.fixture
def replicas(oss: OssServer) -> oss2.Bucket:
    auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
    bucket = oss2.Bucket(auth, oss.endpoint, "replica", region=OSS_REGION, enable_crc=False)
    bucket.put_object(KEY, b"old")
    return bucket


def copy(source: SourceStore, oss: OssServer, kind: SourceKind = SourceKind.S3) -> Completion:
    rule = ReplicationRule(source=Source(kind=kind, bucket="photos"))
    done = Transfer(
        rule=rule,
        key=KEY,
        source=source,
        destination=oss_store(oss.endpoint),
        raise_if_stopped=lambda: None,
        threshold_bytes=1024**2,
        part_bytes=1024**2,
    ).run()
    assert isinstance(done, Completion)
    return done


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def in_turn(origin: HttpOrigin, *contents: bytes | None, etag: str = OPAQUE) -> None:
    """Answer each GET with the next content; None is a missing object."""
    answers = []
    for content in contents:
        if content is None:
            origin.answers(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found")
        else:
            origin.answers(content, ETag=f'"{etag}"')
        answers.append(origin.answer)
    turns = cycle(answers)
    origin.answer = lambda _target: next(turns)  # type: ignore[assignment, return-value]


def test_an_etag_that_is_the_md5_is_compared(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket
) -> None:
    origin.answers(b"content", ETag=f'"{md5(b"content")}"')
    done = copy(scripted_s3(origin), oss)
    assert (done.source_checksum, done.remarks) == (f"MD5 {md5(b'content')}", "")
    assert len(origin.targets) == 1


def test_an_etag_that_only_looks_like_an_md5_does_not_stop_the_copy(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket
) -> None:
    origin.answers(b"content", ETag=f'"{OPAQUE}"', x_amz_server_side_encryption="AES256")
    done = copy(scripted_s3(origin), oss)
    assert replicas.get_object(KEY).read() == b"content"
    assert (done.source_etag, done.source_checksum) == (OPAQUE, "")
    assert done.remarks == (
        f"the ETag is no MD5 of the content: two reads gave MD5 {md5(b'content')}"
    )
    assert len(origin.targets) == 2


def test_two_reads_that_differ_leave_the_old_replica(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket
) -> None:
    in_turn(origin, b"content", b"altered")
    with failing(ErrorCode.SOURCE_CORRUPT):
        copy(scripted_s3(origin), oss)
    assert replicas.get_object(KEY).read() == b"old"


@pytest.mark.parametrize("second", [b"longer content", None])
def test_an_object_that_changes_before_the_second_read_has_changed(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket, second: bytes | None
) -> None:
    in_turn(origin, b"content", second)
    with failing(ErrorCode.SOURCE_CHANGED):
        copy(scripted_s3(origin), oss)
    assert replicas.get_object(KEY).read() == b"old"


def test_a_checksum_that_s3_gives_as_one_decides(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket
) -> None:
    origin.answers(b"content", ETag='"e"', x_amz_checksum_crc32="AAAAAA==")
    with failing(ErrorCode.SOURCE_CORRUPT):
        copy(scripted_s3(origin), oss)
    assert len(origin.targets) == 1


# -- web servers -------------------------------------------------------------------------------


def content_md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def test_a_web_server_s_content_md5_is_compared(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket
) -> None:
    store = HttpStore(endpoint_url=origin.url)
    origin.answers(b"content", Content_MD5=content_md5(b"content"))
    assert copy(store, oss, SourceKind.HTTP).source_checksum == f"MD5 {md5(b'content')}"
    origin.answers(b"altered", Content_MD5=content_md5(b"content"))
    with failing(ErrorCode.SOURCE_CORRUPT):
        copy(store, oss, SourceKind.HTTP)
    assert replicas.get_object(KEY).read() == b"content"


@pytest.mark.parametrize("text", ["", "nonsense", "AAAA", "é", md5(b"content")])
def test_a_content_md5_that_is_none_is_left_out(
    origin: HttpOrigin, oss: OssServer, replicas: oss2.Bucket, text: str
) -> None:
    origin.answers(b"content", Content_MD5=text)
    assert copy(HttpStore(endpoint_url=origin.url), oss, SourceKind.HTTP).source_checksum == ""
