"""All settings from the environment, checked at once; no message repeats a value."""

import os
import re
import socket
import ssl
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit
from zoneinfo import available_timezones

from django.core.exceptions import ImproperlyConfigured
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from s3sync import secret_files

PREFIX = "S3SYNC_"
# Each may be in a file instead, which the variable with _FILE behind its name names.
SECRETS = (
    *("database_url", "secret_key", "secret_key_fallbacks", "api_tokens", "lambda_keys"),
    "oidc_client_secret",
)

MIN_SECRET_KEY_LENGTH = 32
MIN_API_TOKEN_LENGTH = 16
MIN_LAMBDA_KEY_LENGTH = 32
MAX_LAMBDA_KEYS = 2
MAX_PART_PLACES = 32
MIN_DIFFERENT_CHARACTERS = 5
# The Dockerfile and the Makefile load the settings with it.
PUBLISHED_SECRET_KEY = "only-to-load-the-settings-nothing-more"  # noqa: S105  it is no secret

# A proxy is rarely reached by a public address, and a stranger rarely comes from a private one.
_USUAL_PROXIES = [
    *("127.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10"),
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
]


def _split_commas(value: Any) -> Any:
    # Lines, too: a mounted secret often has one item a line.
    return (
        [part.strip() for part in re.split("[,\n]", value) if part.strip()]
        if isinstance(value, str)
        else value
    )


def _check_secret_keys(*keys: str) -> None:
    if any(len(key) < MIN_SECRET_KEY_LENGTH for key in keys):
        raise ValueError(
            f"needs {MIN_SECRET_KEY_LENGTH} characters or more; make one with: "
            """python -c "import secrets; print(secrets.token_urlsafe(48))" """.strip()
        )
    _check_variety(*keys)


def _check_variety(*secrets: str) -> None:
    if any(len(set(secret)) < MIN_DIFFERENT_CHARACTERS for secret in secrets):
        raise ValueError(
            f"has fewer than {MIN_DIFFERENT_CHARACTERS} different characters, so it can be "
            "guessed; make one with: openssl rand -hex 32"
        )


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]


class Environment(BaseSettings):
    """The service's settings. Each field's description is its documentation.

    The field `lane_concurrency` is read from `S3SYNC_LANE_CONCURRENCY`. Only `DATABASE_URL` has no
    prefix, following the usual convention.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, hide_input_in_errors=True, extra="ignore")

    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="PostgreSQL 14 or later: postgresql://USER:PASSWORD@HOST:5432/NAME",
    )
    secret_key: SecretStr = Field(
        description="Signs sessions and queued tasks; 32 characters or more, the same on every host"
    )
    secret_key_fallbacks: CommaSeparated = Field(
        default=[],
        repr=False,
        description="Other keys whose sessions and tasks are accepted while S3SYNC_SECRET_KEY is "
        "exchanged, separated by commas",
    )
    allowed_hosts: CommaSeparated = Field(
        default=["localhost", "127.0.0.1", "[::1]"],
        description="Host names that the web server answers for, separated by commas",
    )
    csrf_trusted_origins: CommaSeparated = Field(
        default=[],
        description="Origins of the admin behind a TLS proxy, e.g. https://s3sync.example.com",
    )
    https_only: bool = Field(
        default=False,
        description="Behind TLS: secure cookies, HSTS; a trusted proxy's X-Forwarded-Proto is used",
    )
    trusted_proxies: CommaSeparated = Field(
        default=[],
        description="Networks of the proxies in front of the web server, e.g. 10.20.0.0/16, "
        "separated by commas; only their X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    proxy_hops: int = Field(
        default=1,
        ge=1,
        le=10,
        description="How many such proxies a request passes, one behind the other",
    )
    public_url: str = Field(
        default="",
        description="The admin's address for people, for links in notifications, "
        "e.g. https://s3sync.example.com",
    )
    api_tokens: CommaSeparated = Field(
        default=[],
        repr=False,
        description="Tokens of the role operate, separated by commas; `manage.py apitoken` "
        "makes tokens that have names and roles and can be revoked",
    )
    lambda_keys: CommaSeparated = Field(
        default=[],
        repr=False,
        description="Keys of 32 characters or more with which the Lambda function signs its calls; "
        "two, separated by a comma, while one replaces the other",
    )
    api_calls_per_second: float = Field(
        default=50,
        ge=0,
        allow_inf_nan=False,
        description="Calls a second of one token that a web process answers; 0: no limit",
    )
    api_event_calls_per_second: float = Field(
        default=1000,
        ge=0,
        allow_inf_nan=False,
        description="The same for POST /api/v1/events, which carries the traffic",
    )
    metrics_public: bool = Field(
        default=False, description="/metrics needs no token: for closed networks"
    )
    secrets_dir: Path | None = Field(
        default=None,
        description="Folder of mounted secrets: <profile>/access_key_id and access_key_secret",
    )
    time_zone: str = Field(default="UTC", description="Time zone of the admin, e.g. Asia/Shanghai")
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG, INFO, WARNING or ERROR",
    )

    host: str = Field(
        default="",
        max_length=255,
        description="Name of this host in heartbeats and circuits; its own name if empty. Set it "
        "where hosts or containers share a name",
    )
    lanes: int = Field(
        default=max(2, os.cpu_count() or 2),
        ge=1,
        le=64,
        description="Lanes that one cluster may run at once; each is a process",
    )
    lane_concurrency: int = Field(
        default=256,
        ge=1,
        le=1024,
        description="The most transfers that one lane keeps in flight; it finds by itself how many "
        "help",
    )
    lane_seconds: float = Field(
        default=25,
        ge=1,
        le=300,
        description="Seconds until a lane or poller starts its successor and ends",
    )
    lease_seconds: float = Field(
        default=60,
        ge=5,
        le=3600,
        description="Seconds after which another lane may take over the jobs of a silent lane, "
        "and another cluster its slices of sweeps",
    )
    multipart_threshold_bytes: int = Field(
        default=32 * 1024**2,
        ge=1024**2,
        le=5 * 1024**3,
        description="Objects larger than this are copied in parts, which all lanes carry together",
    )
    multipart_chunksize_bytes: int = Field(
        default=16 * 1024**2,
        ge=1024**2,
        le=5 * 1024**3,
        description="Size of a part; larger where an object would have more than 10,000 parts",
    )
    max_attempts: int = Field(
        default=10, ge=1, le=100, description="Tries after which a job with an unknown error fails"
    )
    retry_base_seconds: float = Field(
        default=1,
        gt=0,
        allow_inf_nan=False,
        description="Upper bound of the wait before the first retry; it doubles",
    )
    retry_cap_seconds: float = Field(
        default=900,
        gt=0,
        allow_inf_nan=False,
        description="Upper bound of the wait before any retry",
    )
    probe_seconds: float = Field(
        default=30,
        gt=0,
        allow_inf_nan=False,
        description="Seconds until a parked rule is tried again, if a person must act; they grow "
        "to 15 minutes",
    )
    poll_in_cluster: bool = Field(
        default=True,
        description="The cluster polls the queues; set to false where `pollsqs` runs instead",
    )
    keep_jobs_days: int = Field(
        default=14,
        ge=1,
        le=36_500,
        description="Days until a finished job is deleted; failed jobs are kept longer",
    )
    keep_failures_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days until a failed job or a dead letter is deleted; "
        "at least S3SYNC_KEEP_JOBS_DAYS",
    )
    scrub_days: int = Field(
        default=7,
        ge=0,
        le=3650,
        description="Days until both buckets of a rule are compared again; 0: never",
    )
    sweep_grace_seconds: float = Field(
        default=300,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after a change before a sweep calls an event that has not come lost",
    )
    sweep_settle_seconds: int = Field(
        default=900,
        ge=0,
        le=86_400,
        description="Seconds after a change, or after it was found missing, until a sweep looks at "
        "the key once more before it calls it a difference",
    )
    keep_audit_days: int = Field(
        default=400,
        ge=30,
        le=36_500,
        description="Days until an entry of the audit is deleted; 30 or more",
    )
    connect_timeout_seconds: float = Field(
        default=10,
        gt=0,
        allow_inf_nan=False,
        description="Time limit for connecting to S3, SQS or OSS",
    )
    read_timeout_seconds: float = Field(
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Time limit for each wait for bytes from S3, SQS or OSS",
    )
    least_bytes_per_second: float = Field(
        default=1024,
        ge=0,
        allow_inf_nan=False,
        description="An exchange with S3, SQS or OSS that is slower is given up and retried; "
        "0: no least speed",
    )
    exchange_seconds: float = Field(
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds of waiting for the other side over which that speed is measured; an "
        "exchange with few bytes must end within them",
    )
    ca_bundle: Path | None = Field(
        default=None,
        description="File of certificate authorities (PEM) that are trusted beside the public "
        "ones, for S3, SQS, OSS and HTTP sources",
    )

    trusted_endpoints: CommaSeparated = Field(
        default=[],
        description="Endpoints that credential profiles without a list of their own may be used "
        "with, beside those of AWS and Alibaba Cloud, e.g. https://minio.example.com:9000; "
        "separated by commas, `*` stands for any part",
    )
    private_networks: CommaSeparated = Field(
        default=[],
        description="Networks that are not public and may be connected to all the same, by https "
        "and by http, e.g. 10.20.0.0/16; separated by commas. AWS's and Alibaba Cloud's own "
        "endpoints in a VPC need none by https",
    )
    plain_http_hosts: CommaSeparated = Field(
        default=[],
        description="Public hosts that may be connected to without TLS, e.g. files.example.com; "
        "separated by commas",
    )

    oidc_client_id: str = Field(
        default="", max_length=255, description="Our name at the identity provider"
    )
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="The secret that the identity provider gave us"
    )
    oidc_groups_claim: str = Field(
        default="groups",
        min_length=1,
        max_length=255,
        description="The claim that has a person's groups",
    )
    oidc_roles: CommaSeparated = Field(
        default=[],
        description="What the provider's groups may do: GROUP=ROLE, separated by commas; a role is "
        "Viewer, Operator, another group of the admin, or superuser",
    )
    # After those that it needs.
    oidc_issuer: str = Field(
        default="",
        description="The identity provider for single sign-on, exactly as it calls itself, e.g. "
        "https://login.example.com/realms/ops; empty: no single sign-on",
    )
    local_logins: bool = Field(
        default=True,
        validate_default=True,
        description="Whether people may log in with a name and a password; set to false once "
        "single sign-on works",
    )

    second_factor: str = Field(
        default="optional",
        pattern="^(optional|required)$",
        description="optional, or required: whether logins with a password need a code of an "
        "authenticator app",
    )

    @property
    def roles_of_groups(self) -> list[tuple[str, str]]:
        """The pairs of a group at the identity provider and a role here."""
        pairs = [pair.rpartition("=") for pair in self.oidc_roles]
        return [(group.strip(), role.strip()) for group, _, role in pairs]

    @property
    def host_name(self) -> str:
        """The name of this host, which no other host may have."""
        return self.host or socket.gethostname()

    @property
    def proxy_networks(self) -> list[str]:
        """The networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
        return self.trusted_proxies or (_USUAL_PROXIES if self.https_only else [])

    @property
    def statement_seconds(self) -> float:
        """How long a process that must not stand still waits for the database's answer.

        A lane survives one frozen statement: it extends its leases before they end.
        """
        return self.lease_seconds / 3

    @property
    def silence_seconds(self) -> float:
        """After this silence of its database thread a process ends.

        No less than what a lost connection costs by itself: a statement, its cancellation, and a
        new connection.
        """
        return max(self.lease_seconds, 30.0)

    @property
    def part_concurrency(self) -> int:
        """The places of a lane from which the shares of parts are taken. A part has a thread."""
        return min(self.lane_concurrency, MAX_PART_PLACES)

    @property
    def max_connections(self) -> int:
        """The most connections of a lane to one source or destination: transfers and parts."""
        return self.lane_concurrency + self.part_concurrency

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr) -> SecretStr:
        try:
            url = urlsplit(value.get_secret_value())
            usable = url.scheme in {"postgresql", "postgres"} and len(url.path) > 1
            _ = url.port
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must look like postgresql://USER:PASSWORD@HOST:5432/NAME")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            origin = f"{url.scheme}://{url.netloc}"
            usable = url.scheme in {"https", "http"} and url.hostname and not url.username
            _ = url.port
        except ValueError:
            usable = False
        if value and not (usable and value.rstrip("/") == origin):
            raise ValueError("must look like https://s3sync.example.com, without a path")
        return value.rstrip("/")

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr) -> SecretStr:
        _check_secret_keys(value.get_secret_value())
        return value

    @field_validator("secret_key_fallbacks")
    @classmethod
    def _check_secret_key_fallbacks(cls, value: list[str]) -> list[str]:
        _check_secret_keys(*value)
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _check_oidc_roles(cls, value: list[str]) -> list[str]:
        for pair in value:
            group, equals, role = pair.rpartition("=")
            if not (equals and group.strip() and role.strip()):
                raise ValueError("must look like ops=Operator,viewers=Viewer,admins=superuser")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _check_oidc_issuer(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        try:
            url = urlsplit(value)
            host = url.hostname or ""
            is_plain = host in [name.lower() for name in info.data.get("plain_http_hosts", [])]
            usable = host and not (url.username or url.query or url.fragment)
            _ = url.port
        except ValueError:
            usable = is_plain = False
            url = None
        if not usable or url is None or url.scheme not in {"https", "http"}:
            raise ValueError("must look like https://login.example.com/realms/ops")
        if url.scheme == "http" and not is_plain:
            raise ValueError(
                "must begin with https://, or its host must be in S3SYNC_PLAIN_HTTP_HOSTS"
            )
        needed = {
            "S3SYNC_OIDC_CLIENT_ID": info.data.get("oidc_client_id", "wrong"),
            "S3SYNC_OIDC_CLIENT_SECRET": info.data["oidc_client_secret"].get_secret_value(),
            "S3SYNC_OIDC_ROLES": info.data.get("oidc_roles", "wrong"),
        }
        missing = [name for name, given in needed.items() if not given]
        if missing:
            raise ValueError(f"needs {', '.join(missing)} too")
        return value

    @field_validator("local_logins")
    @classmethod
    def _check_local_logins(cls, value: bool, info: ValidationInfo) -> bool:
        # An invalid issuer is missing here, and has its own message.
        if not value and not info.data.get("oidc_issuer", "wrong"):
            raise ValueError("must be true without S3SYNC_OIDC_ISSUER: nobody could log in")
        return value

    @field_validator("keep_failures_days")
    @classmethod
    def _check_keep_failures_days(cls, value: int, info: ValidationInfo) -> int:
        # An invalid keep_jobs_days is missing here, and has its own message.
        if value < info.data.get("keep_jobs_days", 0):
            raise ValueError("must be at least S3SYNC_KEEP_JOBS_DAYS: failures are kept longer")
        return value

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("is not a time zone; use a name like Asia/Shanghai or UTC")
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _check_ca_bundle(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=str(value))
            except OSError as error:
                reason = error.strerror or "no certificates in PEM"
                raise ValueError(f"the file can't be used: {reason}") from None
        return value

    @field_validator("private_networks", "trusted_proxies")
    @classmethod
    def _check_networks(cls, value: list[str]) -> list[str]:
        try:
            return [str(ip_network(network)) for network in value]
        except ValueError:
            raise ValueError(
                "each must be a network like 10.20.0.0/16 or fd00:20::/32, without host bits"
            ) from None

    @field_validator("api_tokens")
    @classmethod
    def _check_api_tokens(cls, value: list[str]) -> list[str]:
        if any(len(token) < MIN_API_TOKEN_LENGTH for token in value):
            raise ValueError(f"each token needs {MIN_API_TOKEN_LENGTH} characters or more")
        _check_variety(*value)
        return value

    @field_validator("lambda_keys")
    @classmethod
    def _check_lambda_keys(cls, value: list[str]) -> list[str]:
        if len(value) > MAX_LAMBDA_KEYS:
            raise ValueError(
                "has more than two keys; set the current key and, at most, its replacement"
            )
        if any(len(key) < MIN_LAMBDA_KEY_LENGTH for key in value):
            raise ValueError(
                f"each key needs {MIN_LAMBDA_KEY_LENGTH} characters or more; make one with: "
                "openssl rand -hex 32"
            )
        _check_variety(*value)
        return value


def refuse_published_secret_key(environment: Environment) -> None:
    """Called wherever a process begins to serve; other commands only load the settings.

    Raises:
        ImproperlyConfigured: everybody knows one of the keys.
    """
    if environment.secret_key.get_secret_value() == PUBLISHED_SECRET_KEY:
        raise ImproperlyConfigured(
            "s3sync can't start: S3SYNC_SECRET_KEY is the key of the image's build. Everybody "
            "knows it, and could make a session with it. Make a key with: openssl rand -hex 32"
        )
    if PUBLISHED_SECRET_KEY in environment.secret_key_fallbacks:
        raise ImproperlyConfigured(
            "s3sync can't start: one of S3SYNC_SECRET_KEY_FALLBACKS is the key of the image's "
            "build. Everybody knows it, and could make a session with it. Remove it"
        )


def variable_name(field: str) -> str:
    """The environment variable for a field of `Environment`."""
    alias = Environment.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{field.upper()}"


def _field_or_alias(variable: str) -> str:
    field = next(field for field in SECRETS if variable_name(field) == variable)
    return str(Environment.model_fields[field].validation_alias or field)


def read_environment() -> Environment:
    """Read and check the whole environment.

    Raises:
        ImproperlyConfigured: the message names every wrong or missing variable, and repeats no
            value.
    """
    given, problems = secret_files.read(list(map(variable_name, SECRETS)))
    # pydantic-settings takes a field by its name, or else by its alias.
    named = {_field_or_alias(variable): value for variable, value in given.items()}
    lines = [f"  {variable}{secret_files.SUFFIX}: {why}" for variable, why in problems.items()]
    try:
        found = Environment(**named)  # type: ignore[arg-type]  # checked by pydantic
        if not lines:
            return found
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            field = str(problem["loc"][0])
            name = variable_name(field) if field in Environment.model_fields else field
            if name in problems:
                continue
            reason = "is not set" if problem["type"] == "missing" else problem["msg"]
            name += secret_files.SUFFIX if name in given else ""
            lines.append(f"  {name}: {reason.removeprefix('Value error, ')}")
    # Outside the except block: the chained ValidationError would add pages of traceback.
    raise ImproperlyConfigured(
        "s3sync can't start: environment variables are missing or wrong. Set these and start again "
        "(docs/reference/settings.md lists all variables):\n" + "\n".join(lines)
    )


# A database host that vanishes without a word (a failover, a firewall that forgets) is noticed
# within about 25 s; the kernel's own limits take from 15 minutes to 2 hours.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
_NOTICE_A_DEAD_HOST = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",  # ms
}


def django_database(url: SecretStr) -> dict[str, Any]:
    """Translate a PostgreSQL URL into a Django DATABASES entry; the query becomes OPTIONS."""
    parts = urlsplit(url.get_secret_value())
    options = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "s3sync.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": {**_NOTICE_A_DEAD_HOST, **{k: unquote(v) for k, v in options.items()}},
        # PgBouncer lends a server connection for one transaction; a cursor would stay behind on it.
        # Django's forms read their choices by `iterator()`, so this is not for large tables alone.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
