"""Put, get, head, append and delete of single objects."""

import hashlib
import io
from collections.abc import Callable, Iterator

import anycrc
import oss2
import pytest

from sandbox.oss import OssServer
from tests.sandbox.oss import SPILL_BYTES

LARGE = bytes(range(256)) * (SPILL_BYTES // 128)
BODIES = {"empty": b"", "small": b"hello", "spilled": LARGE}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_put_object_comes_back_with_its_checksums(bucket: oss2.Bucket, body: bytes) -> None:
    put = bucket.put_object("key", body)
    md5 = hashlib.md5(body).hexdigest().upper()
    crc64 = anycrc.Model("CRC64-XZ").calc(body)
    assert (put.etag, put.crc) == (md5, crc64)
    got = bucket.get_object("key")
    assert got.read() == body
    assert (got.etag, got.server_crc, got.content_length) == (md5, crc64, len(body))
    head = bucket.head_object("key")
    assert head.headers["ETag"] == f'"{md5}"'
    assert head.headers["x-oss-hash-crc64ecma"] == str(crc64)
    assert head.headers["x-oss-object-type"] == "Normal"
    assert head.headers["Server"] == "AliyunOSS"
    assert head.content_length == len(body)
    meta = bucket.get_object_meta("key")
    assert (meta.etag, meta.content_length) == (md5, len(body))


def test_the_client_library_agrees_about_the_checksum(
    open_bucket: Callable[..., oss2.Bucket], auth: object
) -> None:
    bucket = open_bucket(auth, enable_crc=True)
    bucket.put_object("key", b"123456789")
    got = bucket.get_object("key")
    assert got.read() == b"123456789"
    assert got.client_crc == got.server_crc == 0x995DC9BBDF1939FA


def test_headers_and_metadata_come_back(server: OssServer, bucket: oss2.Bucket) -> None:
    server.add_kms_key("some-key")
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "max-age=60",
        "Content-Disposition": 'attachment; filename="a b.txt"',
        "Content-Encoding": "identity",
        "Content-Language": "de",
        "Expires": "Fri, 01 Jan 2027 00:00:00 GMT",
        "x-oss-meta-Source-ETag": "abc",
        "x-oss-meta-empty": "",
        "x-oss-server-side-encryption": "KMS",
        "x-oss-server-side-encryption-key-id": "some-key",
    }
    bucket.put_object("key", b"x", headers=sent)
    for headers in (bucket.get_object("key").headers, bucket.head_object("key").headers):
        assert {name: headers[name] for name in sent} == sent


def test_an_object_without_a_type_is_an_octet_stream(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"x", headers={"Content-Type": ""})
    assert v4_bucket.head_object("key").content_type == "application/octet-stream"


def test_an_overwrite_replaces_everything(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"first", headers={"x-oss-meta-a": "1", "x-oss-tagging": "t=1"})
    v4_bucket.put_object("key", b"second")
    headers = v4_bucket.head_object("key").headers
    assert "x-oss-meta-a" not in headers
    assert "x-oss-tagging-count" not in headers
    assert v4_bucket.get_object("key").read() == b"second"


def test_an_overwrite_can_be_forbidden(bucket: oss2.Bucket) -> None:
    forbid = {"x-oss-forbid-overwrite": "true"}
    bucket.put_object("key", b"first", headers=forbid)
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object("key", b"second", headers=forbid)
    assert (refusal.value.status, refusal.value.code) == (409, "FileAlreadyExists")
    bucket.put_object("key", b"third", headers={"x-oss-forbid-overwrite": "false"})
    assert bucket.get_object("key").read() == b"third"


def test_a_body_of_unknown_length_is_chunked(bucket: oss2.Bucket) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(LARGE), 70_001):
            yield LARGE[at : at + 70_001]

    put = bucket.put_object("key", pieces())
    assert put.etag == hashlib.md5(LARGE).hexdigest().upper()
    assert bucket.get_object("key").read() == LARGE


def test_a_file_like_body_is_sent_from_its_current_position(v4_bucket: oss2.Bucket) -> None:
    stream = io.BytesIO(b"0123456789")
    stream.seek(4)
    v4_bucket.put_object("key", stream)
    assert v4_bucket.get_object("key").read() == b"456789"


@pytest.mark.parametrize(
    ("requested", "status", "got", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=0-1,4-5", 206, b"01", "bytes 0-1/10"),
        ("bytes=10-", 200, b"0123456789", None),
        ("bytes=4-10", 200, b"0123456789", None),
        ("bytes=-11", 200, b"0123456789", None),
        ("bytes=5-4", 200, b"0123456789", None),
        ("byte=0-3", 200, b"0123456789", None),
        ("bytes=a-b", 200, b"0123456789", None),
    ],
)
def test_a_bad_range_is_ignored_by_default(
    v4_bucket: oss2.Bucket, requested: str, status: int, got: bytes, content_range: str | None
) -> None:
    v4_bucket.put_object("key", b"0123456789")
    answer = v4_bucket.get_object("key", headers={"Range": requested})
    assert (answer.status, answer.read()) == (status, got)
    assert answer.headers.get("Content-Range") == content_range


def test_a_range_beyond_the_end_answers_416_in_standard_behaviour(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"0123456789")
    standard = {"x-oss-range-behavior": "standard"}
    clipped = bucket.get_object("key", byte_range=(4, 100), headers=dict(standard))
    assert (clipped.status, clipped.read()) == (206, b"456789")
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.get_object("key", byte_range=(10, 20), headers=dict(standard))
    assert (refusal.value.status, refusal.value.code) == (416, "InvalidRange")


def test_the_file_of_a_spilled_object_is_removed_with_it(
    server: OssServer, v4_bucket: oss2.Bucket
) -> None:
    files_before = set(server.folder.iterdir())
    v4_bucket.put_object("key", LARGE)
    assert set(server.folder.iterdir()) - files_before
    v4_bucket.delete_object("key")
    assert set(server.folder.iterdir()) <= files_before


def test_a_range_of_a_spilled_object_is_exact(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", LARGE)
    start = len(LARGE) // 2 + 7
    got = v4_bucket.get_object("key", byte_range=(start, start + 99_999)).read()
    assert got == LARGE[start : start + 100_000]


def test_conditional_headers_are_evaluated(v4_bucket: oss2.Bucket) -> None:
    etag = v4_bucket.put_object("key", b"x").etag
    past, future = "Mon, 01 Jan 2024 00:00:00 GMT", "Fri, 01 Jan 2049 00:00:00 GMT"
    for headers in (
        {"If-Match": f'"{etag}"'},
        {"If-None-Match": '"other"'},
        {"If-Modified-Since": past},
        {"If-Unmodified-Since": future},
    ):
        assert v4_bucket.get_object("key", headers=headers).read() == b"x"
    for headers in ({"If-Match": '"other"'}, {"If-Unmodified-Since": past}):
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            v4_bucket.get_object("key", headers=headers)
        assert (refusal.value.status, refusal.value.code) == (412, "PreconditionFailed")
    for headers in ({"If-None-Match": f'"{etag}"'}, {"If-Modified-Since": future}):
        with pytest.raises(oss2.exceptions.NotModified):
            v4_bucket.get_object("key", headers=headers)
        with pytest.raises(oss2.exceptions.NotModified):
            v4_bucket.head_object("key", headers=headers)


def test_a_wrong_md5_stores_nothing(bucket: oss2.Bucket) -> None:
    wrong = oss2.utils.content_md5(b"other")
    for md5, ec in ((wrong, "0017-00000503"), ("bm90IGFuIG1kNQ==", "0017-00000502")):
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            bucket.put_object("key", b"x", headers={"Content-MD5": md5})
        assert (refusal.value.status, refusal.value.code) == (400, "InvalidDigest")
        assert refusal.value.ec == ec
    assert not bucket.object_exists("key")
    right = {"Content-MD5": oss2.utils.content_md5(b"x")}
    assert bucket.put_object("key", b"x", headers=right).status == 200


def test_a_missing_object_is_404_and_can_be_deleted(bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.NoSuchKey) as refusal:
        bucket.get_object("absent")
    assert refusal.value.details["Key"] == "absent"
    assert refusal.value.ec == "0026-00000001"
    with pytest.raises(oss2.exceptions.OssError) as head_refusal:
        bucket.head_object("absent")
    assert (head_refusal.value.status, head_refusal.value.code) == (404, "NoSuchKey")
    assert bucket.delete_object("absent").status == 204


def test_a_deleted_object_is_gone(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    assert bucket.delete_object("key").status == 204
    assert not bucket.object_exists("key")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_batch_is_deleted_at_once(server: OssServer, bucket: oss2.Bucket, quiet: bool) -> None:
    keys = ["a b", "ö&<>", "c%2Fd+", "line\nbreak"]
    for key in keys:
        bucket.put_object(key, b"x")
    if quiet:
        data = oss2.xml_utils.to_batch_delete_objects_request(keys, quiet)
        md5 = {"Content-MD5": oss2.utils.content_md5(data)}
        answer = bucket._do(
            "POST", bucket.bucket_name, "", data=data, headers=md5, params={"delete": ""}
        )
        assert answer.read() == b""
    else:
        assert bucket.batch_delete_objects([*keys, "absent"]).deleted_keys == [*keys, "absent"]
    assert not list(oss2.ObjectIterator(bucket))


@pytest.mark.parametrize("written", ["\x01", "&#1;", "&#x1;", "&#x01;"])
def test_a_batch_delete_takes_control_characters(v4_bucket: oss2.Bucket, written: str) -> None:
    for key in ("a\x01b", "a b"):
        v4_bucket.put_object(key, b"x")
    data = f"<Delete><Object><Key>a{written}b</Key></Object></Delete>".encode()
    md5 = {"Content-MD5": oss2.utils.content_md5(data)}
    params = {"delete": "", "encoding-type": "url"}
    answer = v4_bucket._do("POST", v4_bucket.bucket_name, "", data=data, headers=md5, params=params)
    assert b"<Key>a%01b</Key>" in answer.read()
    assert [each.key for each in oss2.ObjectIterator(v4_bucket)] == ["a b"]


def test_a_batch_delete_needs_a_correct_md5(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"x")
    data = oss2.xml_utils.to_batch_delete_objects_request(["key"], False)
    for headers, code in (
        ({}, "MissingArgument"),
        ({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "InvalidDigest"),
    ):
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            v4_bucket._do(
                "POST", v4_bucket.bucket_name, "", data=data, headers=headers, params={"delete": ""}
            )
        assert (refusal.value.status, refusal.value.code) == (400, code)
    assert v4_bucket.object_exists("key")


def test_an_append_continues_where_the_object_ends(bucket: oss2.Bucket) -> None:
    first = bucket.append_object("key", 0, b"hello ")
    assert first.next_position == 6
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength) as refusal:
        bucket.append_object("key", 3, b"x")
    assert (refusal.value.status, refusal.value.next_position) == (409, 6)
    second = bucket.append_object("key", 6, b"world")
    assert (second.next_position, second.crc) == (11, anycrc.Model("CRC64-XZ").calc(b"hello world"))
    assert bucket.get_object("key").read() == b"hello world"
    assert bucket.head_object("key").object_type == "Appendable"
    bucket.put_object("normal", b"x")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        bucket.append_object("normal", 1, b"x")


@pytest.mark.parametrize(
    "key",
    [
        *("a b", "a+b", "a%20b", "%", "a//b", "a/./b", "a/../b", "ä/日本語/🎉", "line\nbreak"),
        *("tab\there", "bell\a", "acl", "?acl", "a&b=c", "#x", "'\"<>", "trailing/", "-/health"),
        "k" * 1023,
    ],
)
def test_an_odd_key_is_stored_unchanged(server: OssServer, bucket: oss2.Bucket, key: str) -> None:
    bucket.put_object(key, key.encode())
    assert bucket.get_object(key).read() == key.encode()
    assert [entry.key for entry in oss2.ObjectIterator(bucket)] == [key]
    assert [entry.key for entry in oss2.ObjectIteratorV2(bucket)] == [key]
    assert server.requests(operation="PutObject")[-1].key == key
    bucket.delete_object(key)
    assert not bucket.object_exists(key)


@pytest.mark.parametrize("key", ["/a", "\\a", "k" * 1024])
def test_an_invalid_key_is_refused(bucket: oss2.Bucket, key: str) -> None:
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.put_object(key, b"x")
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidObjectName")


def test_a_cold_object_must_be_restored_first(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("key", b"x", headers={"x-oss-storage-class": "Archive"})
    assert v4_bucket.head_object("key").headers["x-oss-storage-class"] == "Archive"
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        v4_bucket.get_object("key")
    assert (refusal.value.status, refusal.value.code) == (403, "InvalidObjectState")


def test_an_operation_that_the_stand_in_lacks_answers_not_implemented(
    v4_bucket: oss2.Bucket,
) -> None:
    for attempt in (
        lambda: v4_bucket.put_symlink("key", "link"),
        lambda: v4_bucket.restore_object("key"),
        v4_bucket.get_bucket_lifecycle,
    ):
        with pytest.raises(oss2.exceptions.OssError) as refusal:
            attempt()
        assert (refusal.value.status, refusal.value.code) == (501, "NotImplemented")
