"""Fibers take turns on one thread, and a slow or failing fiber does not affect the others."""

import gc
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from queue import SimpleQueue

import pytest

from replication.stores.transport import fibers
from replication.stores.transport.fibers import Fibers
from tests.support.road import Log

PATIENCE_SECONDS = 10.0


class Refused(Exception):
    """An exception of our own: Python's built-in ones don't support weak references."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection. The first is non-blocking."""
    with ExitStack() as ends:
        ours, theirs = (ends.enter_context(end) for end in socket.socketpair())
        ours.setblocking(False)
        yield ours, theirs


def wait(
    end: socket.socket, events: int = select.EPOLLIN, *, seconds: float = PATIENCE_SECONDS
) -> None:
    own = fibers.current()
    assert own is not None
    own.wait(end.fileno(), events, seconds=seconds)


def test_exit_waits_for_all_work_in_order_and_a_failure_costs_no_fiber(logged: Log) -> None:
    done: SimpleQueue[int] = SimpleQueue()

    def work(number: int) -> None:
        if number % 2:
            raise ValueError(f"number {number}")
        done.put(number)

    with Fibers(1, "transfers") as some:
        for number in range(6):
            some.start(work, number)
    assert [done.get_nowait() for _ in range(3)] == [0, 2, 4]
    assert logged.text.count("fiber.failed_unexpectedly") == 3
    assert "number 5" in logged.text


def test_while_a_fiber_waits_for_its_socket_others_run_up_to_the_count(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        said.put("waits")
        wait(ours)
        said.put(ours.recv(10).decode())

    def other(name: str) -> None:
        said.put(name)

    with Fibers(2, "transfers") as some:
        some.start(waiting)
        some.start(other, "second runs")
        some.start(other, "third runs")
        assert [said.get(timeout=PATIENCE_SECONDS) for _ in range(3)] == [
            "waits",
            "second runs",
            "third runs",
        ]
        theirs.send(b"data")
        assert said.get(timeout=PATIENCE_SECONDS) == "data"

    with Fibers(1, "transfers") as one:
        one.start(waiting)
        one.start(other, "runs after")
        assert said.get(timeout=PATIENCE_SECONDS) == "waits"
        theirs.send(b"data")
        assert said.get(timeout=PATIENCE_SECONDS) == "data"
        assert said.get(timeout=PATIENCE_SECONDS) == "runs after"


def test_all_fibers_share_one_thread_and_blocking_calls_run_on_others() -> None:
    seen: SimpleQueue[int] = SimpleQueue()

    def work() -> None:
        seen.put(threading.get_ident())
        seen.put(fibers.run_blocking(threading.get_ident))
        seen.put(threading.get_ident())

    with Fibers(4, "transfers") as some:
        for _ in range(4):
            some.start(work)
    threads = [seen.get_nowait() for _ in range(12)]
    assert threading.get_ident() not in threads
    (own,) = {thread for thread in threads if threads.count(thread) >= 8}
    assert threads.count(own) == 8
    assert fibers.run_blocking(threading.get_ident) == threading.get_ident()


def test_fewer_fibers_run_while_fewer_are_allowed() -> None:
    began: SimpleQueue[int] = SimpleQueue()
    may_end = threading.Event()

    def work(number: int) -> None:
        began.put(number)
        fibers.run_blocking(lambda: may_end.wait(PATIENCE_SECONDS))

    with Fibers(4, "transfers") as some:
        some.allow(1)
        for number in range(6):
            some.start(work, number)
        assert began.get(timeout=PATIENCE_SECONDS) == 0
        assert began.empty()
        some.allow(3)
        assert [began.get(timeout=PATIENCE_SECONDS) for _ in range(2)] == [1, 2]
        assert began.empty()
        some.allow(100)  # but never more than there may be at all
        assert began.get(timeout=PATIENCE_SECONDS) == 3
        assert began.empty()
        may_end.set()
    assert [began.get_nowait() for _ in range(2)] == [4, 5]


def test_a_blocking_call_stops_only_its_own_fiber_which_gets_the_error() -> None:
    said: SimpleQueue[str] = SimpleQueue()
    may_end = threading.Event()

    def blocks_and_fails() -> None:
        assert may_end.wait(PATIENCE_SECONDS)
        raise ConnectionRefusedError("refused")

    def work() -> None:
        said.put("blocks")
        try:
            fibers.run_blocking(blocks_and_fails)
        except ConnectionRefusedError as error:
            said.put(str(error))

    with Fibers(2, "transfers") as some:
        some.start(work)
        some.start(said.put, "another runs")
        assert said.get(timeout=PATIENCE_SECONDS) == "blocks"
        assert said.get(timeout=PATIENCE_SECONDS) == "another runs"
        may_end.set()
        assert said.get(timeout=PATIENCE_SECONDS) == "refused"


def test_a_wait_times_out_and_the_fiber_can_wait_for_the_same_socket_again(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "TIMEOUT_CHECK_SECONDS", 0.01)
    ours, theirs = pair
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        try:
            wait(ours, seconds=0.01)
        except TimeoutError:
            said.put("timed out")
        wait(ours)
        said.put(ours.recv(10).decode())

    with Fibers(1, "transfers") as some:
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "timed out"
        theirs.send(b"data")
        assert said.get(timeout=PATIENCE_SECONDS) == "data"


def test_data_that_came_in_time_does_not_time_out_while_another_fiber_holds_the_thread(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "TIMEOUT_CHECK_SECONDS", 0.01)
    ours, theirs = pair
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        wait(ours, seconds=0.2)
        said.put(ours.recv(10).decode())

    def holding_the_thread(end: socket.socket) -> None:
        said.put("waits")
        wait(end)
        theirs.send(b"in time")
        time.sleep(0.4)

    with ExitStack() as ends, Fibers(2, "transfers") as some:
        other, its_peer = (ends.enter_context(end) for end in socket.socketpair())
        other.setblocking(False)
        some.start(holding_the_thread, other)
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "waits"
        its_peer.send(b"go")
        assert said.get(timeout=PATIENCE_SECONDS) == "in time"


def test_an_error_of_a_blocking_call_is_in_no_reference_cycle() -> None:
    """A cycle keeps the bodies and connections of failed transfers until a garbage collection."""
    refused: SimpleQueue[weakref.ref[Refused]] = SimpleQueue()

    def fails() -> None:
        raise Refused

    def work() -> None:
        try:
            fibers.run_blocking(fails)
        except Refused as error:
            refused.put(weakref.ref(error))

    gc.disable()
    try:
        with Fibers(1, "transfers") as some:
            some.start(work)
        assert refused.get_nowait()() is None
    finally:
        gc.enable()


def test_waiting_for_a_closed_socket_is_an_error_of_that_fiber_alone(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "TIMEOUT_CHECK_SECONDS", 0.01)
    ours, theirs = pair
    closed, its_peer = socket.socketpair()
    descriptor = closed.fileno()
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        own = fibers.current()
        assert own is not None
        closed.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            own.wait(descriptor, select.EPOLLIN, seconds=0.0)
        with pytest.raises(TimeoutError):
            wait(ours, seconds=0.05)
        theirs.send(b"data")
        wait(ours)
        said.put(ours.recv(10).decode())

    with Fibers(1, "transfers") as some:
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "data"
    its_peer.close()


def test_a_socket_can_reuse_the_descriptor_of_a_closed_one() -> None:
    got: SimpleQueue[bytes] = SimpleQueue()

    def reads(text: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(text)
            wait(ours)
            got.put(ours.recv(10))

    with Fibers(1, "transfers") as some:
        for text in (b"one", b"two", b"three"):
            some.start(reads, text)
    assert [got.get_nowait() for _ in range(3)] == [b"one", b"two", b"three"]
