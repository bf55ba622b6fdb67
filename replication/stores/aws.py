"""boto3 sessions and clients by credential profile, shared by the S3 store and the SQS queue."""

import threading
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    Credentials,
    DeferredRefreshableCredentials,
)
from django.conf import settings

from replication.stores.credentials import AccessKey, access_key

_making = threading.Lock()  # clients may be used by many threads, but not made by many
# The descriptions of AWS's services, which else each session would read anew.
_descriptions = botocore.session.Session().get_component("data_loader")


def load_descriptions() -> None:
    """Read the descriptions of the services that are used; children of a fork have them, too."""
    session = boto3.Session("id", "secret", botocore_session=_botocore_session())
    for service in ("s3", "sqs"):
        session.client(service, region_name="us-east-1")


def aws_client(
    service: str,
    *,
    region: str,
    endpoint_url: str,
    profile: str,
    holds_back_seconds: float = 0,
    connections: int | None = None,
) -> Any:
    """A thread-safe client, one for each distinct configuration in a process.

    `holds_back_seconds` is how long the service may hold an answer back by agreement, as in a long
    poll: that much is added to the read timeout. So many `connections` are kept; by default those
    that a lane needs.
    Its retries are off: jobs/ has the one retry policy.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
    """
    with _making:
        return _client(
            service,
            region,
            endpoint_url,
            access_key(profile),
            holds_back_seconds=holds_back_seconds,
            connections=connections,
        )


def aws_credentials(*, region: str, profile: str) -> Any:
    """A profile's credentials as botocore has them, which renew themselves; None if it has none.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile is not known.
    """
    with _making:
        return _session(access_key(profile), region).get_credentials()


@lru_cache(maxsize=128)
def _client(
    service: str,
    region: str,
    endpoint_url: str,
    key: AccessKey | None,
    *,
    holds_back_seconds: float,
    connections: int | None,
) -> Any:
    limits = settings.S3SYNC
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=limits.connect_timeout_seconds,
        read_timeout=limits.read_timeout_seconds + holds_back_seconds,
        max_pool_connections=connections or limits.connections_at_most,
        # Else it is put together anew, from fifteen parts, for each request: a fifth of its cost.
        user_agent="s3sync",
        # Bodies are checked by transfer.py, in the same pass as the CRC-64.
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
    )
    return _session(key, region).client(
        service, region_name=region, endpoint_url=endpoint_url or None, config=config
    )


@lru_cache(maxsize=64)
def _session(key: AccessKey | None, region: str) -> Any:
    session = _botocore_session()
    if key is None:
        return boto3.Session(botocore_session=session)
    if not key.role_arn:
        return boto3.Session(
            key.id, key.secret, key.session_token or None, botocore_session=session
        )
    fetcher = AssumeRoleCredentialFetcher(
        # STS is asked in the region of what the role is for; there is no other region to ask.
        client_creator=partial(session.create_client, region_name=region),
        source_credentials=Credentials(key.id, key.secret, key.session_token or None),
        role_arn=key.role_arn,
        extra_args={"RoleSessionName": "s3sync"},
    )
    # botocore has no public way to hand a session credentials that renew themselves.
    session._credentials = DeferredRefreshableCredentials(
        fetcher.fetch_credentials, method="assume-role"
    )
    return boto3.Session(botocore_session=session)


def _botocore_session() -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _descriptions)
    return session


def sqs_endpoint(queue_url: str) -> str:
    """Where SQS is that has this queue."""
    url = urlsplit(queue_url)
    return f"{url.scheme}://{url.netloc}"
