"""From what is to be written with a replica to OSS's headers, and from its headers back."""

from collections.abc import Mapping
from urllib.parse import quote

from replication.stores.base import (
    CONTENT_HEADERS,
    Encryption,
    ReplicaAttributes,
    ReplicaInfo,
)
from replication.stores.dates import http_date

_METADATA_PREFIX = "x-oss-meta-"
_ENCRYPTION = "x-oss-server-side-encryption"
_KMS_KEY_ID = "x-oss-server-side-encryption-key-id"


def request_headers(attributes: ReplicaAttributes) -> dict[str, str]:
    """The headers of a PutObject or InitiateMultipartUpload.

    Tags go along with them, which takes no request of its own.
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


def replica_info(headers: Mapping[str, str]) -> ReplicaInfo:
    """The object as OSS describes it; `headers` in any case."""
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
