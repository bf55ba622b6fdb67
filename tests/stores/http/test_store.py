"""What only web servers as sources have: pins, redirects, and allowed addresses."""

import ipaddress
import socket
from typing import Any

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
from replication.stores.http.addresses import may_connect_to
from replication.stores.http.store import HttpStore
from tests.stores.conftest import read_all
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

KEY = "a.txt"


@pytest.fixture
def store(origin: HttpOrigin) -> HttpStore:
    return HttpStore(endpoint_url=origin.url)


@pytest.mark.parametrize(
    ("headers", "is_pinnable"),
    [
        ({"ETag": '"e"', "Accept-Ranges": "bytes"}, True),
        ({"ETag": '"e"', "Accept-Ranges": "items, Bytes"}, True),
        ({"ETag": 'W/"e"', "Accept-Ranges": "bytes"}, False),
        ({"ETag": "e", "Accept-Ranges": "bytes"}, False),
        ({"ETag": '""', "Accept-Ranges": "bytes"}, False),
        ({"Accept-Ranges": "bytes"}, False),
        ({"ETag": '"e"', "Accept-Ranges": "none"}, False),
        ({"ETag": '"e"'}, False),
    ],
)
def test_an_object_is_pinnable_only_with_a_strong_etag_and_ranges(
    origin: HttpOrigin, store: HttpStore, headers: dict[str, Any], is_pinnable: bool
) -> None:
    origin.answers(b"x", **headers)
    with store.open(KEY) as found:
        assert found.info.is_pinnable == is_pinnable


@pytest.mark.parametrize("text", ["", "yesterday", "Tue, 32 Nov 2026 00:00:00 GMT"])
def test_an_invalid_time_is_left_out(origin: HttpOrigin, store: HttpStore, text: str) -> None:
    origin.answers(b"x", Last_Modified=text)
    with store.open(KEY) as found:
        assert found.info.last_modified is None


def test_a_redirect_is_not_followed(origin: HttpOrigin, store: HttpStore) -> None:
    origin.answers(status="302 Found", Location=f"{origin.url}/other")
    with failing(ErrorCode.SOURCE_REDIRECTED):
        store.open(KEY)
    assert origin.targets == [f"/{KEY}"]


def test_operations_of_s3_alone_are_not_supported(store: HttpStore) -> None:
    for ask in (
        lambda: store.head(KEY),
        lambda: store.tags(KEY, version_id=""),
        lambda: store.request_restore(KEY, days=1, tier="Bulk"),
    ):
        with failing(ErrorCode.SOURCE_UNSUPPORTED):
            ask()


# -- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"],
        *["100.100.100.200", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"],
        *["::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"],
        *["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "2002:7f00:1::"],
    ],
)
def test_connecting_to_a_private_address_is_refused(address: str) -> None:
    assert not may_connect_to(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_connecting_to_a_public_address_is_allowed(address: str) -> None:
    assert may_connect_to(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["10.20.1.1", "::ffff:10.20.1.1", "fd00:20::1"])
def test_connecting_to_a_configured_network_is_allowed(address: str) -> None:
    allowed = [ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00:20::/32")]
    assert may_connect_to(ipaddress.ip_address(address), allowed=allowed)
    assert not may_connect_to(ipaddress.ip_address("10.21.0.1"), allowed=allowed)


@pytest.fixture
def no_private_networks(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"http_private_networks": []})


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
@pytest.mark.usefixtures("no_private_networks")
def test_a_web_server_with_a_private_address_is_never_contacted(scheme: str, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with failing(ErrorCode.SOURCE_ADDRESS_REFUSED) as caught:
            HttpStore(endpoint_url=f"{scheme}://{host}:{port}").open(KEY)
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "127.0.0.1" in caught.value.detail or "::1" in caught.value.detail


def fake_dns(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Resolve photos.example to the next of `answers` each time; the list grows by each query."""
    asked: list[str] = []
    real = socket.getaddrinfo
    turns = iter(answers)

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        if host != "photos.example":
            return real(host, port, *rest, **more)
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(turns)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, origin: HttpOrigin
) -> None:
    asked = fake_dns(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    origin.answers(b"content")
    store = HttpStore(endpoint_url=origin.url.replace("127.0.0.1", "photos.example"))
    with store.open(KEY) as found:
        assert read_all(found) == b"content"
    assert len(asked) == 1
    with failing(ErrorCode.SOURCE_ADDRESS_REFUSED):
        store.open(KEY)


def test_only_the_allowed_addresses_of_several_are_tried(
    monkeypatch: pytest.MonkeyPatch, origin: HttpOrigin
) -> None:
    fake_dns(monkeypatch, ["10.0.0.1", "127.0.0.9", "127.0.0.1"])
    origin.answers(b"content")
    store = HttpStore(endpoint_url=origin.url.replace("127.0.0.1", "photos.example"))
    with store.open(KEY) as found:
        assert read_all(found) == b"content"


def test_an_unknown_name_is_unreachable() -> None:
    with failing(ErrorCode.SOURCE_UNREACHABLE):
        HttpStore(endpoint_url="http://nowhere.invalid").open(KEY)


def test_a_closed_port_is_unreachable() -> None:
    with failing(ErrorCode.SOURCE_UNREACHABLE):
        HttpStore(endpoint_url="http://127.0.0.1:9").open(KEY)
