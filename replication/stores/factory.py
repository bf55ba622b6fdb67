"""Opens the store of a source or destination, and keeps one per configuration in each process.

Stores are opened after the fork, because network sessions don't survive one. The whole
configuration, credentials included, identifies a store: after an operator corrects any of it, the
next transfer opens a new store.
"""

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Protocol, TypeVar

from replication.errors import ReplicationError
from replication.models import Source, SourceKind
from replication.stores.aws import load_service_models
from replication.stores.base import DestinationStore, SourceStore
from replication.stores.credentials import access_key
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.pools import trusted_tls
from replication.stores.profile_use import Service, check_use
from replication.stores.s3.store import S3Store
from replication.stores.transport.fibers import run_blocking

# More stores than this are of outdated configurations, unless there are very many buckets.
STORES_AT_MOST = 512

T = TypeVar("T")

_stores: dict[Hashable, Any] = {}  # by kind and whole configuration, the oldest first
# Without this lock, each transfer of a starting lane would open the same store again, with its own
# connections.
_open_lock = threading.Lock()


class OssLocation(Protocol):
    """A bucket of OSS with the credentials for it: a destination, or a past one's upload."""

    endpoint: str
    bucket: str
    region: str
    addressing: str
    credential_profile: str


def preload() -> None:
    """Load what every store needs and processes can share. It takes a quarter of a second.

    Call it before the fork, so that child processes inherit the result.
    """
    load_service_models()
    trusted_tls()


def source_store(source: Source) -> SourceStore:
    """Return the store to read this source from.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE or SOURCE_PROFILE_REFUSED, with `side` set.
    """
    try:
        return _source_store(source)
    except ReplicationError as error:
        error.side = "source"  # a profile may be used on both sides
        raise


def _source_store(source: Source) -> SourceStore:
    if source.kind == SourceKind.HTTP:
        return _get_store(HttpStore, endpoint_url=source.endpoint_url)
    # Also for a store that is open: its profile's lists may have changed since.
    check_use(
        source.credential_profile,
        Service.S3,
        endpoint=source.endpoint_url,
        bucket=source.bucket,
    )
    return _get_store(
        S3Store,
        bucket=source.bucket,
        region=source.region,
        endpoint_url=source.endpoint_url,
        profile=source.credential_profile,
        requester_pays=source.requester_pays,
    )


def destination_store(destination: OssLocation) -> DestinationStore:
    """Return the store to write to this destination.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE or DESTINATION_PROFILE_REFUSED, with `side` set.
    """
    try:
        check_use(
            destination.credential_profile,
            Service.OSS,
            endpoint=destination.endpoint,
            bucket=destination.bucket,
        )
        return _get_store(
            OssStore,
            bucket=destination.bucket,
            endpoint=destination.endpoint,
            region=destination.region,
            addressing=destination.addressing,
            profile=destination.credential_profile,
        )
    except ReplicationError as error:
        error.side = "destination"
        raise


def _get_store(kind: Callable[..., T], **configuration: str | bool) -> T:
    """Return the store of this configuration, and open it if needed.

    Opening may take seconds, while the SDK looks for credentials. So a fiber opens it on a worker
    thread.
    """
    key_of_profile = (
        access_key(str(configuration["profile"])) if "profile" in configuration else None
    )
    key = (kind, key_of_profile, *configuration.values())
    found: T | None = _stores.get(key)
    if found is not None:
        return found
    return run_blocking(partial(_open, key, partial(kind, **configuration)))


def _open(key: Hashable, store: Callable[[], T]) -> T:
    with _open_lock:
        if key not in _stores:
            if len(_stores) >= STORES_AT_MOST:
                del _stores[next(iter(_stores))]
            _stores[key] = store()
        opened: T = _stores[key]
        return opened
