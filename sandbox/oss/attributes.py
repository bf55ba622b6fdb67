"""Converts request headers to an object's attributes, and attributes to answer headers."""

from collections.abc import Container

from sandbox.oss import names
from sandbox.oss.dates import http_date
from sandbox.oss.errors import OssError
from sandbox.oss.state import Attributes, Bucket, StoredObject

STANDARD_HEADERS = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
    "expires": "Expires",
}
DEFAULT_TYPE = "application/octet-stream"
ENCRYPTIONS = ("AES256", "KMS", "SM4")


def from_headers(
    headers: dict[str, str], bucket: Bucket, *, kms_keys: Container[str], is_lenient: bool
) -> Attributes:
    """The attributes that a Put, Append, Copy or InitiateMultipartUpload requests.

    Raises OssError for a header that OSS refuses.
    """
    standard = {
        title: headers[name] for name, title in STANDARD_HEADERS.items() if headers.get(name)
    }
    standard.setdefault("Content-Type", DEFAULT_TYPE)
    acl = headers.get("x-oss-object-acl")
    storage_class = headers.get("x-oss-storage-class")
    tagging = headers.get("x-oss-tagging")
    return Attributes(
        headers=standard,
        meta=names.user_meta(headers, is_lenient=is_lenient),
        tags=names.tags_of_header(tagging, is_lenient=is_lenient) if tagging else {},
        acl="default"
        if acl is None
        else names.check_one_of("x-oss-object-acl", acl, names.OBJECT_ACLS),
        storage_class=bucket.storage_class
        if storage_class is None
        else names.check_one_of("x-oss-storage-class", storage_class, names.STORAGE_CLASSES),
        encryption=_encryption(headers, kms_keys),
    )


def to_headers(stored: StoredObject) -> dict[str, str]:
    """The headers that Get and Head return for an object."""
    attributes = stored.attributes
    answer = {
        "ETag": stored.etag,
        "Last-Modified": http_date(stored.modified_at),
        "x-oss-object-type": stored.kind,
        "x-oss-storage-class": attributes.storage_class,
        "x-oss-hash-crc64ecma": str(stored.content.crc64),
        **attributes.headers,
        **attributes.encryption,
    }
    for name, value in attributes.meta.items():
        answer[names.META_PREFIX + name] = value
    if attributes.tags:
        answer["x-oss-tagging-count"] = str(len(attributes.tags))
    if stored.kind == "Appendable":
        answer["x-oss-next-append-position"] = str(stored.size)
    return answer


def _encryption(headers: dict[str, str], kms_keys: Container[str]) -> dict[str, str]:
    method = headers.get("x-oss-server-side-encryption")
    key_id = headers.get("x-oss-server-side-encryption-key-id")
    if method is not None and method not in ENCRYPTIONS:
        raise OssError("InvalidEncryptionAlgorithmError", ec="0005-00000003")
    if key_id is not None and method != "KMS":
        raise OssError("InvalidArgument", "A KMS key id needs the encryption method KMS.")
    if key_id is not None and key_id not in kms_keys:
        raise OssError("KeyNotFound", ec="0005-00000208")
    if method is None:
        return {}
    kept = {"x-oss-server-side-encryption": method}
    if key_id is not None:
        kept["x-oss-server-side-encryption-key-id"] = key_id
    return kept
