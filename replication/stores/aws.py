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

_creation_lock = threading.Lock()  # clients are safe to use from many threads, but not to create
# Loads and caches the models of AWS's services; with its own loader, each session reads them again.
_data_loader = botocore.session.Session().get_component("data_loader")


def load_service_models() -> None:
    """Load the models of the services we use, so that the children of a fork inherit them."""
    session = boto3.Session("id", "secret", botocore_session=_botocore_session())
    for service in ("s3", "sqs"):
        session.client(service, region_name="us-east-1")


def aws_client(
    service: str,
    *,
    region: str,
    endpoint_url: str,
    profile: str,
    long_poll_seconds: float = 0,
    connections: int | None = None,
) -> Any:
    """Return a thread-safe client; a process has one for each distinct configuration.

    The client does not retry: `jobs/` has the only retry policy.

    Args:
        long_poll_seconds: how long the service may hold an answer back, as in a long poll; added
            to the read timeout.
        connections: how many connections to keep; by default as many as a lane needs.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
    """
    with _creation_lock:
        return _client(
            service,
            region,
            endpoint_url,
            access_key(profile),
            long_poll_seconds=long_poll_seconds,
            connections=connections,
        )


def aws_credentials(*, region: str, profile: str) -> Any:
    """Return a profile's botocore credentials, which renew themselves; None if there are none.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
    """
    with _creation_lock:
        return _session(access_key(profile), region).get_credentials()


@lru_cache(maxsize=128)
def _client(
    service: str,
    region: str,
    endpoint_url: str,
    key: AccessKey | None,
    *,
    long_poll_seconds: float,
    connections: int | None,
) -> Any:
    limits = settings.S3SYNC
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=limits.connect_timeout_seconds,
        read_timeout=limits.read_timeout_seconds + long_poll_seconds,
        max_pool_connections=connections or limits.max_connections,
        # Fixed, because botocore otherwise builds it from fifteen parts for each request, a fifth
        # of the request's cost.
        user_agent="s3sync",
        # transfer/verified_body.py checks the bodies, in the same pass as the CRC-64.
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
        # Ask STS in the region that the role is used in; we know no other.
        client_creator=partial(session.create_client, region_name=region),
        source_credentials=Credentials(key.id, key.secret, key.session_token or None),
        role_arn=key.role_arn,
        extra_args={"RoleSessionName": "s3sync"},
    )
    # botocore has no public way to give a session credentials that renew themselves.
    session._credentials = DeferredRefreshableCredentials(
        fetcher.fetch_credentials, method="assume-role"
    )
    return boto3.Session(botocore_session=session)


def _botocore_session() -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _data_loader)
    return session


def sqs_endpoint(queue_url: str) -> str:
    """Return the endpoint of the SQS service that has this queue."""
    url = urlsplit(queue_url)
    return f"{url.scheme}://{url.netloc}"
