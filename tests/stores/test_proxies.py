"""S3, SQS, OSS and web servers are reached through the proxies that the environment names."""

import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.intake.sqs import Queue, QueueError
from replication.intake.sqs_client import _pool as sqs_pool
from replication.models import EventQueue
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from replication.stores.transport.errors import TransportError
from replication.stores.transport.routes import Origin, Proxy, proxy_for
from tests.support.failing import failing
from tests.support.forward_proxy import ForwardProxy, forward_proxy
from tests.support.road import OSS_REGION
from tests.support.scripted_server import Server, tls_of

KEY = "a.txt"
# Known to the proxies of these tests alone.
NAME = "store.example"
OBJECT = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nETag: "e"\r\nx-amz-request-id: R\r\n'
    b"x-oss-request-id: R\r\n\r\ncontent"
)
MESSAGES = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def read_s3(url: str) -> bytes:
    store = S3Store(bucket="photos", region="us-east-1", endpoint_url=url, profile="default")
    with store.open(KEY) as found:
        return found.read(100)


def head_s3(url: str) -> bytes:
    """HEAD, which boto3 makes."""
    store = S3Store(bucket="photos", region="us-east-1", endpoint_url=url, profile="default")
    assert store.head(KEY).size_bytes == 7
    return b"content"


def read_oss(url: str) -> bytes:
    store = OssStore(
        bucket="replica", endpoint=url, region=OSS_REGION, addressing="path", profile="default"
    )
    found = store.open(KEY)
    assert found is not None
    with found:
        return found.read(100)


def read_http(url: str) -> bytes:
    with HttpStore(endpoint_url=url).open(KEY) as found:
        return found.read(100)


Read = Callable[[str], bytes]
every_read = pytest.mark.parametrize("read", [read_s3, head_s3, read_oss, read_http])


ADDRESS_REFUSED = {ErrorCode.SOURCE_ADDRESS_REFUSED, ErrorCode.DESTINATION_ADDRESS_REFUSED}


@pytest.fixture(autouse=True)
def _may_ask_for_the_name(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(
        update={"plain_http_hosts": [NAME, f"other.{NAME}"]}
    )


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["AWS_CA_BUNDLE", "S3SYNC_CA_BUNDLE"])
def trusted(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
) -> trustme.CA:
    """An authority of our own that is trusted."""
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    if request.param == "AWS_CA_BUNDLE":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    else:
        settings.S3SYNC = settings.S3SYNC.model_copy(update={"ca_bundle": file})
    return authority


def a_server(stack: ExitStack, tls: ssl.SSLContext | None = None, answer: bytes = OBJECT) -> Server:
    server = Server(tls)
    stack.callback(server.close)

    def give(connection: socket.socket) -> None:
        # The proxy of these tests closes the connection of each http request.
        head_only = server.requests[-1].startswith(b"HEAD")
        connection.sendall(answer.removesuffix(b"content") if head_only else answer)

    server.answers = [give]
    return server


def a_proxy(stack: ExitStack, **arguments: str) -> ForwardProxy:
    return stack.enter_context(forward_proxy(names={NAME: "127.0.0.1"}, **arguments))


def named(server: Server) -> str:
    """The server's URL with the name that only the proxy knows."""
    return server.url.replace("127.0.0.1", NAME).replace("localhost", NAME)


@every_read
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_http_goes_through_the_proxy_with_absolute_urls(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, read: Read, variable: str
) -> None:
    server, proxy = a_server(stack), a_proxy(stack)
    monkeypatch.setenv(variable, f"http://{proxy.address}")
    assert read(named(server)) == b"content"
    (asked,) = proxy.requests
    method, _, url = asked.partition(" ")
    assert url.startswith(f"{named(server)}/")
    assert server.requests[0].startswith(f"{method} /".encode())
    assert f"Host: {NAME}".encode() in server.requests[0]


@every_read
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_https_goes_through_a_tunnel_and_trusts_a_private_authority(
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    trusted: trustme.CA,
    read: Read,
    variable: str,
) -> None:
    server, proxy = a_server(stack, tls_of(trusted, NAME)), a_proxy(stack)
    monkeypatch.setenv(variable, proxy.address)  # a URL's scheme may be left out
    assert read(named(server)) == b"content"
    assert proxy.requests == [f"CONNECT {named(server).removeprefix('https://')}"]


@every_read
def test_an_unknown_authority_is_a_fault_of_tls(stack: ExitStack, read: Read) -> None:
    server = a_server(stack, tls_of(trustme.CA(), "localhost"))
    side = "destination" if read is read_oss else "source"
    with failing(ErrorCode(f"{side}_tls")) as caught:
        read(server.url)
    assert "certificate verify failed" in caught.value.detail
    assert server.requests == []


@every_read
def test_a_host_in_no_proxy_is_reached_straight(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    server, proxy = a_server(stack), a_proxy(stack)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "other.example,127.0.0.1")
    assert read(server.url) == b"content"
    assert proxy.requests == []


@every_read
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_its_login_and_no_message_shows_it(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Read, scheme: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    server = a_server(stack, tls_of(authority, NAME) if scheme == "https" else None)
    login = f"Basic {b64encode(b'user:s@cret').decode()}"
    proxy = a_proxy(stack, login=login)
    variable = f"{scheme.upper()}_PROXY"
    monkeypatch.setenv(variable, f"http://user:s%40cret@{proxy.address}")
    assert read(named(server)) == b"content"
    assert b"Proxy-Authorization" not in server.requests[0]

    monkeypatch.setenv(variable, f"http://user:wr0ng@{proxy.address}")
    with pytest.raises(ReplicationError) as caught:
        read(named(server).replace(NAME, f"other.{NAME}"))
    assert "407" in caught.value.detail
    assert "wr0ng" not in caught.value.detail


@every_read
def test_a_proxy_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ReplicationError) as caught:
        read("https://store.example")
    assert "the proxy 127.0.0.1:9 for store.example:443" in caught.value.detail
    assert caught.value.code.endswith("unreachable")


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://proxy:3128", "http://"])
def test_a_proxy_that_can_not_be_used_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url.replace("//", "//user:SeCrEt@"))
    with pytest.raises(TransportError, match="HTTPS_PROXY must look like") as caught:
        proxy_for(Origin("https", "store.example", 443))
    assert "SeCrEt" not in str(caught.value)


def test_a_proxy_does_not_show_its_login() -> None:
    proxy = Proxy("proxy.example", 3128, "Basic SeCrEt")
    assert "SeCrEt" not in f"{proxy} {proxy!r}"


# -- SQS ---------------------------------------------------------------------------------------


def test_messages_are_received_through_the_proxy(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = a_server(stack, answer=MESSAGES), a_proxy(stack)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    stack.callback(sqs_pool.cache_clear)
    sqs_pool.cache_clear()
    row = EventQueue(name="events", url=f"{named(server)}/1/events", region="us-east-1")
    try:
        assert Queue(row).receive(wait_seconds=0) == []
    except QueueError as error:
        pytest.fail(str(error))
    assert proxy.requests == [f"POST {named(server)}/"]


# -- the door ----------------------------------------------------------------------------------


@every_read
def test_a_private_address_is_refused_behind_a_proxy_too(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, settings: Settings, read: Read
) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"private_networks": []})
    server, proxy = a_server(stack), a_proxy(stack)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    with pytest.raises(ReplicationError) as refused:
        read(server.url)
    assert refused.value.code in ADDRESS_REFUSED
    assert proxy.requests == []
    # Only the proxy knows this name, so only the proxy can judge it.
    assert read(named(server)) == b"content"


@every_read
def test_a_name_that_only_the_proxy_knows_needs_tls_or_the_list(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, settings: Settings, read: Read
) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"plain_http_hosts": []})
    server, proxy = a_server(stack), a_proxy(stack)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    with pytest.raises(ReplicationError, match="S3SYNC_PLAIN_HTTP_HOSTS") as refused:
        read(named(server))
    assert refused.value.code in ADDRESS_REFUSED
    assert proxy.requests == []
