"""What a transfer asks of a store, whatever is behind it."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

# The headers that describe an object's content and travel with it, in lower case.
CONTENT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)

# A server that asks for a longer pause is asked again after this one.
LONGEST_HINT_SECONDS = 3600.0


def hint_seconds(text: str, *, unit_seconds: float = 1.0) -> float:
    """When a server wants to be asked again: its header's whole units; 0 if it does not say."""
    return min(float(text) * unit_seconds, LONGEST_HINT_SECONDS) if text.isdecimal() else 0.0


@dataclass(frozen=True)
class ObjectInfo:
    """What the source says about the object that it is about to send."""

    size_bytes: int
    etag: str  # without quotes
    version_id: str = ""
    md5: str = ""  # hexadecimal; empty where the source gives no MD5 of the whole object
    content_headers: dict[str, str] = field(default_factory=dict)
    user_metadata: dict[str, str] = field(default_factory=dict)
    request_id: str = ""


class SourceObject(Protocol):
    """An object being read, once, from its beginning. Close it in any case."""

    info: ObjectInfo

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end.

        Raises:
            ReplicationError: the source failed or closed the connection early.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SourceStore(Protocol):
    """A bucket or web server to read from. Safe to use from many threads."""

    def open(self, key: str) -> SourceObject:
        """One GET of the object as it is now.

        Raises:
            ObjectMissing: a clean "there is no such object".
            ReplicationError: anything else.
        """


class Body(Protocol):
    """The bytes to write: `len` of them, read in order."""

    @property
    def len(self) -> int: ...
    def read(self, size: int = -1) -> bytes: ...


@dataclass(frozen=True)
class Receipt:
    """What the destination answered to a write."""

    request_id: str
    etag: str = ""
    crc64: str = ""  # decimal, as OSS writes it


class DestinationStore(Protocol):
    """A bucket to write to. Safe to use from many threads."""

    def put(
        self,
        key: str,
        body: Body,
        *,
        content_headers: dict[str, str],
        user_metadata: dict[str, str],
    ) -> Receipt:
        """One PUT of the whole object, atomic: a failed one leaves what was there before.

        Raises:
            ReplicationError: whatever the destination refuses; and what `body.read` raises.
        """

    def delete(self, key: str) -> Receipt:
        """Delete the object; no error if there is none.

        Raises:
            ReplicationError: whatever the destination refuses.
        """
