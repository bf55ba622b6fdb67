"""The environment: one message names everything that is wrong, and no message has a secret."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pydantic import SecretStr

from s3sync.environment import (
    PUBLISHED_SECRET_KEY,
    SECRETS,
    Environment,
    django_database,
    read_environment,
    variable_name,
)
from tests.support.paths import REPOSITORY

KEY = "k3y-of-a-test-that-guards-nothing"
TOKENS = [f"token-number-{number}-of-a-test" for number in range(3)]
KEYS = [f"lambda-key-number-{number}-of-a-test-only" for number in range(3)]
BARE = SecretStr("postgresql://user@localhost/name")

WRONG = {
    "DATABASE_URL": "mysql://root:SeCrEt@localhost/x",
    "S3SYNC_SECRET_KEY": "SeCrEt",
    "S3SYNC_API_TOKENS": "SeCrEt",
    "S3SYNC_LAMBDA_KEYS": "SeCrEt",
    "S3SYNC_LANES": "SeCrEt",
    "S3SYNC_LANE_SECONDS": "SeCrEt",
    "S3SYNC_LOG_LEVEL": "SeCrEt",
    "S3SYNC_LEASE_SECONDS": "1",
    "S3SYNC_HTTPS_ONLY": "SeCrEt",
    "S3SYNC_PRIVATE_NETWORKS": "10.20.0.0/16,SeCrEt",
    "S3SYNC_PUBLIC_URL": "https://user:SeCrEt@s3sync.example.com",
    "S3SYNC_CA_BUNDLE": "/SeCrEt/ca.pem",
    "S3SYNC_LEAST_BYTES_PER_SECOND": "-1",
    "S3SYNC_EXCHANGE_SECONDS": "0",
    "S3SYNC_OIDC_ROLES": "SeCrEt",
    "S3SYNC_OIDC_ISSUER": "http://SeCrEt.example.com",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only the variables that the service requires."""
    for name in [name for name in os.environ if name.startswith("S3SYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db:5433/name")
    monkeypatch.setenv("S3SYNC_SECRET_KEY", KEY)
    return monkeypatch


def test_a_database_and_a_secret_key_are_enough(environment: pytest.MonkeyPatch) -> None:
    found = read_environment()
    assert found.secret_key.get_secret_value() == KEY
    assert found.api_tokens == []
    assert found.poll_in_cluster


SINGLE_SIGN_ON = {
    "S3SYNC_OIDC_ISSUER": "https://login.example.com/realms/ops",
    "S3SYNC_OIDC_CLIENT_ID": "s3sync",
    "S3SYNC_OIDC_CLIENT_SECRET": "SeCrEt",
    "S3SYNC_OIDC_ROLES": "ops=Operator, cn=admins=superuser",
}


def test_single_sign_on_needs_all_of_its_settings(environment: pytest.MonkeyPatch) -> None:
    for name, value in SINGLE_SIGN_ON.items():
        environment.setenv(name, value)
    environment.setenv("S3SYNC_LOCAL_LOGINS", "false")
    found = read_environment()
    assert found.roles_of_groups == [("ops", "Operator"), ("cn=admins", "superuser")]
    assert "SeCrEt" not in repr(found)
    for name in list(SINGLE_SIGN_ON)[1:]:
        environment.delenv(name)
        with pytest.raises(ImproperlyConfigured, match=f"S3SYNC_OIDC_ISSUER: needs {name} too"):
            read_environment()
        environment.setenv(name, SINGLE_SIGN_ON[name])
    environment.delenv("S3SYNC_OIDC_ISSUER")
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_LOCAL_LOGINS: must be true without"):
        read_environment()


@pytest.mark.parametrize(
    ("issuer", "hosts", "is_permitted"),
    [
        ("https://login.example.com", "", True),
        ("http://login.example.com", "", False),
        ("http://login.example.com", "login.example.com", True),
        ("https://user:x@login.example.com", "", False),
        ("https://login.example.com/?a=b", "", False),
        ("https://login.example.com:port", "", False),
        ("login.example.com", "", False),
        ("ftp://login.example.com", "login.example.com", False),
    ],
)
def test_an_issuer_is_an_https_url_unless_its_host_is_listed(
    environment: pytest.MonkeyPatch, issuer: str, hosts: str, is_permitted: bool
) -> None:
    for name, value in (SINGLE_SIGN_ON | {"S3SYNC_OIDC_ISSUER": issuer}).items():
        environment.setenv(name, value)
    environment.setenv("S3SYNC_PLAIN_HTTP_HOSTS", hosts)
    if is_permitted:
        assert read_environment().oidc_issuer == issuer
        return
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_OIDC_ISSUER: must"):
        read_environment()


def test_lists_are_split_at_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("S3SYNC_ALLOWED_HOSTS", "a.example.com, b.example.com,,")
    environment.setenv("S3SYNC_API_TOKENS", ",".join(TOKENS))
    environment.setenv("S3SYNC_PRIVATE_NETWORKS", "10.20.0.0/16, fd00:20::/32")
    found = read_environment()
    assert found.private_networks == ["10.20.0.0/16", "fd00:20::/32"]
    assert found.allowed_hosts == ["a.example.com", "b.example.com"]
    assert found.api_tokens == TOKENS


def test_one_message_names_everything_that_is_wrong(environment: pytest.MonkeyPatch) -> None:
    for name, value in WRONG.items():
        environment.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as caught:
        read_environment()
    message = str(caught.value)
    assert [name for name in WRONG if f"  {name}: " not in message] == []
    assert "SeCrEt" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["s3sync.example.com", "ftp://h", "https://h/admin/", "https://h:x", "https://h?a=b"]
)
def test_a_public_url_must_be_an_origin(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("S3SYNC_PUBLIC_URL", url)
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_PUBLIC_URL: must look like https://"):
        read_environment()
    environment.setenv("S3SYNC_PUBLIC_URL", "https://s3sync.example.com:8443/")
    assert read_environment().public_url == "https://s3sync.example.com:8443"


def test_failures_must_be_kept_at_least_as_long_as_jobs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("S3SYNC_KEEP_JOBS_DAYS", "91")
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_KEEP_FAILURES_DAYS: must be at least"):
        read_environment()
    environment.setenv("S3SYNC_KEEP_FAILURES_DAYS", "91")
    assert read_environment().keep_failures_days == 91


def test_there_are_at_most_two_lambda_keys(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("S3SYNC_LAMBDA_KEYS", f" {KEYS[0]}, {KEYS[1]},")
    assert read_environment().lambda_keys == KEYS[:2]
    environment.setenv("S3SYNC_LAMBDA_KEYS", ",".join(KEYS))
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_LAMBDA_KEYS: has more than two keys"):
        read_environment()


def test_a_ca_bundle_must_have_certificates(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    environment.setenv("S3SYNC_CA_BUNDLE", str(file))
    with pytest.raises(ImproperlyConfigured, match="S3SYNC_CA_BUNDLE: the file can't be used"):
        read_environment()
    trustme.CA().cert_pem.write_to_path(file)
    assert read_environment().ca_bundle == file


def test_a_network_with_host_bits_is_refused(environment: pytest.MonkeyPatch) -> None:
    for name in ("S3SYNC_PRIVATE_NETWORKS", "S3SYNC_TRUSTED_PROXIES"):
        environment.setenv(name, "10.20.1.1/16")
        with pytest.raises(ImproperlyConfigured, match=f"{name}: each must be"):
            read_environment()
        environment.delenv(name)


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS", "API_TOKENS", "LAMBDA_KEYS"]
)
def test_a_secret_of_few_letters_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(f"S3SYNC_{name}", "abcd" * 12)
    with pytest.raises(ImproperlyConfigured, match=f"S3SYNC_{name}: has fewer than 5 different"):
        read_environment()


@pytest.mark.parametrize("command", [["web"], ["qcluster"], ["pollsqs"]])
def test_no_server_starts_with_the_key_of_the_images_build(command: list[str]) -> None:
    for file in ("Dockerfile", "Makefile"):
        assert f"S3SYNC_SECRET_KEY={PUBLISHED_SECRET_KEY}" in (REPOSITORY / file).read_text()
    published = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "S3SYNC_SECRET_KEY": PUBLISHED_SECRET_KEY,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env=published,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    refused = run(*command)
    assert refused.returncode == 1
    assert "S3SYNC_SECRET_KEY is the key of the image's build" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert run("check").returncode == 0
    published |= {
        "S3SYNC_SECRET_KEY": KEY,
        "S3SYNC_SECRET_KEY_FALLBACKS": f"{KEYS[0]},{PUBLISHED_SECRET_KEY}",
    }
    assert (
        "one of S3SYNC_SECRET_KEY_FALLBACKS is the key of the image's build" in run(*command).stderr
    )


def test_the_message_names_missing_variables(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    environment.delenv("S3SYNC_SECRET_KEY")
    with pytest.raises(ImproperlyConfigured) as caught:
        read_environment()
    assert "  DATABASE_URL: is not set\n  S3SYNC_SECRET_KEY: is not set" in str(caught.value)


def test_the_repr_of_the_settings_has_no_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgresql://u:SeCrEt@db/name")
    environment.setenv("S3SYNC_SECRET_KEY", "SeCrEt" * 6)
    environment.setenv("S3SYNC_API_TOKENS", "SeCrEt" * 6)
    environment.setenv("S3SYNC_LAMBDA_KEYS", "SeCrEt" * 6)
    environment.setenv("S3SYNC_SECRET_KEY_FALLBACKS", "SeCrEt" * 6)
    assert "SeCrEt" not in repr(read_environment())


def test_a_management_command_prints_the_message_and_no_value(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", "check"],
        env={"PATH": os.defpath, **WRONG},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert [name for name in WRONG if f"  {name}: " not in output] == []
    assert "SeCrEt" not in output


@pytest.mark.parametrize(
    "url", ["", "postgresql://", "postgresql://h", "postgresql://h/", "postgresql://h:x/n", "h/n"]
)
def test_a_database_url_that_is_not_for_postgresql_is_refused(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    environment.setenv("DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL: must look like postgresql://"):
        read_environment()


def test_a_database_url_becomes_a_django_database() -> None:
    url = SecretStr("postgresql://us%40er:p%2Fw%3A@[::1]:5433/na%20me?sslmode=require&x=a%3Db")
    found = django_database(url)
    assert (found["USER"], found["PASSWORD"], found["NAME"]) == ("us@er", "p/w:", "na me")
    assert (found["HOST"], found["PORT"]) == ("::1", "5433")
    assert found["OPTIONS"] == django_database(BARE)["OPTIONS"] | {"sslmode": "require", "x": "a=b"}


@pytest.mark.django_db
def test_a_database_host_that_vanishes_is_noticed_unless_the_url_says_otherwise() -> None:
    assert django_database(BARE)["OPTIONS"]["tcp_user_timeout"] == "25000"
    slow = SecretStr(f"{BARE.get_secret_value()}?tcp_user_timeout=0")
    assert django_database(slow)["OPTIONS"]["tcp_user_timeout"] == "0"
    connection.ensure_connection()
    assert connection.connection.info.get_parameters()["keepalives_idle"] == "10"


@pytest.mark.parametrize("field", Environment.model_fields)
def test_every_setting_is_described_and_documented(field: str) -> None:
    assert Environment.model_fields[field].description
    assert f"`{variable_name(field)}`" in (REPOSITORY / "docs/reference/settings.md").read_text()


def test_every_documented_variable_exists() -> None:
    rows = (REPOSITORY / "docs/reference/settings.md").read_text().splitlines()
    documented = {row.split("`")[1] for row in rows if row.startswith("| `S3SYNC_")}
    known = {variable_name(field) for field in Environment.model_fields}
    known |= {f"{variable_name(field)}_FILE" for field in SECRETS}
    assert {name for name in documented if "PROFILE" not in name} <= known
