"""S3 is read with the temporary credentials of each kind, renewed before they end."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode
from replication.stores import aws as aws_edge
from replication.stores import credentials
from replication.stores.s3.store import S3Store
from sandbox.ministack import MiniStack
from sandbox.tokens import TokenServer
from tests.support import tokens
from tests.support.failing import failing
from tests.support.processes import eventually
from tests.support.road import Log

KINDS = ["aws_assumed", "aws_web_identity", "aws_pod"]


@pytest.fixture
def bucket(aws: MiniStack) -> str:
    name = f"roles-{uuid4().hex}"
    aws.client("s3").create_bucket(Bucket=name)
    aws.client("s3").put_object(Bucket=name, Key="a", Body=b"content")
    return name


@pytest.fixture
def server(
    aws: MiniStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[TokenServer]:
    """All token services, and an S3 that refuses ended credentials; the environment has none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"secrets_dir": tmp_path})
    caches = (aws_edge._session, aws_edge._client, credentials._read_profile)
    for cache in caches:
        cache.cache_clear()
    with tokens.a_token_server(
        tmp_path, tell=lambda issued: None, s3_url=aws.endpoint_url
    ) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        yield server
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def set_up(
    server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Configures a kind of credentials; returns the profile that has it."""

    def set_up(kind: str) -> str:
        if kind == "aws_pod":
            (tmp_path / "token").write_text(tokens.POD_AUTHORIZATION)
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials")
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
            return "default"
        if kind == "aws_web_identity":
            (tmp_path / "token").write_text(tokens.POD_TOKEN)
            monkeypatch.setenv("AWS_ROLE_ARN", tokens.AWS_ROLE)
            monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
            monkeypatch.setenv("AWS_REGION", "us-east-1")
            return "default"
        (tmp_path / "roled").mkdir()
        for name, value in {
            "access_key_id": tokens.KEY_ID,
            "access_key_secret": tokens.KEY_SECRET,
            "role_arn": tokens.AWS_ROLE,
            "external_id": tokens.EXTERNAL_ID,
        }.items():
            (tmp_path / "roled" / name).write_text(value)
        return "roled"

    return set_up


def store(server: TokenServer, bucket: str, profile: str) -> S3Store:
    return S3Store(bucket=bucket, region="us-east-1", endpoint_url=server.s3_url, profile=profile)


def until_replaced(server: TokenServer, kind: str) -> None:
    """Wait until the newest credentials have ended, and so have been replaced if all is well."""
    time.sleep(max(0.0, server.issuer.of_kind(kind)[-1].ends_at - time.time()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thread_or_fiber", ["fiber"], indirect=True)
def test_reads_go_on_after_the_first_credentials(
    kind: str, server: TokenServer, bucket: str, thread_or_fiber: str, set_up: Callable[[str], str]
) -> None:
    place = store(server, bucket, set_up(kind))
    for _ in range(2):
        with place.open("a") as found:
            assert found.read(100) == b"content"
        until_replaced(server, kind)
    assert place.tags("a", version_id="") == {}, "boto3's own requests are renewed, too"
    assert server.refused_s3 == []
    assert len(server.issuer.of_kind(kind)) >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_that_live_for_less_than_botocores_windows_are_not_renewed_each_time(
    kind: str, server: TokenServer, bucket: str, set_up: Callable[[str], str]
) -> None:
    server.issuer.life_seconds = 600
    place = store(server, bucket, set_up(kind))
    for _ in range(4):
        place.head("a")
    assert server.asked == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_is_away_is_told_once_the_last_credentials_have_ended(
    kind: str,
    server: TokenServer,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    set_up: Callable[[str], str],
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    place = store(server, bucket, set_up(kind))
    place.head("a")
    server.is_down = True
    place.head("a")
    until_replaced(server, kind)
    with failing(ErrorCode.SOURCE_TOKEN_SERVICE):
        place.head("a")
    server.is_down = False
    eventually(lambda: succeeds(place))


def succeeds(place: S3Store) -> bool:
    try:
        place.head("a")
    except Exception:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_concerns_the_credentials(
    kind: str, server: TokenServer, bucket: str, set_up: Callable[[str], str]
) -> None:
    profile = set_up(kind)
    server.trust.external_id = server.trust.web_identity = "of somebody else"
    server.trust.pod_authorization = "another"
    with failing(ErrorCode.SOURCE_CREDENTIALS):
        store(server, bucket, profile).head("a")


def test_a_renewal_that_fails_is_logged_and_not_tried_at_each_request(
    server: TokenServer, bucket: str, logged: Log, set_up: Callable[[str], str]
) -> None:
    server.issuer.life_seconds = 60
    place = store(server, bucket, set_up("aws_assumed"))
    place.head("a")
    credentials = aws_edge.aws_credentials(region="us-east-1", profile="roled")
    credentials._advisory_refresh_timeout = 60  # as if half of their life were over
    server.trust.external_id = "of another customer"
    for _ in range(3):
        place.head("a")
    assert logged.text.count("credentials.renewal_failed") == 1
    assert '"profile": "roled"' in logged.text
    assert server.asked == ["aws_assumed"] * 2


def test_the_role_of_an_instance_is_found_and_keeps_botocores_own_windows(
    server: TokenServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore prolongs what the metadata service says, so it tells no life."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
    server.issuer.life_seconds = 6 * 3600
    place = store(server, bucket, "default")
    place.head("a")
    place.head("a")
    assert server.asked == ["ec2_token", "ec2_role", "ec2_role"], "the name, then the credentials"
    found = aws_edge.aws_credentials(region="us-east-1", profile="default")
    assert not found.refresh_needed(15 * 60)
    found._expiry_time -= timedelta(hours=5, minutes=50)
    assert found.refresh_needed()
    place.head("a")
    assert len(server.issuer.of_kind("ec2_role")) == 2
