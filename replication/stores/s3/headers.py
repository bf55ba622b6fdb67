"""Parses the headers of S3's answers into an ObjectInfo.

It reads the raw headers: boto3's parsing drops headers that it does not know, and alters dates.
"""

import re
from collections.abc import Mapping

from replication.stores.base import CONTENT_HEADERS, ObjectInfo, RestoreStatus
from replication.stores.http_headers import http_date

_MD5 = re.compile(r"[0-9a-f]{32}")
_METADATA_PREFIX = "x-amz-meta-"
_CHECKSUM_PREFIX = "x-amz-checksum-"
_CHECKSUMS = ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1")
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


def object_info(headers: Mapping[str, str], *, size_bytes: int) -> ObjectInfo:
    """Return the object as S3 describes it.

    Args:
        headers: with names in lower case.
        size_bytes: of the whole object.
    """
    etag = headers.get("etag", "").strip('"')
    storage_class = headers.get("x-amz-storage-class", "STANDARD")
    restore = _restore(headers)
    # An object that was restored from an archive tier is back in its own tier, without this header.
    is_in_archive_tier = "x-amz-archive-status" in headers
    is_in_archive = storage_class in _ARCHIVES and restore != RestoreStatus.DONE
    return ObjectInfo(
        size_bytes=size_bytes,
        etag=etag,
        version_id=_version(headers),
        is_pinnable=bool(etag),
        md5=_md5(headers),
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
        request_id=headers.get("x-amz-request-id", ""),
    )


def _content_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in CONTENT_HEADERS if headers.get(name)}
    # aws-chunked says how the upload was sent, not how the content is encoded. S3 keeps it for
    # some clients' uploads.
    first, _, rest = kept.get("content-encoding", "").partition(",")
    if first.strip().lower() == "aws-chunked":
        del kept["content-encoding"]
        if rest.strip():
            kept["content-encoding"] = rest.strip()
    return kept


def _version(headers: Mapping[str, str]) -> str:
    """Empty for "null", the version of an object put while the bucket was not versioned."""
    version_id = headers.get("x-amz-version-id", "")
    return "" if version_id == "null" else version_id


def _encryption(headers: Mapping[str, str]) -> str:
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return "SSE-C"
    return headers.get("x-amz-server-side-encryption", "")


def _md5(headers: Mapping[str, str]) -> str:
    """The ETag if it is the content's MD5: a single part, not encrypted with KMS or SSE-C."""
    etag = headers.get("etag", "").strip('"')
    is_content = _encryption(headers) in {"", "AES256"}
    return etag if is_content and _MD5.fullmatch(etag) else ""


def _checksums(headers: Mapping[str, str], etag: str) -> dict[str, str]:
    """Checksums of the whole object; not COMPOSITE ones, which are of the parts' checksums."""
    kind = headers.get("x-amz-checksum-type", "")
    if kind == "COMPOSITE" or (not kind and "-" in etag):
        return {}
    found = {name: headers.get(_CHECKSUM_PREFIX + name.lower(), "") for name in _CHECKSUMS}
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
