"""A request that somebody captured is refused anywhere but at the host that it was signed for."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from replication.errors import ReplicationError
from replication.stores.base import ReplicaAttributes
from replication.stores.oss.store import OssStore
from sandbox.oss import OssServer
from tests.stores.conftest import oss_store
from tests.support.content import Content
from tests.support.http_origin import HttpOrigin

KEY = "folder/ä b+c%2F.txt"

REQUESTS: dict[str, Callable[[OssStore], object]] = {
    "PutObject": lambda store: store.put(
        KEY, Content(b"content"), ReplicaAttributes(user_metadata={"a": "b"})
    ),
    "UploadPart": lambda store: store.upload_part(KEY, "upload", 1, Content(b"content")),
    "DeleteObject": lambda store: store.delete(KEY),
    "HeadObject": lambda store: store.head(KEY),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_captured_request_is_refused_at_another_host(
    name: str, origin: HttpOrigin, oss: OssServer
) -> None:
    origin.answers(status="503 Service Unavailable")
    with pytest.raises(ReplicationError):
        REQUESTS[name](oss_store(origin.url))
    captured = origin.request
    host = urlsplit(origin.url).netloc.encode()
    assert b"\r\nHost: " + host + b"\r\n" in captured
    elsewhere = captured.replace(b"\r\nHost: " + host, b"\r\nHost: oss.example.com")
    assert status_of(oss, elsewhere) == 403
    assert status_of(oss, captured) != 403


def status_of(oss: OssServer, request: bytes) -> int:
    address = urlsplit(oss.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request)
        return int(connection.recv(12)[9:])
