"""The store behind a source or destination of the database, one for each in a process.

Opened after the fork, for network sessions don't survive one. What identifies a store is its
whole configuration, credentials included: when an operator corrects either, the next transfer
opens another.
"""

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from replication.models import Destination, Source, SourceKind
from replication.stores.aws import load_descriptions
from replication.stores.base import DestinationStore, SourceStore
from replication.stores.credentials import access_key
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from replication.stores.transport import tls_context
from replication.stores.transport.fibers import away

# More than that are the configurations of a long past, or there are very many buckets.
STORES_AT_MOST = 512

T = TypeVar("T")

_stores: dict[Hashable, Any] = {}  # by kind and whole configuration, the oldest first
# Or each transfer of a lane that begins would open the same store, with connections of its own.
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
    if source.kind == SourceKind.HTTP:
        return _opened(HttpStore, endpoint_url=source.endpoint_url)
    return _opened(
        S3Store,
        bucket=source.bucket,
        region=source.region,
        endpoint_url=source.endpoint_url,
        profile=source.credential_profile,
    )


def destination_store(destination: Destination) -> DestinationStore:
    """The store that a destination is written to.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE.
    """
    return _opened(
        OssStore,
        bucket=destination.bucket,
        endpoint=destination.endpoint,
        region=destination.region,
        addressing=destination.addressing,
        profile=destination.credential_profile,
    )


def _opened(kind: Callable[..., T], **configuration: str) -> T:
    """The store of this configuration. To open one may take seconds: credentials are sought."""
    profile = configuration.get("profile")
    key = (kind, access_key(profile) if profile is not None else None, *configuration.values())
    found: T | None = _stores.get(key)
    return found if found is not None else away(partial(_open, key, partial(kind, **configuration)))


def _open(key: Hashable, store: Callable[[], T]) -> T:
    with _opening:
        if key not in _stores:
            if len(_stores) >= STORES_AT_MOST:
                del _stores[next(iter(_stores))]
            _stores[key] = store()
        opened: T = _stores[key]
        return opened
