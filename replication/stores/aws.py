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

from replication.stores.aws_carrier import carry
from replication.stores.aws_renewal import renew_in_time
from replication.stores.credentials import AccessKey, access_key
from replication.stores.pools import new_pool
from replication.stores.profile_use import Service, check_use
from replication.stores.s3.identity import check_s3

_SERVICES = {"s3": Service.S3, "sqs": Service.SQS}
_creation_lock = threading.Lock()  # clients are safe to use from many threads, but not to create
# Loads and caches the models of AWS's services; with its own loader, each session reads them again.
_data_loader = botocore.session.Session().get_component("data_loader")


def load_service_models() -> None:
    """Load the models of the services we use, so that the children of a fork inherit them."""
    session = boto3.Session("id", "secret", botocore_session=_botocore_session())
    for service in ("s3", "sqs"):
        session.client(service, region_name="us-east-1")


def aws_client(service: str, *, region: str, endpoint_url: str, profile: str) -> Any:
    """Return a thread-safe client; a process has one for each distinct configuration.

    The client does not retry: `jobs/` has the only retry policy. One without credentials is not
    kept, because a client never looks for credentials again.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials;
            SOURCE_PROFILE_REFUSED, if it may not be used with the endpoint.
        BotoCoreError: the SDK's own credentials are incomplete, or can't be retrieved.
    """
    if service in _SERVICES:
        check_use(profile, _SERVICES[service], endpoint=endpoint_url)
    elif endpoint_url:
        raise ValueError(f"{service} has no place with an endpoint of its own")
    with _creation_lock:
        key = access_key(profile)
        create = _client if _credentials(key, region, profile) else _client.__wrapped__
        return create(service, region, endpoint_url, key)


def aws_credentials(*, region: str, profile: str) -> Any:
    """Return a profile's botocore credentials, which renew themselves; None if there are none.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the profile has no credentials.
    """
    with _creation_lock:
        return _credentials(access_key(profile), region, profile)


def _credentials(key: AccessKey | None, region: str, profile: str) -> Any:
    """The session's credentials: those that its clients sign with, too."""
    return renew_in_time(_session(key, region).get_credentials(), profile=profile)


@lru_cache(maxsize=128)
def _client(service: str, region: str, endpoint_url: str, key: AccessKey | None) -> Any:
    config = Config(
        retries={"total_max_attempts": 1},
        # Fixed, because botocore otherwise builds it from fifteen parts for each request, a fifth
        # of the request's cost.
        user_agent="s3sync",
        # transfer/verified_body.py checks the bodies, in the same pass as the CRC-64.
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
    )
    client = _session(key, region).client(
        service, region_name=region, endpoint_url=endpoint_url or None, config=config
    )
    carry(client, new_pool(), check=check_s3 if service == "s3" else None)
    return client


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
        client_creator=partial(_sts_client, session, region),
        source_credentials=Credentials(key.id, key.secret, key.session_token or None),
        role_arn=key.role_arn,
        extra_args={
            "RoleSessionName": "s3sync",
            **({"ExternalId": key.external_id} if key.external_id else {}),
        },
    )
    # botocore has no public way to give a session credentials that renew themselves.
    session._credentials = DeferredRefreshableCredentials(
        fetcher.fetch_credentials, method="assume-role"
    )
    return boto3.Session(botocore_session=session)


def _sts_client(session: Any, region: str, service: str, **arguments: Any) -> Any:
    client = session.create_client(service, region_name=region, **arguments)
    carry(client, new_pool(kept_at_most=1))
    return client


def _botocore_session() -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _data_loader)
    return session


def sqs_endpoint(queue_url: str) -> str:
    """Return the endpoint of the SQS service that has this queue."""
    url = urlsplit(queue_url)
    return f"{url.scheme}://{url.netloc}"
