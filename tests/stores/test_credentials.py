"""Credential profiles: read from files or the environment, refreshed when changed, never shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.models import Source
from replication.stores import credentials
from replication.stores.credentials import AccessKey, access_key, find_profile_value
from replication.stores.factory import source_store
from sandbox.ministack import MiniStack


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    """The folder of mounted secrets."""
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"secrets_dir": tmp_path})
    credentials._read_profile.cache_clear()
    return tmp_path


def mount(folder: Path, profile: str, **values: str) -> None:
    (folder / profile).mkdir(exist_ok=True)
    for name, value in values.items():
        (folder / profile / name).write_text(value)


def test_the_default_profile_is_left_to_the_sdks() -> None:
    assert access_key("default") is None


def test_a_profile_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3SYNC_PROFILE_ENV_ONE_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("S3SYNC_PROFILE_ENV_ONE_ACCESS_KEY_SECRET", "secret")
    monkeypatch.setenv("S3SYNC_PROFILE_ENV_ONE_ROLE_ARN", "arn")
    assert access_key("env_one") == AccessKey("id", "secret", "", "arn")


def test_a_profile_is_read_from_mounted_files(folder: Path) -> None:
    mount(folder, "files", access_key_id="id\n", access_key_secret=" secret \n", session_token="t")
    assert access_key("files") == AccessKey("id", "secret", "t")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/b", "", ".", "A", "a\nb"])
def test_a_name_that_only_a_writer_to_the_database_can_give_leads_nowhere(
    folder: Path, name: str
) -> None:
    mount(folder.parent, "outside", access_key_id="id", access_key_secret="secret")
    for read in (access_key, lambda profile: find_profile_value(profile, "endpoints")):
        with pytest.raises(ReplicationError, match="is not the name of a profile") as refused:
            read(name)
        assert refused.value.code is ErrorCode.CREDENTIAL_PROFILE


def test_a_file_that_windows_wrote_has_the_same_secret(folder: Path) -> None:
    mount(folder, "windows", access_key_id="\ufeffid\r\n", access_key_secret="\ufeffsecret\r\n")
    assert access_key("windows") == AccessKey("id", "secret")


def test_mounted_files_take_precedence_over_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3SYNC_PROFILE_BOTH_ACCESS_KEY_ID", "from the environment")
    monkeypatch.setenv("S3SYNC_PROFILE_BOTH_ACCESS_KEY_SECRET", "from the environment")
    mount(folder, "both", access_key_id="file", access_key_secret="file")
    assert access_key("both") == AccessKey("file", "file")


def test_a_rotated_secret_takes_effect_at_once(folder: Path) -> None:
    mount(folder, "rotated", access_key_id="old", access_key_secret="old")
    assert access_key("rotated") == AccessKey("old", "old")
    mount(folder, "rotated", access_key_id="new", access_key_secret="new")
    assert access_key("rotated") == AccessKey("new", "new")


@pytest.mark.parametrize("half", ["access_key_id", "access_key_secret"])
def test_an_incomplete_profile_is_refused_and_the_message_names_the_locations(
    folder: Path, half: str
) -> None:
    mount(folder, f"half_{half}", **{half: "a value that is not shown"})
    with pytest.raises(ReplicationError) as caught:
        access_key(f"half_{half}")
    assert caught.value.code == ErrorCode.CREDENTIAL_PROFILE
    assert f"S3SYNC_PROFILE_HALF_{half.upper()}_ACCESS_KEY_ID" in caught.value.detail
    assert f"{folder}/half_{half}" in caught.value.detail
    assert "not shown" not in caught.value.detail


def test_an_unreadable_secret_is_a_clear_error(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "access_key_id").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ReplicationError, match="access_key_id can't be read") as caught:
        access_key("broken")
    assert caught.value.code == ErrorCode.CREDENTIAL_PROFILE


def test_an_access_key_does_not_show_its_secrets() -> None:
    shown = repr(AccessKey("id", "the secret", "the token"))
    assert "the secret" not in shown
    assert "the token" not in shown
    assert "the key" not in str(SecretStr("the key"))


def a_role(aws: MiniStack, name: str, *, allowed: str) -> str:
    """A role that anyone in the account can assume, with permission for one action."""
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    allow = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(allow))
    return str(role["Arn"])


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
def source(aws: MiniStack) -> Source:
    """A bucket with one object and the profile `roled`; the source is not in the database."""
    aws.client("s3").create_bucket(Bucket="roles")
    aws.client("s3").put_object(Bucket="roles", Key="a", Body=b"content")
    return Source(
        name="roles",
        bucket="roles",
        region=aws.region,
        endpoint_url=aws.endpoint_url,
        credential_profile="roled",
    )


def test_a_profile_with_a_role_reads_as_that_role(
    aws: MiniStack, source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.endpoint_url)
    key = {
        "access_key_id": MiniStack.access_key_id,
        "access_key_secret": MiniStack.secret_access_key,
    }
    reader = a_role(aws, "reader", allowed="s3:GetObject")
    mount(folder, "roled", **key, role_arn=reader)
    with source_store(source).open("a") as found:
        assert found.read(100) == b"content"

    mount(folder, "roled", **key, role_arn=a_role(aws, "writer", allowed="s3:PutObject"))
    credentials._read_profile.cache_clear()
    with pytest.raises(ReplicationError) as caught:
        source_store(source).open("a")
    assert caught.value.code == ErrorCode.SOURCE_ACCESS_DENIED

    mount(folder, "roled", **key, role_arn="arn:aws:iam::123456789012:role/missing")
    credentials._read_profile.cache_clear()
    with pytest.raises(ReplicationError) as caught:
        source_store(source).open("a")
    assert caught.value.code == ErrorCode.SOURCE_CREDENTIALS
    assert caught.value.detail
