"""The contract of the OSS store, tested with the strict stand-in."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from anycrc import Model

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import (
    Encryption,
    PartReceipt,
    ReplicaAttributes,
    ReplicaInfo,
)
from replication.stores.oss.store import OssStore
from sandbox.oss import Denial, Fault, OssServer
from tests.stores.conftest import oss_store, read_all
from tests.support.failing import failing

KEY = "a b+c%/日本.txt"
CONTENT = bytes(range(256)) * 20
PART = 100 * 1024  # the smallest part that OSS accepts, except for the last
PLAIN = ReplicaAttributes()
CRC64 = Model("CRC64-XZ")

FULL = ReplicaAttributes(
    content_headers={
        "content-type": "text/x-odd; charset=gbk",
        "cache-control": "max-age=60",
        "content-disposition": 'attachment; filename="a b.txt"',
        "content-encoding": "br",
        "content-language": "zh-CN",
        "expires": "Wed, 01 Dec 2094 16:00:00 GMT",
    },
    user_metadata={"place": "=?UTF-8?B?5pel5pys?=", "n-1": "x y"},
    tags={"team": "a b", "a+b": "c=d", "empty": "", "path": "x/y:z_.-"},
    storage_class="IA",
    acl="public-read",
    encryption=Encryption("KMS", "my-key"),
)


class Bytes:
    """Bytes as a request body, read once."""

    def __init__(self, content: bytes) -> None:
        self._stream = BytesIO(content)
        self.len = len(content)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


def crc64(content: bytes) -> str:
    return str(CRC64.calc(content))


def put(store: OssStore, content: bytes = CONTENT, **attributes: Any) -> None:
    store.put(KEY, Bytes(content), ReplicaAttributes(**attributes))


def headed(store: OssStore) -> ReplicaInfo:
    info = store.head(KEY)
    assert info is not None
    return info


def read_back(store: OssStore) -> bytes:
    found = store.open(KEY)
    assert found is not None
    with found:
        return read_all(found)


def uploaded(store: OssStore, *contents: bytes) -> tuple[str, list[PartReceipt]]:
    """Create an upload with these parts."""
    upload_id = store.create_upload(KEY, PLAIN)
    parts = [
        store.upload_part(KEY, upload_id, number, Bytes(content))
        for number, content in enumerate(contents, start=1)
    ]
    return upload_id, parts


# -- one PUT -----------------------------------------------------------------------------------


def test_an_object_can_be_put_and_read_back(destination: OssStore) -> None:
    receipt = destination.put(KEY, Bytes(CONTENT), PLAIN)
    info = headed(destination)
    assert receipt.crc64 == info.crc64 == crc64(CONTENT)
    assert receipt.etag == info.etag
    assert info.size_bytes == len(CONTENT)
    assert info.last_modified is not None
    assert abs(datetime.now(UTC) - info.last_modified) < timedelta(minutes=5)
    assert receipt.request_id
    assert read_back(destination) == CONTENT


@pytest.mark.parametrize("tags", [{"stage": "2", "a+b": "c=d /x"}, {"empty": ""}, {}])
def test_all_tags_are_replaced_and_nothing_else(
    destination: OssStore, oss: OssServer, tags: dict[str, str]
) -> None:
    oss.add_kms_key("my-key")
    destination.put(KEY, Bytes(CONTENT), FULL)
    before = headed(destination)
    receipt = destination.set_tags(KEY, tags)
    assert receipt is not None
    assert receipt.request_id
    assert destination.tags(KEY) == tags
    after = headed(destination)
    assert after == replace(before, tag_count=len(tags), request_id=after.request_id)
    assert read_back(destination) == CONTENT


@pytest.mark.parametrize("tags", [{"stage": "2"}, {}])
def test_a_missing_object_gets_no_tags(destination: OssStore, tags: dict[str, str]) -> None:
    assert destination.set_tags(KEY, tags) is None
    assert destination.head(KEY) is None


def test_a_refused_tag_leaves_the_tags_as_they_were(destination: OssStore) -> None:
    put(destination, tags={"stage": "1"})
    with pytest.raises(ReplicationError) as error:
        destination.set_tags(KEY, {"stage": "2", "owner": "a@b"})
    assert error.value.code is ErrorCode.METADATA_INCOMPATIBLE
    assert destination.tags(KEY) == {"stage": "1"}


def test_an_empty_object_can_be_put_and_read_back(destination: OssStore) -> None:
    receipt = destination.put(KEY, Bytes(b""), PLAIN)
    assert (receipt.crc64, headed(destination).size_bytes) == ("0", 0)
    assert read_back(destination) == b""


def test_compressed_content_is_read_back_as_it_is_stored(destination: OssStore) -> None:
    stored = gzip.compress(CONTENT)
    put(destination, stored, content_headers={"content-encoding": "gzip"})
    assert read_back(destination) == stored


def test_one_put_carries_all_attributes(oss: OssServer, destination: OssStore) -> None:
    oss.add_kms_key("my-key")
    destination.put(KEY, Bytes(CONTENT), FULL)
    assert len(oss.requests()) == 1
    expect_full(oss, destination)


def test_starting_an_upload_carries_all_attributes(oss: OssServer, destination: OssStore) -> None:
    oss.add_kms_key("my-key")
    upload_id = destination.create_upload(KEY, FULL)
    part = destination.upload_part(KEY, upload_id, 1, Bytes(CONTENT))
    destination.complete_upload(KEY, upload_id, [part])
    assert len(oss.requests()) == 3
    expect_full(oss, destination)


def expect_full(oss: OssServer, destination: OssStore) -> None:
    info = headed(destination)
    assert info.content_headers == FULL.content_headers
    assert info.user_metadata == FULL.user_metadata
    assert info.tag_count == len(FULL.tags)
    assert destination.tags(KEY) == FULL.tags
    assert info.storage_class == "IA"
    assert info.encryption == FULL.encryption
    assert destination._bucket.get_object_acl(KEY).acl == "public-read"


def test_empty_attributes_leave_the_choice_to_the_bucket(destination: OssStore) -> None:
    put(destination)
    info = headed(destination)
    assert (info.storage_class, info.encryption, info.tag_count) == ("Standard", None, 0)
    assert destination.tags(KEY) == {}
    assert destination._bucket.get_object_acl(KEY).acl == "default"


@pytest.mark.parametrize("method", ["AES256", "SM4", "KMS"])
def test_an_encryption_method_needs_no_key(destination: OssStore, method: str) -> None:
    put(destination, encryption=Encryption(method))
    assert headed(destination).encryption == Encryption(method)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"tags": {"a@b": "c"}}, ErrorCode.METADATA_INCOMPATIBLE),
        ({"tags": {"a": "日"}}, ErrorCode.METADATA_INCOMPATIBLE),
        ({"tags": {str(n): "" for n in range(11)}}, ErrorCode.METADATA_INCOMPATIBLE),
        ({"storage_class": "STANDARD_IA"}, ErrorCode.DESTINATION_REFUSED),
        ({"acl": "bucket-owner-full-control"}, ErrorCode.DESTINATION_REFUSED),
        ({"encryption": Encryption("aws:kms")}, ErrorCode.DESTINATION_KMS),
        ({"encryption": Encryption("KMS", "unknown")}, ErrorCode.DESTINATION_KMS),
        ({"user_metadata": {"a_b": "c"}}, ErrorCode.DESTINATION_REFUSED),
    ],
)
def test_a_refused_write_has_an_error_code_and_leaves_the_object_unchanged(
    destination: OssStore, attributes: dict[str, Any], code: ErrorCode
) -> None:
    put(destination, b"old")
    with failing(code) as caught:
        put(destination, **attributes)
    assert not caught.value.may_still_land
    with failing(code):
        destination.create_upload(KEY, ReplicaAttributes(**attributes))
    assert read_back(destination) == b"old"


# -- multipart ---------------------------------------------------------------------------------


def test_completed_parts_become_an_object_with_the_checksum_of_the_whole(
    destination: OssStore,
) -> None:
    contents = [b"a" * PART, b"b" * (PART + 1), b"c"]
    upload_id, parts = uploaded(destination, *contents)
    assert destination.head(KEY) is None
    assert [part.number for part in parts] == [1, 2, 3]
    assert [part.crc64 for part in parts] == [crc64(content) for content in contents]
    assert [part.size_bytes for part in parts] == [len(content) for content in contents]
    assert all(part.request_id for part in parts)
    receipt = destination.complete_upload(KEY, upload_id, parts)
    whole = b"".join(contents)
    assert receipt.crc64 == headed(destination).crc64 == crc64(whole)
    assert receipt.etag == headed(destination).etag
    assert read_back(destination) == whole


def test_the_parts_of_an_upload_are_listed_with_their_checksums(destination: OssStore) -> None:
    upload_id, parts = uploaded(destination, b"a" * PART, b"b")
    listed = destination.list_parts(KEY, upload_id)
    assert [(p.number, p.etag, p.crc64, p.size_bytes) for p in listed] == [
        (p.number, p.etag, p.crc64, p.size_bytes) for p in parts
    ]
    destination.complete_upload(KEY, upload_id, listed)
    assert read_back(destination) == b"a" * PART + b"b"


@pytest.mark.parametrize(
    "key",
    ["a b+c%", "a//b", "a/../b", "?a=b", "a#b", "%2F", "quote'\"<&>", "line\nbreak", "\x01\t"],
)
def test_an_object_with_an_odd_key_can_be_written_in_parts(destination: OssStore, key: str) -> None:
    upload_id = destination.create_upload(key, PLAIN)
    destination.upload_part(key, upload_id, 1, Bytes(b"content"))
    destination.complete_upload(key, upload_id, destination.list_parts(key, upload_id))
    found = destination.open(key)
    assert found is not None
    with found:
        assert read_all(found) == b"content"


def test_an_upload_without_parts_lists_none(destination: OssStore) -> None:
    assert destination.list_parts(KEY, destination.create_upload(KEY, PLAIN)) == []


def test_parts_beyond_the_first_page_are_listed(destination: OssStore) -> None:
    upload_id = destination.create_upload(KEY, PLAIN)
    for number in range(1, 1003):
        destination.upload_part(KEY, upload_id, number, Bytes(b"x"))
    listed = destination.list_parts(KEY, upload_id)
    assert [part.number for part in listed] == list(range(1, 1003))


def test_a_part_sent_again_replaces_the_first(destination: OssStore) -> None:
    upload_id, _ = uploaded(destination, b"first")
    again = destination.upload_part(KEY, upload_id, 1, Bytes(b"second"))
    destination.complete_upload(KEY, upload_id, [again])
    assert read_back(destination) == b"second"


def test_a_completed_upload_is_gone(destination: OssStore) -> None:
    upload_id, parts = uploaded(destination, b"content")
    destination.complete_upload(KEY, upload_id, parts)
    for ask in (
        lambda: destination.upload_part(KEY, upload_id, 2, Bytes(b"x")),
        lambda: destination.complete_upload(KEY, upload_id, parts),
        lambda: destination.list_parts(KEY, upload_id),
    ):
        with failing(ErrorCode.UPLOAD_GONE):
            ask()
    assert read_back(destination) == b"content"


def test_the_unfinished_uploads_of_a_prefix_are_listed_page_by_page(
    destination: OssStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["p/a+b%20", "p/日本", "p/日本", "p/😀"]
    begun = [(key, destination.create_upload(key, PLAIN)) for key in keys]
    destination.create_upload("other", PLAIN)
    whole = destination._bucket.list_multipart_uploads
    monkeypatch.setattr(
        destination._bucket, "list_multipart_uploads", partial(whole, max_uploads=2)
    )
    listed = list(destination.list_uploads("p/"))
    assert [(one.key, one.upload_id) for one in listed] == sorted(begun)
    assert abs(listed[0].began_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_aborted_upload_is_gone_and_can_be_aborted_again(destination: OssStore) -> None:
    upload_id, parts = uploaded(destination, b"content")
    destination.abort_upload(KEY, upload_id)
    destination.abort_upload(KEY, upload_id)
    with failing(ErrorCode.UPLOAD_GONE):
        destination.complete_upload(KEY, upload_id, parts)
    assert destination.head(KEY) is None


def test_completing_with_unknown_parts_means_that_the_upload_is_gone(destination: OssStore) -> None:
    upload_id, (part,) = uploaded(destination, b"content")
    for wrong in (PartReceipt(2, part.etag, "", 7), PartReceipt(1, "0" * 32, "", 7)):
        with failing(ErrorCode.UPLOAD_GONE):
            destination.complete_upload(KEY, upload_id, [wrong])


def test_a_small_part_that_is_not_the_last_is_refused(destination: OssStore) -> None:
    upload_id, parts = uploaded(destination, b"small", b"last")
    with failing(ErrorCode.DESTINATION_REFUSED):
        destination.complete_upload(KEY, upload_id, parts)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_a_part_or_completion_without_an_answer_may_still_land(
    oss: OssServer, destination: OssStore, operation: str, when: Any
) -> None:
    upload_id, parts = uploaded(destination, b"content")
    oss.add_fault(Fault(operation=operation, reset=True, when=when))
    with failing(ErrorCode.DESTINATION_UNREACHABLE) as caught:
        if operation == "UploadPart":
            destination.upload_part(KEY, upload_id, 2, Bytes(b"x"))
        else:
            destination.complete_upload(KEY, upload_id, parts)
    assert caught.value.may_still_land


# -- reading -----------------------------------------------------------------------------------


def test_a_missing_object_is_not_an_error(destination: OssStore) -> None:
    assert destination.head(KEY) is None
    assert destination.open(KEY) is None
    assert destination.tags(KEY) == {}
    destination.delete(KEY)


def test_a_deleted_object_is_missing(destination: OssStore) -> None:
    put(destination)
    assert destination.delete(KEY).request_id
    assert destination.head(KEY) is None


READS: list[Callable[[OssStore], Any]] = [
    lambda store: store.head(KEY),
    lambda store: store.open(KEY),
    lambda store: store.tags(KEY),
]


@pytest.mark.parametrize("ask", READS, ids=["head", "open", "tags"])
def test_a_missing_bucket_is_not_a_missing_object(oss: OssServer, ask) -> None:
    with failing(ErrorCode.DESTINATION_BUCKET_MISSING):
        ask(oss_store(oss.endpoint, bucket="no-such-bucket"))


@pytest.mark.parametrize("ask", READS, ids=["head", "open", "tags"])
def test_a_forbidden_object_is_not_a_missing_object(
    oss: OssServer, destination: OssStore, ask
) -> None:
    put(destination)
    oss.deny(Denial())
    with failing(ErrorCode.DESTINATION_ACCESS_DENIED):
        ask(destination)


@pytest.mark.parametrize("ask", READS, ids=["head", "open", "tags"])
def test_a_failed_read_is_not_repeated_and_can_not_still_land(
    oss: OssServer, destination: OssStore, ask
) -> None:
    put(destination)
    before = len(oss.requests())
    oss.add_fault(Fault(status=500, code="InternalError", times=None))
    with failing(ErrorCode.DESTINATION_UNAVAILABLE) as caught:
        ask(destination)
    assert not caught.value.may_still_land
    assert len(oss.requests()) == before + 1


def test_an_archived_replica_can_be_described_but_not_read(destination: OssStore) -> None:
    put(destination, storage_class="Archive")
    assert headed(destination).storage_class == "Archive"
    with failing(ErrorCode.DESTINATION_ARCHIVED):
        destination.open(KEY)


def test_an_answer_that_breaks_off_is_an_error(oss: OssServer, destination: OssStore) -> None:
    put(destination)
    oss.add_fault(Fault(operation="GetObject", truncate_bytes=100))
    with failing(ErrorCode.DESTINATION_UNREACHABLE):
        read_back(destination)


def test_a_listing_that_breaks_off_is_an_error(oss: OssServer, destination: OssStore) -> None:
    upload_id, _ = uploaded(destination, b"content")
    oss.add_fault(Fault(operation="ListParts", truncate_bytes=60))
    with pytest.raises(ReplicationError) as caught:
        destination.list_parts(KEY, upload_id)
    assert caught.value.code == ErrorCode.DESTINATION_UNREACHABLE
    assert not caught.value.may_still_land


def test_connections_are_reused(oss: OssServer, destination: OssStore) -> None:
    """An answer that is not read to its end costs its connection."""
    for _ in range(3):
        upload_id, parts = uploaded(destination, b"content")
        destination.list_parts(KEY, upload_id)
        destination.complete_upload(KEY, upload_id, parts)
        headed(destination)
        read_back(destination)
        destination.tags(KEY)
    assert destination._bucket.session.pool.connections_made == 1
