"""What only web servers as sources have: pins, redirects, and allowed addresses."""

import socket
from typing import Any

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
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


@pytest.fixture
def no_private_networks(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"private_networks": []})


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
