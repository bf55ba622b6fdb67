"""What the stores make of an exchange that goes wrong, and of an answer from somebody else."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import ReplicaAttributes, SourceStore
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from tests.stores.conftest import oss_store, read_all
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin
from tests.support.scripted_server import Content, Server, scripted_server

KEY = "a.txt"
PAGE = b"<html><body>Sign in to the gateway.</body></html>"


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def put(store: OssStore) -> None:
    store.put(KEY, Content(b"content"), ReplicaAttributes())


def delete(store: OssStore) -> None:
    store.delete(KEY)


def open_replica(store: OssStore) -> None:
    store.open(KEY)


def head(store: OssStore) -> None:
    store.head(KEY)


def tags(store: OssStore) -> None:
    store.tags(KEY)


def create_upload(store: OssStore) -> None:
    store.create_upload(KEY, ReplicaAttributes())


every_request = pytest.mark.parametrize(
    "request_", [put, delete, open_replica, head, tags, create_upload]
)


@every_request
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "403 X", "404 X"])
def test_a_page_of_a_gateway_is_not_from_oss_whatever_its_status(
    origin: HttpOrigin, request_: Callable[[OssStore], None], status: str
) -> None:
    page = b"" if request_ is head or status.startswith("204") else PAGE
    origin.answers(page, status=status, Content_Type="text/html")
    with failing(ErrorCode.DESTINATION_NOT_OSS) as caught:
        request_(oss_store(origin.url))
    assert f"status {status[:3]} without x-oss-request-id (text/html)" in caught.value.detail
    assert not page or caught.value.detail.endswith("Sign in to the gateway.")
    # Nobody knows whether the gateway passed the request on.
    assert caught.value.may_still_land == (request_ in {put, delete})


def test_a_load_balancer_may_say_that_oss_is_away(origin: HttpOrigin) -> None:
    origin.answers(PAGE, status="503 Service Unavailable")
    with failing(ErrorCode.DESTINATION_UNAVAILABLE):
        put(oss_store(origin.url))


def test_a_hint_that_comes_while_the_body_is_sent_is_heard(
    server: Server, ended: threading.Event
) -> None:
    def throttle(connection: socket.socket) -> None:
        body = b"<Error><Code>TotalQpsLimitExceeded</Code></Error>"
        head = (
            b"HTTP/1.1 503 Slow Down\r\nx-oss-request-id: R\r\nx-oss-qos-delay-time: 700\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        connection.sendall(head + body)
        ended.wait(30)

    server.reads_bodies = False
    server.answers = [throttle]
    with failing(ErrorCode.DESTINATION_THROTTLED) as caught:
        oss_store(server.url).put(KEY, Content(bytes(1 << 24)), ReplicaAttributes())
    assert caught.value.retry_after_seconds == pytest.approx(0.7)
    assert not caught.value.may_still_land


# -- trickles ----------------------------------------------------------------------------------


@pytest.fixture
def hasty(settings: Settings) -> None:
    limits = {"exchange_seconds": 0.1, "least_bytes_per_second": 1e9}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=limits)


def trickling(ended: threading.Event) -> Callable[[socket.socket], None]:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(
            b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "e"\r\n'
            b"x-amz-request-id: R\r\nx-oss-request-id: R\r\n\r\n" + b"x" * 70_000
        )
        while not ended.wait(0.01):
            connection.sendall(b"x")

    return trickle


def s3_at(url: str) -> SourceStore:
    return S3Store(bucket="photos", region="us-east-1", endpoint_url=url, profile="default")


def http_at(url: str) -> SourceStore:
    return HttpStore(endpoint_url=url)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("source_at", [s3_at, http_at])
def test_an_object_that_trickles_is_given_up(
    server: Server, ended: threading.Event, source_at: Callable[[str], SourceStore]
) -> None:
    server.answers = [trickling(ended)]
    with source_at(server.url).open(KEY) as found, failing(ErrorCode.SOURCE_TOO_SLOW):
        read_all(found)


@pytest.mark.usefixtures("hasty")
def test_a_listing_of_oss_that_trickles_is_given_up(server: Server, ended: threading.Event) -> None:
    server.answers = [trickling(ended)]
    with failing(ErrorCode.DESTINATION_TOO_SLOW):
        oss_store(server.url).list_parts(KEY, "upload")


def test_a_listing_that_does_not_fit_into_memory_is_refused(origin: HttpOrigin) -> None:
    origin.answers(bytes(17 * 1024**2), x_oss_request_id="R")
    with pytest.raises(ReplicationError, match="longer than"):
        oss_store(origin.url).list_parts(KEY, "upload")
