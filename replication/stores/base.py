"""What a transfer asks of a store, whatever is behind it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
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


# -- sources -----------------------------------------------------------------------------------


class RestoreStatus(StrEnum):
    """How far the restoring of an archived object is."""

    NONE = ""
    ONGOING = "ongoing"
    DONE = "done"  # it can be read, for the days that were asked for


@dataclass(frozen=True)
class ObjectInfo:
    """What the source says about an object as a whole, also where only a part of it is read.

    Headers and user metadata are what was on the wire, one character for each byte (Latin-1). So
    what S3 writes as an encoded word of RFC 2047 (`=?UTF-8?B?…?=`), because it is not ASCII, is
    still one: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """

    size_bytes: int
    etag: str  # without quotes
    version_id: str = ""  # empty where the bucket is not versioned, or for the version "null"
    # Whether `open_range` can hold on to exactly this object.
    is_pinnable: bool = False
    md5: str = ""  # hexadecimal; empty where the source gives no MD5 of the whole object
    # Of the whole object, in base64 by algorithm: CRC64NVME, CRC32C, CRC32, SHA256, SHA1.
    checksums: Mapping[str, str] = field(default_factory=dict)
    content_headers: dict[str, str] = field(default_factory=dict)
    user_metadata: dict[str, str] = field(default_factory=dict)
    # How many fields of user metadata S3 has and can't show.
    missing_metadata_count: int = 0
    # S3 says 0 as well to those who may not read tags (s3:GetObjectTagging).
    tag_count: int = 0
    storage_class: str = "STANDARD"  # S3's words
    is_archived: bool = False  # it can't be read until it is restored
    restore: RestoreStatus = RestoreStatus.NONE
    encryption: str = ""  # S3's words: AES256, aws:kms, aws:kms:dsse; SSE-C
    last_modified: datetime | None = None
    request_id: str = ""


class Reader(Protocol):
    """Bytes being read, once, in order. Close it in any case."""

    length_bytes: int  # how many there are to read

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, as they are stored (never decompressed); empty at the end.

        Raises:
            ReplicationError: the other side failed or closed the connection early.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SourceObject(Reader, Protocol):
    """An object of the source being read, whole or a range of it."""

    info: ObjectInfo


class SourceStore(Protocol):
    """A bucket or web server to read from. Safe to use from many threads."""

    def open(self, key: str) -> SourceObject:
        """One GET of the object as it is now.

        Raises:
            ObjectMissing: a clean "there is no such object".
            ReplicationError: anything else.
        """

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> SourceObject:
        """One GET of the bytes from `first_byte` up to and including `last_byte`.

        Args:
            pin: what `open` or `head` said: the range is of exactly that version, or else ETag.

        Raises:
            ReplicationError: SOURCE_CHANGED, where there is something else by now, or nothing;
                SOURCE_RANGE_IGNORED, where the whole object came instead; SOURCE_UNSUPPORTED, if
                the object is not pinnable; or anything else.
        """

    def head(self, key: str) -> ObjectInfo:
        """What there is now, without its content; also of archived objects.

        Raises:
            ObjectMissing: a clean "there is no such object".
            ReplicationError: SOURCE_UNSUPPORTED, or anything else.
        """

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """The object's tags, by one request; worth it only where `tag_count` is not 0.

        Raises:
            ReplicationError: SOURCE_CHANGED, where the version (the object, if `version_id` is
                empty) is gone; or anything else.
        """

    def request_restore(self, key: str, *, days: int, tier: str) -> None:
        """Ask for an archived object; no error if that was done before, or is not needed.

        Args:
            days: how long it shall be readable then.
            tier: S3's words: Standard, Bulk or Expedited.

        Raises:
            ObjectMissing: a clean "there is no such object".
            ReplicationError: SOURCE_UNSUPPORTED, or anything else.
        """


# -- destinations ------------------------------------------------------------------------------


class Body(Protocol):
    """The bytes to write: `len` of them, read in order."""

    @property
    def len(self) -> int: ...
    def read(self, size: int = -1) -> bytes: ...


@dataclass(frozen=True)
class Encryption:
    """How OSS shall encrypt a replica."""

    method: str  # OSS's words: AES256, KMS or SM4
    kms_key_id: str = ""  # with KMS; empty for the key that OSS manages


@dataclass(frozen=True)
class ReplicaAttributes:
    """All that is written with an object beside its bytes, by the same request.

    Empty, `storage_class` and `acl` are the bucket's, and `encryption` is what the bucket says.
    """

    content_headers: Mapping[str, str] = field(default_factory=dict)
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = ""  # OSS's words: Standard, IA, Archive, ColdArchive, DeepColdArchive
    acl: str = ""  # OSS's words: private, public-read, public-read-write, default
    encryption: Encryption | None = None


@dataclass(frozen=True)
class Receipt:
    """What the destination answered to a write. Checksums are decimal, as OSS writes them."""

    request_id: str
    etag: str = ""  # without quotes
    crc64: str = ""


@dataclass(frozen=True)
class PartReceipt:
    """A part that the destination has: what it answered to its upload, or lists of it."""

    number: int
    etag: str  # without quotes
    crc64: str  # decimal; empty where a listing does not tell
    size_bytes: int
    request_id: str = ""  # empty if listed


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    initiated_at: datetime


@dataclass(frozen=True)
class ReplicaInfo:
    """What the destination says of an object; headers and metadata as in ObjectInfo."""

    size_bytes: int
    etag: str  # without quotes
    crc64: str  # decimal
    content_headers: dict[str, str]
    user_metadata: dict[str, str]
    tag_count: int
    storage_class: str  # OSS's words
    encryption: Encryption | None
    last_modified: datetime | None
    request_id: str


class ReplicaObject(Reader, Protocol):
    """An object of the destination being read back."""

    info: ReplicaInfo


class DestinationStore(Protocol):
    """A bucket to write to. Safe to use from many threads.

    An error of `put`, `delete`, `upload_part` or `complete_upload` has `may_still_land` set where
    the request may be carried out yet.
    """

    def put(self, key: str, body: Body, attributes: ReplicaAttributes) -> Receipt:
        """One PUT of the whole object, atomic: a failed one leaves what was there before.

        Raises:
            ReplicationError: whatever the destination refuses; and what `body.read` raises.
        """

    def delete(self, key: str) -> Receipt:
        """Delete the object; no error if there is none.

        Raises:
            ReplicationError: whatever the destination refuses.
        """

    def create_upload(self, key: str, attributes: ReplicaAttributes) -> str:
        """Begin a multipart upload; its id. What is there stays until it is completed.

        Raises:
            ReplicationError: whatever the destination refuses.
        """

    def upload_part(self, key: str, upload_id: str, number: int, body: Body) -> PartReceipt:
        """Write a part, counted from 1; one of the same number is replaced.

        Raises:
            ReplicationError: UPLOAD_GONE, whatever the destination refuses, and what `body.read`
                raises.
        """

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[PartReceipt]) -> Receipt:
        """Make the parts the object, atomically; the CRC-64 is that of the whole.

        Raises:
            ReplicationError: UPLOAD_GONE, where the upload was completed or aborted, or does not
                have these parts; or whatever the destination refuses.
        """

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give an upload up, with its parts; no error if there is none.

        A part that is still on its way may outlive it: list, and abort again.

        Raises:
            ReplicationError: whatever the destination refuses.
        """

    def list_parts(self, key: str, upload_id: str) -> list[PartReceipt]:
        """The parts that an upload has, in order.

        Raises:
            ReplicationError: UPLOAD_GONE, or whatever the destination refuses.
        """

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """The unfinished uploads of keys that begin so, in the order of keys.

        Raises:
            ReplicationError: whatever the destination refuses, on the way.
        """

    def head(self, key: str) -> ReplicaInfo | None:
        """What there is now; None for a clean "there is no such object".

        Raises:
            ReplicationError: anything else.
        """

    def tags(self, key: str) -> dict[str, str]:
        """The object's tags; empty if there is no such object.

        Raises:
            ReplicationError: anything else.
        """

    def open(self, key: str) -> ReplicaObject | None:
        """One GET of the object as it is now; None for a clean "there is no such object".

        Raises:
            ReplicationError: DESTINATION_ARCHIVED, or anything else.
        """
