"""`may_still_land` tells a write that OSS may yet carry out from one that it surely won't."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import ReplicaAttributes
from replication.stores.oss.store import OssStore
from sandbox.oss import Fault, OssServer
from tests.support.road import OSS_REGION

pytestmark = pytest.mark.usefixtures("thread_or_fiber")

KEY = "a.txt"
READ_TIMEOUT_SECONDS = 0.3


class Bytes:
    """Bytes as the body of a PUT."""

    def __init__(self, content: bytes) -> None:
        self._stream = BytesIO(content)
        self.len = len(content)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


class BrokenBody(Bytes):
    """A body whose source fails before its last byte."""

    def read(self, size: int = -1) -> bytes:
        raise ReplicationError(ErrorCode.SOURCE_TRUNCATED)


class EndlessBody:
    """A body that is larger than any socket's buffers."""

    def __init__(self, size: int) -> None:
        self.len = size

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def put(store: OssStore) -> None:
    store.put(KEY, Bytes(b"content"), ReplicaAttributes())


def put_nothing(store: OssStore) -> None:
    store.put(KEY, Bytes(b""), ReplicaAttributes())


def delete(store: OssStore) -> None:
    store.delete(KEY)


def set_tags(store: OssStore) -> None:
    store.set_tags(KEY, {"a": "1"})


def delete_tags(store: OssStore) -> None:
    store.set_tags(KEY, {})


Write = Callable[[OssStore], None]
every_write = pytest.mark.parametrize("write", [put, put_nothing, set_tags, delete_tags, delete])


@pytest.fixture(autouse=True)
def short_timeouts(settings: Settings) -> None:
    limits = {"read_timeout_seconds": READ_TIMEOUT_SECONDS, "connect_timeout_seconds": 5}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=limits)


def store_at(endpoint: str) -> OssStore:
    return OssStore(
        bucket="replica",
        endpoint=endpoint,
        region=OSS_REGION,
        addressing="path",
        profile="default",
    )


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The endpoint of a server that reads once, sends `answer` and closes, for each connection."""
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                clients.append(client)
                with client, suppress(OSError):  # the client may end the connection at any moment
                    client.recv(65536)
                    if answer:  # without an answer, the unread bytes turn the close into a reset
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(65536):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for waiting in (listener, *clients):  # accept() or recv()
                with suppress(OSError):
                    waiting.shutdown(socket.SHUT_RDWR)
            thread.join()


def failed(write: Write, store: OssStore) -> ReplicationError:
    with pytest.raises(ReplicationError) as caught:
        write(store)
    return caught.value


@every_write
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "effect",
    [{"reset": True}, {"delay_seconds": 60.0}, {"status": 502}, {"status": 504}],
    ids=["reset", "silence", "502", "504"],
)
def test_a_write_without_an_answer_may_still_land(
    oss: OssServer, write: Write, when: str, effect: dict[str, object]
) -> None:
    put(store_at(oss.endpoint))  # an object to write tags to
    oss.add_fault(Fault(when=when, **effect))  # type: ignore[arg-type]
    assert failed(write, store_at(oss.endpoint)).may_still_land


@every_write
@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "TotalQpsLimitExceeded"), (403, "AccessDenied")],
)
def test_a_write_that_oss_refuses_will_not_land(
    oss: OssServer, write: Write, status: int, code: str
) -> None:
    oss.add_fault(Fault(status=status, code=code))
    assert not failed(write, store_at(oss.endpoint)).may_still_land


@every_write
@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:9", "http://nowhere.invalid"],
    ids=["refused", "unknown name"],
)
def test_a_write_that_reaches_no_server_will_not_land(write: Write, endpoint: str) -> None:
    error = failed(write, store_at(endpoint))
    assert error.code == ErrorCode.DESTINATION_UNREACHABLE
    assert not error.may_still_land


@every_write
def test_a_write_whose_connection_times_out_will_not_land(settings: Settings, write: Write) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"connect_timeout_seconds": 0.2})
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # fill the backlog, so that the kernel accepts no more connections
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            error = failed(write, store_at(f"http://127.0.0.1:{address[1]}"))
        finally:
            for filler in fillers:
                filler.close()
    assert error.code == ErrorCode.DESTINATION_UNREACHABLE
    assert not error.may_still_land


@every_write
def test_a_write_whose_tls_handshake_fails_will_not_land(write: Write) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as endpoint:
        error = failed(write, store_at(endpoint.replace("http:", "https:")))
    assert error.code == ErrorCode.DESTINATION_TLS
    assert not error.may_still_land


@every_write
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["truncated", "contradictory", "nonsense", "from a gateway"],
)
def test_a_write_without_a_valid_answer_of_oss_may_still_land(write: Write, answer: bytes) -> None:
    with answering(answer) as endpoint:
        assert failed(write, store_at(endpoint)).may_still_land


def test_a_put_whose_source_fails_will_not_land(oss: OssServer) -> None:
    store = store_at(oss.endpoint)
    with pytest.raises(ReplicationError) as caught:
        store.put(KEY, BrokenBody(b"content"), ReplicaAttributes())
    assert caught.value.code == ErrorCode.SOURCE_TRUNCATED
    assert not caught.value.may_still_land


def test_a_put_that_is_cut_before_its_last_byte_will_not_land() -> None:
    with answering(b"") as endpoint:
        store = store_at(endpoint)
        with pytest.raises(ReplicationError) as caught:
            store.put(KEY, EndlessBody(1 << 40), ReplicaAttributes())
    assert caught.value.code == ErrorCode.DESTINATION_UNREACHABLE
    assert not caught.value.may_still_land
