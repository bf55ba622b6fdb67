"""The store behind a source or destination of the database, one for each in a process.

Opened after the fork, for network sessions don't survive one. What identifies a store is its
whole configuration, credentials included: when an operator corrects either, the next transfer
opens another.
"""

import threading
from functools import lru_cache

from replication.credentials import AccessKey, access_key
from replication.models import Destination, Source, SourceKind
from replication.stores.aws import load_descriptions
from replication.stores.base import DestinationStore, SourceStore
from replication.stores.http import HttpStore
from replication.stores.oss import OssStore
from replication.stores.s3 import S3Store
from replication.stores.transport import tls_context

# Or each thread of a lane that begins would open the same stores, with connections of its own.
_opening = threading.Lock()


def preload() -> None:
    """Read what every store needs and any process may share, a quarter of a second's worth.

    Called before the fork: children begin with it.
    """
    load_descriptions()
    tls_context()


def source_store(source: Source) -> SourceStore:
    """The store that a source is read from.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE.
    """
    with _opening:
        if source.kind == SourceKind.HTTP:
            return _http(source.endpoint_url)
        return _s3(
            source.bucket,
            source.region,
            source.endpoint_url,
            source.credential_profile,
            access_key(source.credential_profile),
        )


def destination_store(destination: Destination) -> DestinationStore:
    """The store that a destination is written to.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE.
    """
    with _opening:
        return _oss(
            destination.bucket,
            destination.endpoint,
            destination.region,
            destination.addressing,
            destination.credential_profile,
            access_key(destination.credential_profile),
        )


@lru_cache(maxsize=128)
def _http(endpoint_url: str) -> HttpStore:
    return HttpStore(endpoint_url=endpoint_url)


@lru_cache(maxsize=128)
def _s3(
    bucket: str, region: str, endpoint_url: str, profile: str, _key: AccessKey | None
) -> S3Store:
    return S3Store(bucket=bucket, region=region, endpoint_url=endpoint_url, profile=profile)


@lru_cache(maxsize=128)
def _oss(
    bucket: str, endpoint: str, region: str, addressing: str, profile: str, _key: AccessKey | None
) -> OssStore:
    return OssStore(
        bucket=bucket, endpoint=endpoint, region=region, addressing=addressing, profile=profile
    )
