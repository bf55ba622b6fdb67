"""The protocols of sources and destinations that every kind of store implements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

# The headers that describe an object's content and are copied with it, in lower case.
CONTENT_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)

MAX_RETRY_AFTER_SECONDS = 3600.0


def parse_retry_after(text: str, *, unit_seconds: float = 1.0) -> float:
    """The seconds after which a server wants the next request; 0 if the header does not say.

    At most MAX_RETRY_AFTER_SECONDS.

    Args:
        text: the header's value, a whole number of units.
    """
    return min(float(text) * unit_seconds, MAX_RETRY_AFTER_SECONDS) if text.isdecimal() else 0.0


# -- sources -----------------------------------------------------------------------------------


class RestoreStatus(StrEnum):
    """How far the restore of an archived object is."""

    NONE = ""
    ONGOING = "ongoing"
    DONE = "done"  # the object can be read, for the requested number of days


@dataclass(frozen=True)
class ObjectInfo:
    """What the source says about the whole object, even if only a range of it is read.

    Headers and user metadata are as received, one character for each byte (Latin-1). S3 sends
    metadata that is not ASCII as an encoded word of RFC 2047 (`=?UTF-8?B?…?=`); it is not decoded:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """

    size_bytes: int
    etag: str  # without quotes; a weak one as it came: W/"…"
    version_id: str = ""  # empty if the bucket is not versioned, or for the version "null"
    # Whether `open_range` can make sure that it reads exactly this object.
    is_pinnable: bool = False
    # Of the whole object, hexadecimal; empty if the source gives nothing that looks like one.
    md5: str = ""
    # False for an ETag that only looks like an MD5: S3 itself promises it, other servers may give
    # any 32 hexadecimal digits.
    md5_is_promised: bool = False
    # Of the whole object, in base64, by algorithm: CRC64NVME, CRC32C, CRC32, SHA256, SHA1.
    checksums: Mapping[str, str] = field(default_factory=dict)
    content_headers: dict[str, str] = field(default_factory=dict)
    user_metadata: dict[str, str] = field(default_factory=dict)
    # How many fields of user metadata S3 has but can't return.
    missing_metadata_count: int = 0
    # S3 also says 0 if we may not read tags (s3:GetObjectTagging). Some servers count tags in the
    # answer to a GET, but not in the answer to a HEAD.
    tag_count: int = 0
    storage_class: str = "STANDARD"  # S3's name
    is_archived: bool = False  # the object can't be read until it is restored
    restore: RestoreStatus = RestoreStatus.NONE
    encryption: str = ""  # S3's name: AES256, aws:kms or aws:kms:dsse; or SSE-C
    last_modified: datetime | None = None
    request_id: str = ""


class Reader(Protocol):
    """Bytes that are read once, in order. Always close the reader."""

    length_bytes: int  # the number of bytes to read

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes as they are stored, never decompressed; empty at the end.

        Raises:
            ReplicationError: the other side failed, or closed the connection early.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SourceObject(Reader, Protocol):
    """Reads an object of the source, or a range of it."""

    info: ObjectInfo


class SourceStore(Protocol):
    """A bucket or web server to read from. Safe to use from many threads."""

    def open(self, key: str) -> SourceObject:
        """Open the object as it is now, by one GET.

        Raises:
            ObjectMissing: the source clearly says that there is no such object.
            ReplicationError: any other failure.
        """

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> SourceObject:
        """Open the bytes from `first_byte` up to and including `last_byte`, by one GET.

        Args:
            pin: what `open` or `head` returned. The range is of exactly that version; without
                versions, of the object with that ETag.

        Raises:
            ReplicationError: SOURCE_CHANGED, if the object was changed or deleted;
                SOURCE_RANGE_IGNORED, if the whole object came instead; SOURCE_UNSUPPORTED, if
                the object is not pinnable; or any other failure.
        """

    def head(self, key: str) -> ObjectInfo:
        """Describe the object as it is now, without its content; works for archived objects too.

        Raises:
            ObjectMissing: the source clearly says that there is no such object.
            ReplicationError: SOURCE_UNSUPPORTED, or any other failure.
        """

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """Return the object's tags, by one request; after a GET, only a `tag_count` needs it.

        Raises:
            ReplicationError: SOURCE_CHANGED, if the version (the object, if `version_id` is empty)
                no longer exists; or any other failure.
        """

    def put(self, key: str, content: bytes) -> None:
        """Write a small object, the canary of a rule. Nothing else is written to a source.

        Raises:
            ReplicationError: SOURCE_UNSUPPORTED, or any other failure.
        """

    def request_restore(self, key: str, *, days: int, tier: str) -> int | None:
        """Ask for the restore of an archived object; no error if one is under way or not needed.

        Returns how many days the restored object stays readable; None for good, as after a restore
        from an archive tier of INTELLIGENT_TIERING.

        Args:
            days: how long the restored object shall stay readable, where S3 lets us choose.
            tier: S3's name: Standard, Bulk or Expedited.

        Raises:
            ObjectMissing: the source clearly says that there is no such object.
            ReplicationError: SOURCE_UNSUPPORTED, or any other failure.
        """


# -- destinations ------------------------------------------------------------------------------


class Body(Protocol):
    """The `len` bytes to write, read in order."""

    @property
    def len(self) -> int: ...
    def read(self, size: int = -1) -> bytes: ...


@dataclass(frozen=True)
class Encryption:
    """How OSS encrypts a replica."""

    method: str  # OSS's name: AES256, KMS or SM4
    kms_key_id: str = ""  # with KMS; empty for the key that OSS manages


@dataclass(frozen=True)
class ReplicaAttributes:
    """Everything that the request which writes an object carries besides its bytes.

    If `storage_class`, `acl` or `encryption` is empty, the bucket decides.
    """

    content_headers: Mapping[str, str] = field(default_factory=dict)
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = ""  # OSS's name: Standard, IA, Archive, ColdArchive, DeepColdArchive
    acl: str = ""  # OSS's name: private, public-read, public-read-write, default
    encryption: Encryption | None = None

    @property
    def is_public(self) -> bool:
        """Whether the object's ACL lets anyone read it."""
        return self.acl.startswith("public-")


@dataclass(frozen=True)
class Receipt:
    """The destination's answer to a write. The checksum is decimal, as OSS writes it."""

    request_id: str
    etag: str = ""  # without quotes
    crc64: str = ""


@dataclass(frozen=True)
class PartReceipt:
    """A part that the destination has, from the answer to its upload or from a listing."""

    number: int
    etag: str  # without quotes
    crc64: str  # decimal; empty if a listing does not give it
    size_bytes: int
    request_id: str = ""  # empty if the part comes from a listing


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that the destination has, whoever began it."""

    key: str
    upload_id: str
    began_at: datetime


@dataclass(frozen=True)
class ReplicaInfo:
    """What the destination says about an object; headers and metadata as in ObjectInfo."""

    size_bytes: int
    etag: str  # without quotes
    crc64: str  # decimal
    content_headers: dict[str, str]
    user_metadata: dict[str, str]
    tag_count: int
    storage_class: str  # OSS's name
    encryption: Encryption | None
    last_modified: datetime | None
    request_id: str


class ReplicaObject(Reader, Protocol):
    """Reads back an object of the destination."""

    info: ReplicaInfo


class DestinationStore(Protocol):
    """A bucket to write to. Safe to use from many threads.

    An error of `put`, `set_tags`, `delete`, `upload_part` or `complete_upload` has `may_still_land`
    set if the destination may yet carry out the request.
    """

    def put(self, key: str, body: Body, attributes: ReplicaAttributes) -> Receipt:
        """Write the object by one PUT, atomically: it is replaced as a whole, or left as it was.

        Raises:
            ReplicationError: the request failed, or `body.read` raised the error.
        """

    def set_tags(self, key: str, tags: Mapping[str, str]) -> Receipt | None:
        """Replace all tags of the object by one request, and leave the object as it is otherwise.

        Returns None if OSS clearly says that there is no such object.

        Raises:
            ReplicationError: the request failed.
        """

    def delete(self, key: str) -> Receipt:
        """Delete the object; no error if there is none.

        Raises:
            ReplicationError: the request failed.
        """

    def create_upload(self, key: str, attributes: ReplicaAttributes) -> str:
        """Begin a multipart upload, and return its id. The object changes when it is completed.

        Raises:
            ReplicationError: the request failed.
        """

    def upload_part(self, key: str, upload_id: str, number: int, body: Body) -> PartReceipt:
        """Write a part; parts are numbered from 1. It replaces a part of the same number.

        Raises:
            ReplicationError: UPLOAD_GONE, any other failure, or an error that `body.read` raised.
        """

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[PartReceipt]) -> Receipt:
        """Turn the parts into the object, atomically. The receipt's CRC-64 is of the whole object.

        Raises:
            ReplicationError: UPLOAD_GONE, if the upload was completed or aborted, or does not have
                these parts; or any other failure.
        """

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Discard an upload and its parts; no error if there is none.

        A part that is in flight may survive this: `list_parts` shows it; abort again.

        Raises:
            ReplicationError: the request failed.
        """

    def list_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """List the unfinished uploads of keys with this prefix, in the order of the keys.

        Raises:
            ReplicationError: the request failed.
        """

    def list_parts(self, key: str, upload_id: str) -> list[PartReceipt]:
        """List the parts of an upload, in order.

        Raises:
            ReplicationError: UPLOAD_GONE, or any other failure.
        """

    def head(self, key: str) -> ReplicaInfo | None:
        """Describe the object as it is now; None if OSS clearly says that there is none.

        Raises:
            ReplicationError: any other failure.
        """

    def tags(self, key: str) -> dict[str, str]:
        """Return the object's tags; empty if there is no such object.

        Raises:
            ReplicationError: any other failure.
        """

    def open(self, key: str) -> ReplicaObject | None:
        """Open the object as it is now, by one GET; None if OSS clearly says that there is none.

        Raises:
            ReplicationError: DESTINATION_ARCHIVED, or any other failure.
        """
