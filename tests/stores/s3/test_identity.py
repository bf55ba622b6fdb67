"""No answer of a gateway, a captive portal or a proxy is taken for one of S3."""

from collections.abc import Callable

import pytest

from replication.errors import ErrorCode, ObjectMissing
from replication.stores.base import ObjectInfo
from replication.stores.s3.store import S3Store
from tests.stores.conftest import read_all, scripted_s3
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "report.pdf"
PAGE = (
    b"<!DOCTYPE html><html><head><title>Access blocked</title><style>p { color: red }</style>"
    b"</head><body>Sign in to the gateway.</body></html>"
)
NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code><Message>Not found</Message></Error>"
PIN = ObjectInfo(size_bytes=10, etag="e", is_pinnable=True)


def answer(
    status: str, body: bytes = PAGE, *, kind: str = "text/html; charset=utf-8", more: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def for_head(whole: bytes) -> bytes:
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def open_object(store: S3Store) -> None:
    store.open(KEY)


def open_range(store: S3Store) -> None:
    store.open_range(KEY, first_byte=2, last_byte=4, pin=PIN)


def head(store: S3Store) -> None:
    store.head(KEY)


def tags(store: S3Store) -> None:
    store.tags(KEY, version_id="")


def request_restore(store: S3Store) -> None:
    store.request_restore(KEY, days=1, tier="Bulk")


every_request = pytest.mark.parametrize(
    "request_", [open_object, open_range, head, tags, request_restore]
)


@every_request
@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("200 OK", ""),
        ("206 Partial Content", ""),
        ("302 Found", "Location: https://gateway.example/login?token=secret\r\n"),
        ("403 Forbidden", ""),
        ("404 Not Found", ""),
        ("407 Proxy Authentication Required", ""),
        ("412 Precondition Failed", ""),
        ("511 Network Authentication Required", ""),
    ],
)
def test_a_page_of_a_gateway_is_not_from_s3_whatever_its_status(
    origin: HttpOrigin, request_: Callable[[S3Store], None], status: str, more: str
) -> None:
    whole = answer(status, more=more)
    origin.answer = for_head(whole) if request_ is head else whole
    with failing(ErrorCode.SOURCE_NOT_S3) as caught:
        request_(scripted_s3(origin))
    detail = caught.value.detail
    assert f"status {status[:3]} without x-amz-request-id" in detail
    assert "text/html" in detail
    assert "secret" not in detail
    if request_ not in {head, request_restore}:  # a restore begins with a HEAD
        assert detail.endswith("Access blocked Sign in to the gateway.")


@pytest.mark.parametrize("request_", [open_object, head])
def test_an_object_without_an_etag_is_not_from_s3(
    origin: HttpOrigin, request_: Callable[[S3Store], None]
) -> None:
    origin.answers(b"" if request_ is head else b"content", length=7)
    with failing(ErrorCode.SOURCE_NOT_S3) as caught:
        request_(scripted_s3(origin))
    assert "without ETag" in caught.value.detail


@pytest.mark.parametrize("request_", [open_object, head])
def test_a_missing_object_is_believed_from_s3_alone(
    origin: HttpOrigin, request_: Callable[[S3Store], None]
) -> None:
    without_id = NO_SUCH_KEY.replace(b"</Error>", b"<RequestId>of the body</RequestId></Error>")
    origin.answer = answer("404 Not Found", without_id, kind="application/xml")
    with failing(ErrorCode.SOURCE_NOT_S3):
        request_(scripted_s3(origin))
    origin.answers(NO_SUCH_KEY, status="404 Not Found")
    with pytest.raises(ObjectMissing) as caught:
        request_(scripted_s3(origin))
    assert caught.value.request_id == "of-the-origin"


def test_a_refusal_with_its_request_id_in_the_document_alone_is_from_s3(
    origin: HttpOrigin,
) -> None:
    document = (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><RequestId>X1</RequestId></Error>"
    )
    origin.answer = answer("403 Forbidden", document, kind="application/xml")
    with failing(ErrorCode.SOURCE_ACCESS_DENIED):
        scripted_s3(origin).open(KEY)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("500 Internal Server Error", ErrorCode.SOURCE_UNAVAILABLE),
        ("502 Bad Gateway", ErrorCode.SOURCE_UNAVAILABLE),
        ("503 Service Unavailable", ErrorCode.SOURCE_THROTTLED),
        ("504 Gateway Timeout", ErrorCode.SOURCE_UNAVAILABLE),
        ("429 Too Many Requests", ErrorCode.SOURCE_THROTTLED),
    ],
)
def test_a_load_balancer_may_say_that_s3_is_away(
    origin: HttpOrigin, status: str, code: ErrorCode
) -> None:
    origin.answer = answer(status)
    with failing(code):
        scripted_s3(origin).open(KEY)


def test_an_impostor_s_endless_page_is_not_read_to_its_end(origin: HttpOrigin) -> None:
    origin.answer = answer("200 OK", PAGE).replace(b"Content-Length: 165", b"X: y")
    origin.answer += b" and more" * 100_000
    with failing(ErrorCode.SOURCE_NOT_S3) as caught:
        scripted_s3(origin).open(KEY)
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize("request_", [open_object, head])
def test_an_object_without_a_length_says_so(
    origin: HttpOrigin, request_: Callable[[S3Store], None]
) -> None:
    origin.answer = (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nx-amz-request-id: FAKE0123\r\n"
        b'ETag: "2a2f2d1a8ee0d1a3d0a7b9f1a5b1c0aa-1"\r\nContent-Type: text/csv\r\n'
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    if request_ is open_object:
        origin.answer += b"8\r\na,b\n1,2\n\r\n0\r\n\r\n"
    with failing(ErrorCode.SOURCE_LENGTH_UNKNOWN) as caught:
        request_(scripted_s3(origin))
    assert caught.value.request_id == "FAKE0123"


def test_an_object_of_s3_is_read(origin: HttpOrigin) -> None:
    origin.answers(b"content", ETag='"e"')
    with scripted_s3(origin).open(KEY) as found:
        assert read_all(found) == b"content"
