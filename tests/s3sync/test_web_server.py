"""Whom the web server closes: slow clients, and in a crowd those that are owed the longest."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from s3sync import web_server
from s3sync.web_server import Channel, HttpServer


class Loop:
    """A server's loop without threads, turned by the test."""

    def __init__(self, stack: ExitStack) -> None:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._stack = stack
        self._address = listening.getsockname()
        self._connections: dict[int, object] = {}
        self.server = HttpServer(
            None,
            self._connections,
            _sock=listening,
            dispatcher=ThreadedTaskDispatcher(),
            adj=Adjustments(sockets=[listening]),
            bind_socket=False,
            sockinfo=(listening.family, listening.type, 0, self._address),
        )
        stack.callback(wasyncore.close_all, self._connections)

    def connect(self, sends: bytes = b"") -> Channel:
        """A new connection, when the server has accepted it and read what it sends."""
        known = set(self.server.active_channels.values())
        client = self._stack.enter_context(socket.create_connection(self._address))
        client.sendall(sends)
        self._turn_until(lambda: len(self.server.active_channels) > len(known))
        (channel,) = set(self.server.active_channels.values()) - known
        self._turn_until(lambda: not sends or channel.request or channel.requests)
        return channel

    def _turn_until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < deadline
            wasyncore.loop(timeout=0.1, use_poll=True, map=self._connections, count=1)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with ExitStack() as stack:
        yield Loop(stack)


def test_in_a_crowd_those_that_are_owed_the_longest_are_closed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "CROWDED", 4)
    busy = loop.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    waiting = [loop.connect(b"GET") for _ in range(5)]
    loop.server.maintenance(time.time())
    assert [channel.will_close for channel in waiting] == [True, True, False, False, False]
    assert not busy.will_close


def test_head_and_request_have_deadlines_and_an_idle_connection_has_none(loop: Loop) -> None:
    silent = loop.connect()
    in_head = loop.connect(b"GET / HTTP/1.1\r\n")
    in_body = loop.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
    idle = loop.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    idle.requests.clear()  # answered
    now = time.monotonic()
    at = {
        seconds: [
            channel.is_too_slow(now + seconds) for channel in (silent, in_head, in_body, idle)
        ]
        for seconds in (0, web_server.HEAD_SECONDS + 1, web_server.REQUEST_SECONDS + 1)
    }
    assert list(at.values()) == [
        [False, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
