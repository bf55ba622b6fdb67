"""Fibers take turns on one thread; what is slow in one, or goes wrong, is nothing to the others."""

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
    """Of our own, for nothing weak can refer to Python's."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; the first does not block."""
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


def test_what_was_started_is_done_on_exit_in_turn_and_failures_cost_no_fiber(logged: Log) -> None:
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


def test_while_one_waits_for_its_socket_the_others_go_on_as_many_as_there_are_places(
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
        some.start(other, "goes on")
        some.start(other, "comes after")
        assert [said.get(timeout=PATIENCE_SECONDS) for _ in range(3)] == [
            "waits",
            "goes on",
            "comes after",
        ]
        theirs.send(b"is there")
        assert said.get(timeout=PATIENCE_SECONDS) == "is there"

    with Fibers(1, "transfers") as one:
        one.start(waiting)
        one.start(other, "has no place")
        assert said.get(timeout=PATIENCE_SECONDS) == "waits"
        theirs.send(b"ends")
        assert said.get(timeout=PATIENCE_SECONDS) == "ends"
        assert said.get(timeout=PATIENCE_SECONDS) == "has no place"


def test_all_fibers_are_on_one_thread_and_what_is_done_away_is_on_another() -> None:
    seen: SimpleQueue[int] = SimpleQueue()

    def work() -> None:
        seen.put(threading.get_ident())
        seen.put(fibers.away(threading.get_ident))
        seen.put(threading.get_ident())

    with Fibers(4, "transfers") as some:
        for _ in range(4):
            some.start(work)
    threads = [seen.get_nowait() for _ in range(12)]
    assert threading.get_ident() not in threads
    (own,) = {thread for thread in threads if threads.count(thread) >= 8}
    assert threads.count(own) == 8
    assert fibers.away(threading.get_ident) == threading.get_ident()


def test_while_one_is_away_the_others_go_on_and_it_comes_back_with_what_happened() -> None:
    said: SimpleQueue[str] = SimpleQueue()
    may_end = threading.Event()

    def fails() -> None:
        assert may_end.wait(PATIENCE_SECONDS)
        raise ConnectionRefusedError("nobody there")

    def goes_away() -> None:
        said.put("leaves")
        try:
            fibers.away(fails)
        except ConnectionRefusedError as error:
            said.put(str(error))

    with Fibers(2, "transfers") as some:
        some.start(goes_away)
        some.start(said.put, "goes on")
        assert said.get(timeout=PATIENCE_SECONDS) == "leaves"
        assert said.get(timeout=PATIENCE_SECONDS) == "goes on"
        may_end.set()
        assert said.get(timeout=PATIENCE_SECONDS) == "nobody there"


def test_who_waits_too_long_is_told_and_may_wait_for_the_same_socket_again(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "LOOK_SECONDS", 0.01)
    ours, theirs = pair
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        try:
            wait(ours, seconds=0.01)
        except TimeoutError:
            said.put("too late")
        wait(ours)
        said.put(ours.recv(10).decode())

    with Fibers(1, "transfers") as some:
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "too late"
        theirs.send(b"late")
        assert said.get(timeout=PATIENCE_SECONDS) == "late"


def test_what_came_in_time_is_not_late_because_another_fiber_held_the_thread(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "LOOK_SECONDS", 0.01)
    ours, theirs = pair
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        wait(ours, seconds=0.2)
        said.put(ours.recv(10).decode())

    def holding(end: socket.socket) -> None:
        said.put("waits")
        wait(end)
        theirs.send(b"in time")
        time.sleep(0.4)

    with ExitStack() as ends, Fibers(2, "transfers") as some:
        other, its_peer = (ends.enter_context(end) for end in socket.socketpair())
        other.setblocking(False)
        some.start(holding, other)
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "waits"
        its_peer.send(b"go")
        assert said.get(timeout=PATIENCE_SECONDS) == "in time"


def test_an_error_that_came_from_away_is_not_kept_by_itself() -> None:
    """Or the bodies and connections of failed transfers would wait for the garbage collector."""
    refused: SimpleQueue[weakref.ref[Refused]] = SimpleQueue()

    def fails() -> None:
        raise Refused

    def goes_away() -> None:
        try:
            fibers.away(fails)
        except Refused as error:
            refused.put(weakref.ref(error))

    gc.disable()
    try:
        with Fibers(1, "transfers") as some:
            some.start(goes_away)
        assert refused.get_nowait()() is None
    finally:
        gc.enable()


def test_a_socket_that_can_not_be_waited_for_is_an_error_of_who_waits_alone(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fibers, "LOOK_SECONDS", 0.01)
    ours, theirs = pair
    gone, its_peer = socket.socketpair()
    number = gone.fileno()
    said: SimpleQueue[str] = SimpleQueue()

    def waiting() -> None:
        own = fibers.current()
        assert own is not None
        gone.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            own.wait(number, select.EPOLLIN, seconds=0.0)
        with pytest.raises(TimeoutError):
            wait(ours, seconds=0.05)
        theirs.send(b"goes on")
        wait(ours)
        said.put(ours.recv(10).decode())

    with Fibers(1, "transfers") as some:
        some.start(waiting)
        assert said.get(timeout=PATIENCE_SECONDS) == "goes on"
    its_peer.close()


def test_a_socket_may_have_the_number_of_one_that_was_closed() -> None:
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
