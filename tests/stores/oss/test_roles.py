"""OSS is written to with the temporary credentials of each kind, renewed before they end."""

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
from replication.stores import credentials
from replication.stores.base import PartReceipt, ReplicaAttributes
from replication.stores.oss import credentials as oss_credentials
from replication.stores.oss import roles
from replication.stores.oss.store import OssStore
from sandbox.oss import OssServer
from sandbox.tokens import TokenServer
from tests.support import tokens
from tests.support.failing import failing
from tests.support.processes import eventually
from tests.support.road import OSS_REGION

KINDS = ["ecs_role", "alibaba_oidc", "alibaba_assumed"]


@pytest.fixture
def oss() -> Iterator[OssServer]:
    with OssServer(keys={"x": "y"}, buckets=["replica"], region=OSS_REGION) as server:
        yield server


@pytest.fixture
def server(
    oss: OssServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[TokenServer]:
    """All token services; the environment has no credentials."""
    for name in ("ID", "SECRET"):
        monkeypatch.delenv(f"OSS_ACCESS_KEY_{name}")
    monkeypatch.delenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")
    roles.renewed.cache_clear()
    credentials._read_profile.cache_clear()
    with tokens.a_token_server(tmp_path, tell=tokens.told_to(oss)) as server:
        settings.S3SYNC = settings.S3SYNC.model_copy(
            update={"ca_bundle": tmp_path / "ca.pem", "secrets_dir": tmp_path}
        )
        mount(tmp_path, "default", sts_endpoint=server.tls_host)
        yield server
    roles.renewed.cache_clear()


def mount(folder: Path, profile: str, **values: str) -> None:
    (folder / profile).mkdir(exist_ok=True)
    for name, value in values.items():
        (folder / profile / name).write_text(value)


@pytest.fixture
def set_up(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Configures a kind of credentials; returns the profile that has it."""

    def set_up(kind: str) -> str:
        if kind == "ecs_role":
            monkeypatch.setenv("HTTP_PROXY", server.url)  # leads 100.100.100.200 to the stand-in
            monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
            return "default"
        if kind == "alibaba_oidc":
            (tmp_path / "token").write_text(tokens.POD_TOKEN)
            monkeypatch.setenv("ALIBABA_CLOUD_ROLE_ARN", tokens.RAM_ROLE)
            monkeypatch.setenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", tokens.OIDC_PROVIDER)
            monkeypatch.setenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE", str(tmp_path / "token"))
            return "default"
        mount(
            tmp_path,
            "roled",
            access_key_id=tokens.KEY_ID,
            access_key_secret=tokens.KEY_SECRET,
            role_arn=tokens.RAM_ROLE,
            external_id=tokens.EXTERNAL_ID,
            sts_endpoint=server.tls_host,
        )
        return "roled"

    return set_up


def store(oss: OssServer, profile: str) -> OssStore:
    return OssStore(
        bucket="replica",
        endpoint=oss.endpoint,
        region=OSS_REGION,
        addressing="path",
        profile=profile,
    )


def body(content: bytes) -> Any:
    return SimpleNamespace(len=len(content), read=BytesIO(content).read)


def until_replaced(server: TokenServer, kind: str) -> None:
    """Wait until the newest credentials have ended, and so have been replaced if all is well."""
    ends_at = server.issuer.of_kind(kind)[-1].ends_at
    time.sleep(max(0.0, ends_at - time.time()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thread_or_fiber", ["fiber"], indirect=True)
def test_an_upload_goes_on_after_the_credentials_that_began_it(
    kind: str,
    oss: OssServer,
    server: TokenServer,
    thread_or_fiber: str,
    set_up: Callable[[str], str],
) -> None:
    place = store(oss, set_up(kind))
    upload = place.create_upload("a", ReplicaAttributes())
    parts: list[PartReceipt] = []
    parts.append(place.upload_part("a", upload, 1, body(b"a" * 102_400)))
    until_replaced(server, kind)
    parts.append(place.upload_part("a", upload, 2, body(b"b")))
    place.complete_upload("a", upload, parts)
    assert place.head("a") is not None
    assert len(server.issuer.of_kind(kind)) >= 2
    assert {each.status for each in oss.requests()} == {200}, "OSS refused none of them"


def test_credentials_are_renewed_once_for_all_buckets_and_not_for_each_request(
    oss: OssServer, server: TokenServer, set_up: Callable[[str], str]
) -> None:
    server.issuer.life_seconds = 600  # the library's own cache would ask for each request
    profile = set_up("alibaba_assumed")
    for _ in range(2):
        place = store(oss, profile)
        for _ in range(3):
            place.head("a")
    assert server.asked == ["alibaba_assumed"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_is_away_is_told_once_the_last_credentials_have_ended(
    kind: str, oss: OssServer, server: TokenServer, set_up: Callable[[str], str]
) -> None:
    place = store(oss, set_up(kind))
    place.head("a")
    server.is_down = True
    place.head("a")
    until_replaced(server, kind)
    with failing(ErrorCode.DESTINATION_TOKEN_SERVICE) as caught:
        place.head("a")
    service = "metadata service of ECS (100.100.100.200)" if kind == "ecs_role" else server.tls_host
    assert service in caught.value.detail
    server.is_down = False
    eventually(lambda: succeeds(place))


def succeeds(place: OssStore) -> bool:
    try:
        place.head("a")
    except Exception:
        return False
    return True


def test_a_refusal_says_what_sts_says_and_no_secret(
    oss: OssServer, server: TokenServer, set_up: Callable[[str], str]
) -> None:
    place = store(oss, set_up("alibaba_assumed"))
    server.trust.external_id = "of another customer"
    with failing(ErrorCode.DESTINATION_CREDENTIALS) as caught:
        place.head("a")
    assert "refused: 403 NoPermission: You are not authorized" in caught.value.detail
    assert tokens.KEY_SECRET not in caught.value.detail


def test_a_wrong_token_of_the_pod_is_refused(
    oss: OssServer, server: TokenServer, tmp_path: Path, set_up: Callable[[str], str]
) -> None:
    place = store(oss, set_up("alibaba_oidc"))
    (tmp_path / "token").write_text("another pod's")
    with failing(ErrorCode.DESTINATION_CREDENTIALS):
        place.head("a")
    (tmp_path / "token").unlink()
    eventually(lambda: "the OIDC token can't be read" in refusal(place))


def refusal(place: OssStore) -> str:
    try:
        place.head("a")
    except Exception as error:
        return str(error)
    return ""


def test_oss2s_variables_come_first_and_alibabas_next(
    oss: OssServer,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    set_up: Callable[[str], str],
) -> None:
    set_up("alibaba_oidc")
    assert oss_credentials.whose("default") == f"the role {tokens.RAM_ROLE}"
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "id-of-alibaba")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("ALIBABA_CLOUD_SECURITY_TOKEN", "token")
    assert oss_credentials.provider("default").get_credentials().get_security_token() == "token"
    assert oss_credentials.whose("default") == "access key id-o…baba"
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "id-of-oss2")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "secret")
    assert oss_credentials.whose("default") == "access key id-of-oss2"


def test_a_host_without_a_role_is_told_every_way(
    oss: OssServer,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    set_up: Callable[[str], str],
) -> None:
    set_up("ecs_role")
    server.trust.instance_role = ""
    with failing(ErrorCode.CREDENTIAL_PROFILE) as caught:
        store(oss, "default")
    for way in ("OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "the metadata service"):
        assert way in caught.value.detail
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    asked = len(server.asked)
    with failing(ErrorCode.CREDENTIAL_PROFILE):
        store(oss, "default")
    assert len(server.asked) == asked


def test_a_role_of_aws_is_none_for_oss(server: TokenServer, tmp_path: Path) -> None:
    mount(tmp_path, "of_aws", access_key_id="i", access_key_secret="s", role_arn=tokens.AWS_ROLE)
    with failing(ErrorCode.CREDENTIAL_PROFILE) as caught:
        oss_credentials.provider("of_aws")
    assert "acs:ram::" in caught.value.detail


def test_without_the_library_the_error_says_how_to_install_it(
    oss: OssServer,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    set_up: Callable[[str], str],
) -> None:
    profile = set_up("alibaba_assumed")
    roles._library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "alibabacloud_credentials.provider.oidc", None)
    try:
        with failing(ErrorCode.CREDENTIAL_PROFILE) as caught:
            store(oss, profile)
        with failing(ErrorCode.CREDENTIAL_PROFILE) as by_default:
            store(oss, "default")
    finally:
        roles._library.cache_clear()
    assert "requirements/alibaba.txt" in caught.value.detail
    assert "OSS_ACCESS_KEY_ID" in by_default.value.detail
    assert "requirements/alibaba.txt" in by_default.value.detail


def test_a_library_that_would_send_past_our_transport_is_refused(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch, set_up: Callable[[str], str]
) -> None:
    profile = set_up("alibaba_assumed")
    monkeypatch.delattr(roles._library().TeaCore, "_sessions")
    roles._library.cache_clear()
    try:
        with failing(ErrorCode.CREDENTIAL_PROFILE) as caught:
            oss_credentials.provider(profile)
    finally:
        roles._library.cache_clear()
    assert "Install the version in requirements/alibaba.txt" in caught.value.detail


def test_a_file_of_a_profile_can_lead_to_no_url(server: TokenServer, tmp_path: Path) -> None:
    for wrong in ("https://sts.aliyuncs.com", "sts.aliyuncs.com/x", f"user@{uuid4().hex}"):
        mount(
            tmp_path,
            "wrong",
            access_key_id="i",
            access_key_secret="s",
            role_arn=tokens.RAM_ROLE,
            sts_endpoint=wrong,
        )
        with failing(ErrorCode.CREDENTIAL_PROFILE) as caught:
            oss_credentials.provider("wrong")
        assert "must be a host" in caught.value.detail


def test_a_metadata_service_that_drips_is_given_up(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then would hold all requests of the profile."""
    soon = dataclasses.replace(roles._METADATA_LIMITS, read_seconds=60, exchange_seconds=1)
    monkeypatch.setattr(roles, "_METADATA_LIMITS", soon)
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.1):
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as drips:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    drips.submit(drip, listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "localhost")
        with failing(ErrorCode.DESTINATION_TOKEN_SERVICE) as caught:
            roles.renewed(roles.InstanceRole("role"), profile="default").current()
        assert "fewer than" in caught.value.detail
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_credentials_that_no_header_can_have_are_none(
    oss: OssServer,
    server: TokenServer,
    set_up: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issue = server.issuer.issue

    def issue_with_a_line_break(*kind: Any, **options: Any) -> Any:
        return dataclasses.replace(issue(*kind, **options), token="a\r\nX-Other: b")

    monkeypatch.setattr(server.issuer, "issue", issue_with_a_line_break)
    place = store(oss, set_up("alibaba_assumed"))
    with failing(ErrorCode.DESTINATION_TOKEN_SERVICE) as caught:
        place.head("a")
    assert "answered something else than credentials" in caught.value.detail
