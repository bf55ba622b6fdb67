"""An exchange whose bytes trickle is given up; one that is slow only on our side is not."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from replication.stores.transport import Limits, Pool, TooSlow
from replication.stores.transport.pace import Pace
from tests.support.scripted_server import MEGABYTE, Content, Server, a_pool, scripted_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
LIMITS = Limits(1, 1, exchange_seconds=60, least_bytes_per_second=100)


def test_only_a_wait_after_the_span_can_be_too_slow() -> None:
    pace = Pace(LIMITS)
    pace.waited(59)
    pace.check()
    pace.waited(1)
    with pytest.raises(TooSlow, match="0 bytes in 60 s, fewer than 100 a second"):
        pace.check()


def test_each_span_is_measured_alone() -> None:
    pace = Pace(LIMITS)
    pace.moved(1_000_000)
    pace.waited(60)
    pace.check()
    pace.waited(60)
    pace.moved(5_999)
    with pytest.raises(TooSlow, match="5999 bytes"):
        pace.check()


def test_a_speed_of_zero_is_no_limit() -> None:
    pace = Pace(Limits(1, 1, exchange_seconds=60, least_bytes_per_second=0))
    pace.waited(1e9)
    pace.check()


# -- over real connections ---------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def trickling(beginning: bytes, ended: threading.Event) -> Callable[[socket.socket], None]:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while not ended.wait(0.01):
            connection.sendall(b"x")

    return trickle


def hasty_pool() -> Pool:
    """It gives up after a tenth of a second with fewer than 10,000 bytes."""
    return a_pool(exchange_seconds=0.1, least_bytes_per_second=100_000)


@pytest.mark.usefixtures("thread_or_fiber")
@pytest.mark.parametrize(
    "beginning",
    [
        HEAD,
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n<Error>",
        HEAD + b"x" * 500_000,
    ],
    ids=["body", "head", "error", "body after a fast beginning"],
)
def test_an_answer_that_trickles_is_given_up(
    server: Server, ended: threading.Event, beginning: bytes
) -> None:
    server.answers = [trickling(beginning, ended)]
    with pytest.raises(TooSlow), hasty_pool().request("GET", server.url, headers=[]) as answer:
        answer.read_all()


@pytest.mark.usefixtures("thread_or_fiber")
def test_a_server_that_takes_the_body_in_trickles_is_given_up(
    server: Server, ended: threading.Event
) -> None:
    def read_in_trickles(connection: socket.socket) -> None:
        while not ended.wait(0.01):
            connection.recv(65536)

    server.reads_bodies = False
    server.answers = [read_in_trickles]
    pool = a_pool(read_seconds=30, exchange_seconds=0.1, least_bytes_per_second=1e12)
    with pytest.raises(TooSlow):
        pool.request("PUT", server.url, headers=[], body=Content(b"x" * (16 * MEGABYTE)))


def test_a_caller_who_reads_slowly_does_not_make_the_server_slow(server: Server) -> None:
    server.answers = [HEAD + b"x" * 1_000_000]
    pause = threading.Event()
    with hasty_pool().request("GET", server.url, headers=[]) as answer:
        for _ in range(3):
            assert answer.read(1)
            pause.wait(0.1)
        assert len(answer.read_all()) == 999_997
