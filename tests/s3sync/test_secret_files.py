"""Each secret setting may be in a file; what is wrong is said without a value."""

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pydantic import SecretStr

from s3sync.environment import SECRETS, Environment, read_environment, variable_name
from tests.support.paths import REPOSITORY

KEYS = [f"k3y-number-{number}-of-a-test-that-guards-nothing" for number in range(3)]
VALUES = {
    "DATABASE_URL": "postgresql://u:p@db:5433/name",
    "S3SYNC_SECRET_KEY": KEYS[0],
    "S3SYNC_SECRET_KEY_FALLBACKS": f"{KEYS[1]}\n{KEYS[2]}",
    "S3SYNC_API_TOKENS": KEYS[1],
    "S3SYNC_LAMBDA_KEYS": f"{KEYS[1]},{KEYS[2]}",
    "S3SYNC_OIDC_CLIENT_SECRET": "the-client-s-secret",
}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with each secret in a file, which the environment names; none is a variable."""
    for name in [name for name in os.environ if name.startswith("S3SYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL")
    for name, value in VALUES.items():
        (tmp_path / name).write_text(f"\ufeff{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    return tmp_path


def refusal() -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read_environment()
    assert caught.value.__context__ is None
    return str(caught.value)


def test_each_secret_is_read_from_its_file(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3SYNC_SECRET_KEY", "")  # as Compose sets what it does not have
    found = read_environment()
    assert found.database_url.get_secret_value() == VALUES["DATABASE_URL"]
    assert found.secret_key.get_secret_value() == KEYS[0]
    assert found.secret_key_fallbacks == KEYS[1:]
    assert found.api_tokens == KEYS[1:2]
    assert found.lambda_keys == KEYS[1:]


def test_each_setting_that_hides_its_value_may_be_in_a_file() -> None:
    hidden = {
        name
        for name, field in Environment.model_fields.items()
        if not field.repr or field.annotation is SecretStr
    }
    assert set(SECRETS) == hidden
    documented = (REPOSITORY / "docs/reference/settings.md").read_text()
    assert [name for name in SECRETS if f"`{variable_name(name)}_FILE`" not in documented] == []


def test_a_file_beside_the_variable_is_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3SYNC_SECRET_KEY", "SeCrEt" * 8)
    message = refusal()
    assert "  S3SYNC_SECRET_KEY_FILE: S3SYNC_SECRET_KEY is set, too; keep one" in message
    assert "SeCrEt" not in message


def test_one_message_names_every_file_that_is_wrong(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", str(files / "SeCrEt"))
    monkeypatch.setenv("S3SYNC_LAMBDA_KEYS_FILE", str(files))
    (files / "S3SYNC_SECRET_KEY").write_text("\n")
    (files / "S3SYNC_API_TOKENS").write_bytes(b"SeCrEt\xff")
    (files / "S3SYNC_SECRET_KEY_FALLBACKS").write_text("SeCrEt")
    (files / "S3SYNC_OIDC_CLIENT_SECRET").unlink()
    os.mkfifo(files / "S3SYNC_OIDC_CLIENT_SECRET")
    message = refusal()
    for line in (
        "DATABASE_URL_FILE: the file can't be read (No such file or directory); correct",
        "S3SYNC_LAMBDA_KEYS_FILE: the file can't be read (Is a directory); correct",
        "S3SYNC_SECRET_KEY_FILE: the file is empty; write",
        "S3SYNC_API_TOKENS_FILE: the file is not text in UTF-8",
        "S3SYNC_SECRET_KEY_FALLBACKS_FILE: needs 32 characters or more",
        "S3SYNC_OIDC_CLIENT_SECRET_FILE: the file is a pipe or a device; write",
    ):
        assert f"\n  {line}" in message
    assert message.count("\n  ") == 6, "none is called missing as well"
    assert "SeCrEt" not in message
