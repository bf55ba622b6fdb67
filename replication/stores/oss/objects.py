"""An OSS object: the headers of its requests and of its answers, and its body."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from replication.errors import ReplicationError
from replication.stores.base import (
    CONTENT_HEADERS,
    Encryption,
    ReplicaAttributes,
    ReplicaInfo,
)
from replication.stores.exchange_errors import destination_code
from replication.stores.http_headers import http_date
from replication.stores.transport import Answer, TransportError

_METADATA_PREFIX = "x-oss-meta-"
_ENCRYPTION = "x-oss-server-side-encryption"
_KMS_KEY_ID = "x-oss-server-side-encryption-key-id"


def request_headers(attributes: ReplicaAttributes) -> dict[str, str]:
    """Return the headers of a PutObject or InitiateMultipartUpload, with names in lower case.

    Values have one character for each byte (Latin-1). The headers include the tags, so that tags
    need no request of their own.
    https://help.aliyun.com/document_detail/31978.html
    """
    headers = dict(attributes.content_headers)
    for name, value in attributes.user_metadata.items():
        headers[_METADATA_PREFIX + name] = value
    if attributes.tags:
        headers["x-oss-tagging"] = "&".join(
            f"{quote(key, safe='')}={quote(value, safe='')}"
            for key, value in attributes.tags.items()
        )
    if attributes.storage_class:
        headers["x-oss-storage-class"] = attributes.storage_class
    if attributes.acl:
        headers["x-oss-object-acl"] = attributes.acl
    if attributes.encryption is not None:
        headers[_ENCRYPTION] = attributes.encryption.method
        if attributes.encryption.kms_key_id:
            headers[_KMS_KEY_ID] = attributes.encryption.kms_key_id
    return headers


def for_oss2(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as oss2 must have them: it signs the UTF-8 of a text, which must be sent too."""
    return {name: value.encode("latin-1").decode() for name, value in headers.items()}


def replica_info(headers: Mapping[str, str]) -> ReplicaInfo:
    """Return the object as OSS describes it; header names may be in any case."""
    found = {name.lower(): value for name, value in headers.items()}
    method = found.get(_ENCRYPTION, "")
    return ReplicaInfo(
        size_bytes=int(found["content-length"]),
        etag=found.get("etag", "").strip('"'),
        crc64=found.get("x-oss-hash-crc64ecma", ""),
        content_headers={name: found[name] for name in CONTENT_HEADERS if found.get(name)},
        user_metadata={
            name.removeprefix(_METADATA_PREFIX): value
            for name, value in found.items()
            if name.startswith(_METADATA_PREFIX)
        },
        tag_count=int(found.get("x-oss-tagging-count", "0")),
        storage_class=found.get("x-oss-storage-class", ""),
        encryption=Encryption(method, found.get(_KMS_KEY_ID, "")) if method else None,
        last_modified=http_date(found.get("last-modified", "")),
        request_id=found.get("x-oss-request-id", ""),
    )


class OssObject:
    """Reads the answer to a GET, with the bytes as they are stored."""

    def __init__(self, answer: Any) -> None:
        self.info = replica_info(answer.headers)
        self.length_bytes = self.info.size_bytes
        # Read below oss2, because oss2 decompresses compressed objects.
        self._answer: Answer = answer.resp.answer

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; see Reader."""
        try:
            return self._answer.read(size)
        except TransportError as error:
            raise ReplicationError(
                destination_code(error), str(error), request_id=self.info.request_id
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answer.close()
