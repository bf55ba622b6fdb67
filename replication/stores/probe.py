"""Finds out what a bucket takes: writes an object, reads it back, compares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog

from replication.errors import ErrorCode, ReplicationError
from replication.models import Takes
from replication.stores.base import DestinationStore, ReplicaAttributes

log = structlog.get_logger(__name__)

CONTENT = b"s3sync asks what this bucket takes; this object may be deleted\n"
_FIELD, _ID_FIELD = "probe", "probe-id"
_TEXT = "例 é 😀"
_TAGS = {"键": "例"}
# An answer that can only concern what was added to a write that succeeded without it. Credentials:
# the signature over such bytes may not match.
_REFUSALS = {
    ErrorCode.DESTINATION_REFUSED,
    ErrorCode.DESTINATION_CREDENTIALS,
    ErrorCode.METADATA_INCOMPATIBLE,
    ErrorCode.UNEXPECTED,
}


@dataclass(frozen=True)
class Learned:
    """What a bucket takes; UNKNOWN where the credentials do not permit to find out."""

    non_ascii_metadata: Takes
    non_ascii_tags: Takes


class BytesBody:
    """A body of these bytes, to be read once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def len(self) -> int:
        return len(self._data)

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, by default all that are left."""
        end = len(self._data) if size < 0 else self._at + size
        data = self._data[self._at : end]
        self._at += len(data)
        return data


def ask_bucket(store: DestinationStore, key: str, plain: ReplicaAttributes) -> Learned:
    """Find out with an object of its own, which is deleted again if the credentials permit it.

    Args:
        key: a key that no object has.
        plain: attributes that the bucket takes, without user metadata and tags.

    Raises:
        ReplicationError: not even a plain object can be written, or the bucket does not answer.
    """
    store.put(key, BytesBody(CONTENT), plain)
    try:
        return learn(store, key, plain)
    finally:
        try:
            store.delete(key)
        except ReplicationError as error:
            log.warning("probe.not_deleted", key=key, detail=error.detail)


def learn(store: DestinationStore, key: str, plain: ReplicaAttributes) -> Learned:
    """Find out with an object at this key, where a plain object was just written. It stays.

    Raises:
        ReplicationError: the bucket does not answer.
    """

    def proof() -> None:
        store.put(key, BytesBody(CONTENT), plain)

    return Learned(
        non_ascii_metadata=_answer(lambda: _takes_metadata(store, key, plain), proof=proof),
        non_ascii_tags=_answer(lambda: _takes_tags(store, key, plain), proof=proof),
    )


def _takes_metadata(store: DestinationStore, key: str, plain: ReplicaAttributes) -> Takes:
    ours = {_FIELD: _TEXT.encode().decode("latin-1"), _ID_FIELD: str(uuid4())}
    store.put(key, BytesBody(CONTENT), replace(plain, user_metadata=ours))
    found = _metadata_of_ours(store, key, ours)
    if found is None:
        return Takes.UNKNOWN
    return Takes.YES if found.get(_FIELD) == ours[_FIELD] else Takes.NO


def _takes_tags(store: DestinationStore, key: str, plain: ReplicaAttributes) -> Takes:
    ours = {_ID_FIELD: str(uuid4())}
    store.put(key, BytesBody(CONTENT), replace(plain, user_metadata=ours, tags=_TAGS))
    tags = store.tags(key)
    if _metadata_of_ours(store, key, ours) is None:
        return Takes.UNKNOWN
    return Takes.YES if tags == _TAGS else Takes.NO


def _metadata_of_ours(
    store: DestinationStore, key: str, ours: Mapping[str, str]
) -> Mapping[str, str] | None:
    """The user metadata of the object; None if another program has written or deleted it."""
    found = store.head(key)
    if found is None or found.user_metadata.get(_ID_FIELD) != ours[_ID_FIELD]:
        return None
    return found.user_metadata


def _answer(question: Callable[[], Takes], *, proof: Callable[[], None]) -> Takes:
    """
    Args:
        proof: fails where a plain object is refused by now, too: credentials can have ended.
    """
    try:
        return question()
    except ReplicationError as error:
        if error.code in _REFUSALS:
            proof()
            return Takes.NO
        if error.code is ErrorCode.DESTINATION_ACCESS_DENIED:
            return Takes.UNKNOWN
        raise
