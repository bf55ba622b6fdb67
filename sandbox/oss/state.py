"""The stand-in's state: buckets, their objects and unfinished uploads."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.oss.blobs import Blob, Content
from sandbox.oss.errors import OssError


@dataclass(frozen=True, slots=True)
class Attributes:
    """All that a writer sets for an object besides its bytes."""

    headers: dict[str, str]
    meta: dict[str, str]
    tags: dict[str, str]
    acl: str
    storage_class: str
    encryption: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; `kind` is Normal, Multipart or Appendable, `modified_at` epoch seconds."""

    content: Content
    etag: str
    kind: str
    modified_at: int
    attributes: Attributes

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.content.size


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part."""

    blob: Blob
    etag: str
    modified_at: float


@dataclass(slots=True)
class Upload:
    """A multipart upload that is neither completed nor aborted."""

    upload_id: str
    key: str
    initiated_at: float
    attributes: Attributes
    parts: dict[int, Part] = field(default_factory=dict)


class Bucket:
    """One bucket; a caller that reads and then writes must hold `lock`."""

    def __init__(self, name: str, *, created_at: float, acl: str, storage_class: str) -> None:
        self.name = name
        self.created_at = created_at
        self.acl = acl
        self.storage_class = storage_class
        self.lock = threading.Lock()
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._sorted_keys: list[str] | None = []

    def put(self, key: str, stored: StoredObject) -> None:
        """Write or overwrite; the caller holds the lock."""
        if key not in self.objects:
            self._sorted_keys = None
        self.objects[key] = stored

    def delete(self, key: str) -> None:
        """Delete the object if it exists; the caller holds the lock."""
        if self.objects.pop(key, None) is not None:
            self._sorted_keys = None

    def sorted_keys(self) -> list[str]:
        """All keys in the order of their UTF-8 bytes; the caller must not change the list."""
        with self.lock:
            if self._sorted_keys is None:
                self._sorted_keys = sorted(self.objects)
            return self._sorted_keys

    def get(self, key: str) -> StoredObject:
        """The object; raises NoSuchKey."""
        stored = self.objects.get(key)
        if stored is None:
            raise OssError("NoSuchKey", Key=key)
        return stored

    def upload(self, upload_id: str, key: str) -> Upload:
        """The upload; raises NoSuchUpload, also for an upload of another key."""
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise OssError("NoSuchUpload", UploadId=upload_id)
        return upload


class Store:
    """All buckets and KMS keys of the one account."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, Bucket] = {}
        self.kms_keys: set[str] = set()
        self.is_lenient = False  # takes metadata and tags beyond ASCII, which OSS does not document

    def bucket(self, name: str) -> Bucket:
        """The bucket; raises NoSuchBucket."""
        bucket = self.buckets.get(name)
        if bucket is None:
            raise OssError("NoSuchBucket", BucketName=name)
        return bucket

    def contents(self, bucket: str | None, prefix: str) -> Iterator[tuple[str, str, StoredObject]]:
        """Every (bucket, key, object), sorted, of one bucket or of all; raises NoSuchBucket."""
        buckets = [
            self.bucket(name) for name in (sorted(self.buckets) if bucket is None else [bucket])
        ]
        return (
            (held.name, key, stored)
            for held in buckets
            for key in held.sorted_keys()
            if key.startswith(prefix) and (stored := held.objects.get(key)) is not None
        )
