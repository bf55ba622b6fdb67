"""Temporary credentials for OSS, by Alibaba Cloud's own library over our own transport.

The library is optional: an access key needs none of it. It makes one request for each renewal; when
that is, stores/renewal.py decides. Why its own cache, proxies and connections are not used:
docs/decisions/temporary-credentials.md.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import requests
from requests.adapters import BaseAdapter

from replication.errors import ErrorCode, ReplicationError
from replication.stores.pools import new_pool, trusted_tls
from replication.stores.renewal import Renewed, Temporary
from replication.stores.signing_keys import Credentials
from replication.stores.transport import Limits, Pool, TransportError
from replication.stores.transport.door import ECS_METADATA, MetadataDoor

PUBLIC_STS = "sts.aliyuncs.com"

_SESSION_NAME = "s3sync"
_ANSWER_BYTES_AT_MOST = 64 * 1024
# The service is on the same host: where there is none, that must be noticed soon.
_METADATA_LIMITS = Limits(connect_seconds=2, read_seconds=5, exchange_seconds=10)
INSTALL = (
    "a role needs Alibaba Cloud's credentials library, which is not installed: run "
    "`pip install --require-hashes --find-links requirements/wheels -r requirements/alibaba.txt`, "
    "or build the image with "
    "`--build-arg REQUIREMENTS=requirements/alibaba.txt`"
)
_OTHER_VERSION = (
    "the installed alibabacloud-tea can't be used: its requests would not pass s3sync's own "
    "transport. Install the version in requirements/alibaba.txt"
)
# Refusals of STS with a status of 4xx that end by themselves.
_TRANSIENT_CODES = re.compile(r"Throttling.*|ServiceUnavailable|InternalError")


@dataclass(frozen=True)
class AssumedRole:
    """A role that an access key assumes."""

    key_id: str
    key_secret: str = field(repr=False)
    session_token: str = field(repr=False)
    arn: str
    external_id: str = ""
    sts: str = PUBLIC_STS

    @property
    def service(self) -> str:
        """Who gives out the credentials, in an operator's words."""
        return f"STS at {self.sts}"


@dataclass(frozen=True)
class OidcRole:
    """A role that a pod of ACK assumes by its service account (RRSA)."""

    arn: str
    provider_arn: str
    token_file: str
    sts: str = PUBLIC_STS

    @property
    def service(self) -> str:
        """As of AssumedRole."""
        return f"STS at {self.sts}"


@dataclass(frozen=True)
class InstanceRole:
    """The role of the ECS instance on which the service runs."""

    name: str = ""  # empty: the metadata service says it
    service: str = f"the metadata service of ECS ({ECS_METADATA.host})"


Role = AssumedRole | OidcRole | InstanceRole


@lru_cache(maxsize=64)
def renewed(role: Role, *, profile: str) -> Renewed:
    """Return the credentials of a role; a process has one for all buckets of a profile.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the library is not installed.
    """
    library = _library()
    _carry(library.TeaCore, role)
    return Renewed(lambda: _fetched(role, _PROVIDERS[type(role)](library, role)), profile=profile)


def is_installed() -> bool:
    """Whether there is the library that roles need."""
    try:
        _library()
    except ReplicationError:
        return False
    return True


@dataclass(frozen=True)
class _Library:
    TeaCore: Any
    instance_role: Any
    assumed_role: Any
    oidc_role: Any


@lru_cache(maxsize=1)
def _library() -> _Library:
    try:
        # Here, because it is optional, and takes a third of a second.
        from alibabacloud_credentials.provider.ecs_ram_role import (  # noqa: PLC0415
            EcsRamRoleCredentialsProvider,
        )
        from alibabacloud_credentials.provider.oidc import (  # noqa: PLC0415
            OIDCRoleArnCredentialsProvider,
        )
        from alibabacloud_credentials.provider.ram_role_arn import (  # noqa: PLC0415
            RamRoleArnCredentialsProvider,
        )
        from Tea.core import TeaCore  # noqa: PLC0415
    except ImportError as error:
        raise ReplicationError(ErrorCode.CREDENTIAL_PROFILE, INSTALL) from error
    if not hasattr(TeaCore, "_sessions"):
        raise ReplicationError(ErrorCode.CREDENTIAL_PROFILE, _OTHER_VERSION)
    for name in ("credentials", "alibabacloud-tea"):
        # They have handlers of their own, and print whole answers. We log each failure ourselves.
        logging.getLogger(name).disabled = True
    return _Library(
        TeaCore,
        EcsRamRoleCredentialsProvider,
        RamRoleArnCredentialsProvider,
        OIDCRoleArnCredentialsProvider,
    )


# A new provider for each renewal: the library's own cache would hand out ended credentials of an
# instance role, and asks each time for credentials that live for less than 15 minutes.


def _assumed_role(library: _Library, role: AssumedRole) -> Any:
    return library.assumed_role(
        access_key_id=role.key_id,
        access_key_secret=role.key_secret,
        security_token=role.session_token or None,
        role_arn=role.arn,
        external_id=role.external_id or None,
        role_session_name=_SESSION_NAME,
        sts_endpoint=role.sts,
    )


def _oidc_role(library: _Library, role: OidcRole) -> Any:
    return library.oidc_role(
        role_arn=role.arn,
        oidc_provider_arn=role.provider_arn,
        oidc_token_file_path=role.token_file,
        role_session_name=_SESSION_NAME,
        sts_endpoint=role.sts,
    )


def _instance_role(library: _Library, role: InstanceRole) -> Any:
    return library.instance_role(
        role_name=role.name,
        disable_imds_v1=True,  # without a token, a page that makes us fetch a URL could ask, too
        async_update_enabled=False,  # no threads and timers of its own
    )


_PROVIDERS: dict[type, Callable[[_Library, Any], Any]] = {
    AssumedRole: _assumed_role,
    OidcRole: _oidc_role,
    InstanceRole: _instance_role,
}


def _fetched(role: Role, provider: Any) -> Temporary:
    try:
        found = provider.get_credentials()
        values = (
            found.get_access_key_id(),
            found.get_access_key_secret(),
            found.get_security_token(),
        )
        if not all(value.isascii() and value.isprintable() for value in values):
            raise ValueError("they are no text that a header can have")
        return Temporary(Credentials(*values), float(found.get_expiration()))
    except TransportError as error:
        raise ReplicationError(
            ErrorCode.DESTINATION_TOKEN_SERVICE, f"{role.service} did not answer: {error}"
        ) from error
    except _RefusedError as error:
        code = (
            ErrorCode.DESTINATION_TOKEN_SERVICE
            if error.is_transient
            else ErrorCode.DESTINATION_CREDENTIALS
        )
        raise ReplicationError(code, f"{role.service} refused: {error}") from error
    except OSError as error:
        raise ReplicationError(
            ErrorCode.DESTINATION_CREDENTIALS, f"the OIDC token can't be read: {error}"
        ) from error
    except Exception as error:  # the library's, for an answer that it does not understand
        # Its text may repeat the answer, and so a secret.
        raise ReplicationError(
            ErrorCode.DESTINATION_TOKEN_SERVICE,
            f"{role.service} answered something else than credentials: {type(error).__name__}",
        ) from error


class _RefusedError(Exception):
    """The service answered with an error."""

    def __init__(self, status: int, body: bytes) -> None:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        document = document if isinstance(document, dict) else {}
        code = str(document.get("Code", ""))
        super().__init__(f"{status} {code}: {document.get('Message', '')}".rstrip(": "))
        self.is_transient = (
            status >= 500 or status in {408, 429} or bool(_TRANSIENT_CODES.fullmatch(code))
        )


def _carry(tea_core: Any, role: Role) -> None:
    """Let our own transport carry the requests of the library to the role's service.

    So they have the same door, proxies, authorities and time limits as all others.
    """
    if isinstance(role, InstanceRole):
        scheme, host = ECS_METADATA.scheme, ECS_METADATA.host
        pool = Pool(limits=_METADATA_LIMITS, kept_at_most=1, tls=trusted_tls(), door=MetadataDoor())
    else:
        scheme, host, pool = "https", role.sts, new_pool(kept_at_most=1)
    session = requests.Session()
    session.mount(f"{scheme}://", _Carrier(pool))
    # The library has no public way to be given a session. It takes this one by its key, in which it
    # has 80 for https as well.
    tea_core._sessions[f"{scheme}://{host}:80"] = session


class _Carrier(BaseAdapter):
    """Sends the requests of a session of the requests library by our own transport."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Return an answer with the status 200.

        Raises:
            _RefusedError: the answer has another status.
            TransportError: there was no answer.
        """
        assert request.body is None, "the library puts all parameters into the URL"
        headers = [
            (name, value.decode("latin-1") if isinstance(value, bytes) else value)
            for name, value in request.headers.items()
            if name.lower() not in {"host", "content-length"}
        ]
        with self._pool.request(
            request.method or "GET", request.url or "", headers=headers
        ) as answer:
            content = answer.read_all(at_most=_ANSWER_BYTES_AT_MOST)
        if answer.status != 200:
            raise _RefusedError(answer.status, content)
        response = requests.Response()
        response.status_code = answer.status
        response._content = content
        return response

    def close(self) -> None:
        """The pool is kept for as long as the process."""
