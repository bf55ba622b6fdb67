"""Parses the headers of S3's answers into an ObjectInfo.

It reads the raw headers: boto3's parsing drops headers that it does not know, and alters dates.
"""

import re
from collections.abc import Mapping
from enum import Enum

from replication.stores.base import CONTENT_HEADERS, ObjectInfo, RestoreStatus
from replication.stores.http_headers import etag_of, http_date, is_weak
from replication.stores.s3.identity import request_id

_MD5 = re.compile(r"[0-9a-f]{32}")
_METADATA_PREFIX = "x-amz-meta-"
_CHECKSUMS = {
    name: f"x-amz-checksum-{name.lower()}"
    for name in ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1")
}
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


class EtagKind(Enum):
    """What a bucket's ETags are, for objects in one part that neither KMS nor SSE-C encrypts.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """

    MD5 = "the MD5 of the content"  # AWS promises it
    PERHAPS_MD5 = "an MD5 on many servers that speak S3's protocol"
    OPAQUE = "no MD5"  # directory buckets


def object_info(headers: Mapping[str, str], *, size_bytes: int, etags: EtagKind) -> ObjectInfo:
    """Return the object as S3 describes it.

    Args:
        headers: with names in lower case.
        size_bytes: of the whole object.
        etags: what the bucket's ETags are.
    """
    etag = etag_of(headers.get("etag", ""))
    version_id = _version(headers)
    storage_class = headers.get("x-amz-storage-class", "STANDARD")
    restore = _restore(headers)
    # An object that was restored from an archive tier is back in its own tier, without this header.
    is_in_archive_tier = "x-amz-archive-status" in headers
    is_in_archive = storage_class in _ARCHIVES and restore != RestoreStatus.DONE
    return ObjectInfo(
        size_bytes=size_bytes,
        etag=etag,
        version_id=version_id,
        # A weak ETag may stay the same while bytes change, and If-Match never holds for one. So
        # without a version, such an object is read in one piece.
        is_pinnable=bool(version_id) or (bool(etag) and not is_weak(etag)),
        md5="" if etags is EtagKind.OPAQUE else _md5(headers, etag),
        md5_is_promised=etags is EtagKind.MD5,
        checksums=_checksums(headers, etag),
        content_headers=_content_headers(headers),
        user_metadata={
            name.removeprefix(_METADATA_PREFIX): value
            for name, value in headers.items()
            if name.startswith(_METADATA_PREFIX)
        },
        missing_metadata_count=_count(headers, "x-amz-missing-meta"),
        tag_count=_count(headers, "x-amz-tagging-count"),
        storage_class=storage_class,
        is_archived=is_in_archive_tier or is_in_archive,
        restore=restore,
        encryption=_encryption(headers),
        last_modified=http_date(headers.get("last-modified", "")),
        request_id=request_id(headers),
    )


def _content_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in CONTENT_HEADERS if headers.get(name)}
    # aws-chunked says how the upload was sent, not how the content is encoded. S3 keeps it for
    # some clients' uploads, at any place in the list.
    codings = kept.get("content-encoding", "").split(",")
    others = [coding for coding in codings if coding.strip().lower() != "aws-chunked"]
    if others != codings:
        kept["content-encoding"] = ",".join(others).strip()
        if not kept["content-encoding"]:
            del kept["content-encoding"]
    return kept


def _version(headers: Mapping[str, str]) -> str:
    """Empty for "null", the version of an object put while the bucket was not versioned."""
    version_id = headers.get("x-amz-version-id", "")
    return "" if version_id == "null" else version_id


def _encryption(headers: Mapping[str, str]) -> str:
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return "SSE-C"
    return headers.get("x-amz-server-side-encryption", "")


def _md5(headers: Mapping[str, str], etag: str) -> str:
    """The ETag if it looks like the content's MD5, and no kind of encryption says otherwise."""
    is_content = _encryption(headers) in {"", "AES256"}
    return etag if is_content and _MD5.fullmatch(etag) else ""


def _checksums(headers: Mapping[str, str], etag: str) -> dict[str, str]:
    """Checksums of the whole object; not COMPOSITE ones, which are of the parts' checksums."""
    kind = headers.get("x-amz-checksum-type", "")
    if kind == "COMPOSITE" or (not kind and "-" in etag):
        return {}
    found = {name: headers.get(header, "") for name, header in _CHECKSUMS.items()}
    return {name: value for name, value in found.items() if value and "-" not in value}


def _restore(headers: Mapping[str, str]) -> RestoreStatus:
    state = headers.get("x-amz-restore")
    if not state:
        return RestoreStatus.NONE
    is_ongoing = 'ongoing-request="true"' in state
    return RestoreStatus.ONGOING if is_ongoing else RestoreStatus.DONE


def _count(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else 0
