"""The contract of source stores, tested with MiniStack, moto and a plain web server."""

import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from replication.errors import ErrorCode, ObjectMissing
from replication.stores.base import ObjectInfo, SourceStore
from replication.stores.http.store import HttpStore
from tests.stores.conftest import SourceCase, read_all
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "a.txt"
CONTENT = bytes(range(256)) * 20
ODD_KEYS = [
    *["a b+c%.txt", "图片/日本.txt", "emoji-😀", "a//b", "folder/", "?a=b", "a#b", "%2F", "a%2Fb"],
    *["a&b=c", "quote'\"<&>", "...", "a;b", "~a", "back\\slash", " ", "trailing ", "é", "e\u0301"],
]


def test_an_object_comes_with_its_headers_and_attributes(source: SourceCase) -> None:
    source.put(
        KEY,
        CONTENT,
        ContentType="text/x-odd; charset=gbk",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a b.txt"',
        ContentLanguage="zh-CN",
    )
    with source.store.open(KEY) as found:
        info = found.info
        assert (found.length_bytes, info.size_bytes) == (len(CONTENT), len(CONTENT))
        assert read_all(found) == CONTENT
        assert found.read(1) == b""
    assert info.etag == hashlib.md5(CONTENT).hexdigest()
    assert info.content_headers == {
        "content-type": "text/x-odd; charset=gbk",
        "cache-control": "max-age=60",
        "content-disposition": 'attachment; filename="a b.txt"',
        "content-language": "zh-CN",
    }
    assert info.is_pinnable
    assert (info.version_id, info.storage_class, info.tag_count) == ("", "STANDARD", 0)
    assert not info.is_archived
    assert info.last_modified is not None
    assert abs(datetime.now(UTC) - info.last_modified) < timedelta(minutes=5)


def test_the_expires_header_is_the_stored_text(source: SourceCase) -> None:
    source.put(KEY, Expires=datetime(2094, 12, 1, 16, tzinfo=UTC))
    with source.store.open(KEY) as found:
        assert found.info.content_headers["expires"] == "Wed, 01 Dec 2094 16:00:00 GMT"


def test_an_empty_object_is_empty(source: SourceCase) -> None:
    source.put(KEY, b"")
    with source.store.open(KEY) as found:
        assert (found.length_bytes, found.info.size_bytes) == (0, 0)
        assert found.read(10) == b""


def test_a_small_object_is_written_only_to_a_bucket(source: SourceCase) -> None:
    if isinstance(source.store, HttpStore):
        with failing(ErrorCode.SOURCE_UNSUPPORTED):
            source.store.put(KEY, b"canary")
        return
    for content in (b"canary", b"canary again"):
        source.store.put(KEY, content)
        assert source.read(KEY) == content


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_object_with_an_odd_key_can_be_read(source: SourceCase, key: str) -> None:
    source.put(key, key.encode())
    assert source.read(key) == key.encode()


def test_compressed_content_stays_compressed(source: SourceCase) -> None:
    stored = gzip.compress(CONTENT)
    source.put(KEY, stored, ContentEncoding="gzip")
    with source.store.open(KEY) as found:
        pin = found.info
        assert pin.content_headers["content-encoding"] == "gzip"
        assert read_all(found) == stored
    with source.store.open_range(KEY, first_byte=0, last_byte=9, pin=pin) as part:
        assert read_all(part) == stored[:10]


def test_an_object_that_does_not_exist_is_missing(source: SourceCase) -> None:
    with pytest.raises(ObjectMissing):
        source.store.open(KEY)


def test_a_deleted_object_is_missing(source: SourceCase) -> None:
    source.put(KEY)
    source.delete(KEY)
    with pytest.raises(ObjectMissing):
        source.store.open(KEY)


# -- ranges ------------------------------------------------------------------------------------


def info_of(source: SourceCase, key: str = KEY) -> ObjectInfo:
    with source.store.open(key) as found:
        return found.info


def test_consecutive_ranges_make_up_the_object(source: SourceCase) -> None:
    source.put(KEY, CONTENT)
    pin = info_of(source)
    pieces = []
    for first_byte in range(0, len(CONTENT), 1024):
        last_byte = min(first_byte + 1024, len(CONTENT)) - 1
        with source.store.open_range(
            KEY, first_byte=first_byte, last_byte=last_byte, pin=pin
        ) as piece:
            assert piece.length_bytes == last_byte - first_byte + 1
            assert piece.info.size_bytes == len(CONTENT)
            assert piece.info.etag == pin.etag
            pieces.append(read_all(piece))
    assert b"".join(pieces) == CONTENT


@pytest.mark.parametrize("at", [0, len(CONTENT) - 1])
def test_a_range_can_be_one_byte(source: SourceCase, at: int) -> None:
    source.put(KEY, CONTENT)
    with source.store.open_range(KEY, first_byte=at, last_byte=at, pin=info_of(source)) as piece:
        assert read_all(piece) == CONTENT[at : at + 1]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_range_of_an_object_with_an_odd_key_can_be_read(source: SourceCase, key: str) -> None:
    source.put(key, key.encode())
    with source.store.open_range(
        key, first_byte=0, last_byte=len(key.encode()) - 1, pin=info_of(source, key)
    ) as piece:
        assert read_all(piece) == key.encode()


def overwritten(source: SourceCase) -> None:
    source.put(KEY, CONTENT[::-1])


def deleted(source: SourceCase) -> None:
    source.delete(KEY)


def shortened(source: SourceCase) -> None:
    source.put(KEY, b"x")


@pytest.mark.parametrize("change", [overwritten, deleted, shortened])
def test_a_range_of_a_changed_object_is_refused(source: SourceCase, change) -> None:
    source.put(KEY, CONTENT)
    pin = info_of(source)
    change(source)
    with failing(ErrorCode.SOURCE_CHANGED):
        source.store.open_range(KEY, first_byte=100, last_byte=199, pin=pin)


# -- servers that break the rules of HTTP ------------------------------------------------------

PIN = ObjectInfo(size_bytes=10, etag="e", is_pinnable=True)


def second_to_fourth(source: SourceStore) -> bytes:
    with source.open_range(KEY, first_byte=2, last_byte=4, pin=PIN) as piece:
        return read_all(piece)


def test_an_object_that_can_not_be_pinned_is_not_read_in_parts(
    scripted_source: SourceStore, origin: HttpOrigin
) -> None:
    unpinnable = ObjectInfo(size_bytes=10, etag="", is_pinnable=False)
    with failing(ErrorCode.SOURCE_UNSUPPORTED):
        scripted_source.open_range(KEY, first_byte=2, last_byte=4, pin=unpinnable)
    assert origin.targets == []


def test_the_requested_range_is_accepted(scripted_source: SourceStore, origin: HttpOrigin) -> None:
    origin.answers(b"234", status="206 Partial", Content_Range="bytes 2-4/10", ETag='"e"')
    assert second_to_fourth(scripted_source) == b"234"


def test_a_server_that_ignores_ranges_is_an_error(
    scripted_source: SourceStore, origin: HttpOrigin
) -> None:
    origin.answers(b"0123456789", ETag='"e"')
    with failing(ErrorCode.SOURCE_RANGE_IGNORED):
        second_to_fourth(scripted_source)


@pytest.mark.parametrize(
    ("content_range", "etag", "code"),
    [
        ("bytes 2-4/11", '"e"', ErrorCode.SOURCE_CHANGED),
        ("bytes 1-3/10", '"e"', ErrorCode.SOURCE_CHANGED),
        ("bytes 2-4/10", '"f"', ErrorCode.SOURCE_CHANGED),
        ("bytes 2-4/*", '"e"', ErrorCode.SOURCE_TRUNCATED),
        ("", '"e"', ErrorCode.SOURCE_TRUNCATED),
        ("bytes 2-4/10", 'W/"e"', ErrorCode.SOURCE_CHANGED),
    ],
)
def test_another_range_or_object_is_refused(
    scripted_source: SourceStore, origin: HttpOrigin, content_range: str, etag: str, code: ErrorCode
) -> None:
    origin.answers(b"234", status="206 Partial", Content_Range=content_range, ETag=etag)
    with failing(code):
        second_to_fourth(scripted_source)


def test_a_range_whose_length_contradicts_its_headers_is_refused(
    scripted_source: SourceStore, origin: HttpOrigin
) -> None:
    origin.answers(b"23456", status="206 Partial", Content_Range="bytes 2-4/10", ETag='"e"')
    with failing(ErrorCode.SOURCE_TRUNCATED):
        second_to_fourth(scripted_source)


def test_a_range_that_breaks_off_is_an_error(
    scripted_source: SourceStore, origin: HttpOrigin
) -> None:
    origin.answers(b"2", length=3, status="206 Partial", Content_Range="bytes 2-4/10", ETag='"e"')
    with failing(ErrorCode.SOURCE_TRUNCATED):
        second_to_fourth(scripted_source)


@pytest.mark.parametrize("status", ["412 Precondition Failed", "416 Range Not Satisfiable"])
def test_a_failed_precondition_means_a_changed_source(
    scripted_source: SourceStore, origin: HttpOrigin, status: str
) -> None:
    origin.answers(status=status)
    with failing(ErrorCode.SOURCE_CHANGED):
        second_to_fourth(scripted_source)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("403 Forbidden", ErrorCode.SOURCE_ACCESS_DENIED),
        ("500 Internal Server Error", ErrorCode.SOURCE_UNAVAILABLE),
        ("503 Slow Down", ErrorCode.SOURCE_THROTTLED),
    ],
)
def test_other_errors_mean_the_same_for_a_range_as_for_an_object(
    scripted_source: SourceStore, origin: HttpOrigin, status: str, code: ErrorCode
) -> None:
    origin.answers(status=status)
    with failing(code):
        second_to_fourth(scripted_source)


def whole_object(*, size: int = 10, etag: str = "e") -> bytes:
    head = "HTTP/1.1 200 OK\r\nConnection: close\r\nx-amz-request-id: R\r\n"
    return f'{head}ETag: "{etag}"\r\nContent-Length: {size}\r\n\r\n'.encode()


@pytest.mark.parametrize(
    "refusal",
    [
        {"status": "412 Precondition Failed"},
        {"status": "416 Range Not Satisfiable"},
        {"status": "206 Partial", "ETag": '"f"', "Content_Range": "bytes 2-4/10"},
        {"status": "206 Partial", "ETag": '"e"', "Content_Range": "bytes 2-4/11"},
    ],
    ids=["412", "416", "another ETag", "another size"],
)
@pytest.mark.parametrize(
    ("whole", "code"),
    [
        (whole_object(), ErrorCode.SOURCE_INCONSISTENT),
        (whole_object(etag="new"), ErrorCode.SOURCE_CHANGED),
        (whole_object(size=9), ErrorCode.SOURCE_CHANGED),
        (b"", ErrorCode.SOURCE_CHANGED),
    ],
    ids=["the same object", "a new ETag", "a new size", "no answer"],
)
def test_a_source_that_refuses_a_range_as_changed_is_asked_for_the_whole_object(
    scripted_source: SourceStore,
    origin: HttpOrigin,
    refusal: dict[str, Any],
    whole: bytes,
    code: ErrorCode,
) -> None:
    origin.answers(b"234", **refusal)
    refused = origin.answer

    def answer(_target: str) -> bytes:
        assert isinstance(refused, bytes)
        return refused if b"bytes=2-4" in origin.request else whole

    origin.answer = answer
    with failing(code):
        second_to_fourth(scripted_source)


def test_a_weak_etag_is_sent_back_as_it_came(
    scripted_source: SourceStore, origin: HttpOrigin
) -> None:
    origin.answers(b"234", status="206 Partial", Content_Range="bytes 2-4/10", ETag='W/"e"')
    weak = ObjectInfo(size_bytes=10, etag='W/"e"', is_pinnable=True)
    with scripted_source.open_range(KEY, first_byte=2, last_byte=4, pin=weak) as piece:
        assert read_all(piece) == b"234"
    assert b'\r\nif-match: w/"e"\r\n' in origin.request.lower()
