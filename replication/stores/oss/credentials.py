"""Where OSS's credentials come from, and oss2's signatures with the host in them."""

import os
import re
from collections.abc import Collection
from urllib.parse import urlsplit

import oss2
import oss2.credentials

from replication.errors import ErrorCode, ReplicationError
from replication.stores.credentials import access_key, find_profile_value
from replication.stores.oss import roles
from replication.stores.renewal import Renewed
from replication.stores.signing_keys import Credentials

_ALIBABA_TOKEN = "ALIBABA_CLOUD_SECURITY_TOKEN"  # noqa: S105  a variable's name
_OIDC = ("ROLE_ARN", "OIDC_PROVIDER_ARN", "OIDC_TOKEN_FILE")
_NEEDED = (
    "the profile 'default' needs OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET in the environment, "
    "or ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or "
    + ", ".join(f"ALIBABA_CLOUD_{name}" for name in _OIDC)
)
_HOST = re.compile(r"[a-zA-Z0-9.-]+(:[0-9]+)?")
# Enough of an access key's id to recognise it. The id is no secret, but reports are passed around.
_SHOWN_CHARACTERS = 4


class HostSigner(oss2.ProviderAuthV4):
    """Signs oss2's own requests with the host, so that a captured one is of no use elsewhere."""

    def _sign_request(
        self,
        req: oss2.http.Request,
        bucket_name: str,
        key: str,
        in_additional_headers: Collection[str] | None = None,
    ) -> None:
        req.headers["Host"] = urlsplit(req.url).netloc
        super()._sign_request(req, bucket_name, key, {"host", *(in_additional_headers or ())})


class _RenewedProvider(oss2.credentials.CredentialsProvider):
    """The credentials of a role, for oss2."""

    def __init__(self, renewed: Renewed) -> None:
        self._renewed = renewed

    def get_credentials(self) -> oss2.credentials.Credentials:
        found = self._renewed.current()
        return oss2.credentials.Credentials(found.id, found.secret, found.token)


def provider(profile: str) -> oss2.credentials.CredentialsProvider:
    """Return oss2's credentials for a profile.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has none.
    """
    found = _found(profile)
    if isinstance(found, Credentials):
        return oss2.credentials.StaticCredentialsProvider(found.id, found.secret, found.token)
    renewed = roles.renewed(found, profile=profile)
    if isinstance(found, roles.InstanceRole):
        # Only the metadata service can say whether this host has a role at all.
        try:
            renewed.current()
        except ReplicationError as error:
            detail = f"{_NEEDED}; without them, an instance role: {error.detail}"
            raise ReplicationError(ErrorCode.CREDENTIAL_PROFILE, detail) from error
    return _RenewedProvider(renewed)


def whose(profile: str) -> str:
    """Whose credentials the profile has, in an operator's words.

    Raises:
        ReplicationError: as `provider`.
    """
    found = _found(profile)
    match found:
        case roles.InstanceRole():
            return f"the role {found.name}".rstrip() + " of this ECS instance"
        case roles.AssumedRole() | roles.OidcRole():
            return f"the role {found.arn}"
    shown = _SHOWN_CHARACTERS
    key_id = found.id
    return "access key " + (
        key_id if len(key_id) < 3 * shown else f"{key_id[:shown]}…{key_id[-shown:]}"
    )


def _found(profile: str) -> Credentials | roles.Role:
    """The first credentials of a profile, in the order of docs/guides/credentials.md."""
    key = access_key(profile)
    if key is None:
        return _of_environment(profile)
    if not key.role_arn:
        return Credentials(key.id, key.secret, key.session_token)
    if not key.role_arn.startswith("acs:ram::"):
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            f"profile {profile!r}: its role_arn is none of Alibaba Cloud's, which look like "
            "acs:ram::123456789012:role/NAME; use a profile of its own for OSS",
        )
    return roles.AssumedRole(
        key.id, key.secret, key.session_token, key.role_arn, key.external_id, _sts(profile)
    )


def _of_environment(profile: str) -> Credentials | roles.Role:
    value = os.environ.get
    for prefix, token in (("OSS", "OSS_SESSION_TOKEN"), ("ALIBABA_CLOUD", _ALIBABA_TOKEN)):
        key_id, secret = value(f"{prefix}_ACCESS_KEY_ID"), value(f"{prefix}_ACCESS_KEY_SECRET")
        if key_id and secret:
            return Credentials(key_id, secret, value(token, ""))
    arn, provider_arn, token_file = (value(f"ALIBABA_CLOUD_{name}", "") for name in _OIDC)
    if arn and provider_arn and token_file:
        return roles.OidcRole(arn, provider_arn, token_file, _sts(profile))
    if value("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower() == "true":
        raise ReplicationError(ErrorCode.CREDENTIAL_PROFILE, _NEEDED)
    if not roles.is_installed():
        raise ReplicationError(ErrorCode.CREDENTIAL_PROFILE, f"{_NEEDED}. {roles.INSTALL}")
    return roles.InstanceRole(value("ALIBABA_CLOUD_ECS_METADATA", ""))


def _sts(profile: str) -> str:
    """The host of Alibaba Cloud's STS. The environment decides it, and nobody who edits places."""
    named = find_profile_value(profile, "sts_endpoint")
    if named:
        if not _HOST.fullmatch(named):
            raise ReplicationError(
                ErrorCode.CREDENTIAL_PROFILE,
                f"profile {profile!r}: its sts_endpoint must be a host such as "
                "sts-vpc.cn-hangzhou.aliyuncs.com, without a scheme or a path",
            )
        return named
    region = os.environ.get("ALIBABA_CLOUD_STS_REGION", "")
    in_vpc = os.environ.get("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "").lower() == "true"
    return f"sts{'-vpc' if in_vpc else ''}.{region}.aliyuncs.com" if region else roles.PUBLIC_STS


def current(provider: oss2.credentials.CredentialsProvider) -> Credentials:
    """Return the credentials to sign with now.

    Raises:
        ReplicationError: a role's have ended, and its service gives no others.
    """
    found = provider.get_credentials()
    return Credentials(
        found.get_access_key_id(),
        found.get_access_key_secret(),
        found.get_security_token() or "",
    )
