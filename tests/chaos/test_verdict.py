"""Which writes of one key overlap: by the log of a real stand-in, with clients that break off."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.oss import OssServer
from tests.chaos.oss_control import OssControl
from tests.chaos.verdict import overlaps
from tests.sandbox.oss import OPEN_BUCKET
from tests.sandbox.oss.raw import RawClient
from tests.support.processes import eventually

BODY = b"x" * 1000
LARGE_BODY = b"x" * 1_000_000  # more than one socket's buffers hold


@pytest.fixture
def server() -> Iterator[OssServer]:
    with OssServer(keys={}) as server:
        server.create_bucket(OPEN_BUCKET, acl="public-read-write")
        yield server


def begin_held_put(server: OssServer, body: bytes = BODY, **fault: Any) -> RawClient:
    """A client whose put is on its way; the stand-in holds it."""
    OssControl(server.endpoint).add_fault(operation="PutObject", hold=True, **fault)
    client = RawClient(server.port)
    client.send("PUT", "key", {"Content-Length": str(len(body))}, body)
    eventually(lambda: server.held_requests == 1)
    return client


def put(server: OssServer) -> None:
    with RawClient(server.port) as client:
        assert client.put("key", BODY).status == 200


def count_overlaps(server: OssServer) -> int:
    """How many there are when the held puts have ended."""
    server.clear_faults()
    eventually(lambda: len(server.requests(operation="PutObject")) == 2)
    return len(overlaps(OssControl(server.endpoint).writes()))


def test_two_live_writers_of_a_key_overlap(server: OssServer) -> None:
    with begin_held_put(server):
        put(server)
        assert count_overlaps(server) == 1


@pytest.mark.parametrize("body", [BODY, LARGE_BODY])
def test_a_write_ends_for_its_writer_when_the_client_breaks_off(
    server: OssServer, body: bytes
) -> None:
    begin_held_put(server, body).sock.close()
    put(server)
    assert count_overlaps(server) == 0
    # The stand-in carries the abandoned write out nonetheless, as OSS does.
    assert {entry.status for entry in server.requests(operation="PutObject")} == {200}


def test_a_write_whose_client_breaks_off_too_late_overlaps(server: OssServer) -> None:
    with begin_held_put(server):
        put(server)
    assert count_overlaps(server) == 1


def test_a_write_without_its_whole_body_ends_when_the_client_breaks_off(server: OssServer) -> None:
    OssControl(server.endpoint).add_fault(operation="PutObject", hold=True)
    client = RawClient(server.port)
    client.send("PUT", "key", {"Content-Length": "2000"}, BODY)
    eventually(lambda: server.held_requests == 1)
    client.sock.close()
    put(server)
    assert count_overlaps(server) == 0


@pytest.mark.parametrize("leave", [RawClient.__enter__, lambda client: client.sock.close()])
def test_a_write_ends_when_it_is_carried_out_however_late_its_answer(
    server: OssServer, leave: Callable[[RawClient], object]
) -> None:
    client = begin_held_put(server, when="after")
    leave(client)
    put(server)
    assert count_overlaps(server) == 0
    client.sock.close()


def test_writes_of_two_keys_do_not_overlap(server: OssServer) -> None:
    with begin_held_put(server), RawClient(server.port) as other:
        assert other.put("other", BODY).status == 200
        assert count_overlaps(server) == 0
