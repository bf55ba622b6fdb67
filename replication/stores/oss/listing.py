"""Parses pages of OSS's ListParts, with the checksums that oss2 drops.

https://help.aliyun.com/document_detail/31998.html
"""

from dataclasses import dataclass
from xml.etree import ElementTree

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import PartReceipt


@dataclass(frozen=True)
class PartsPage:
    """Parts in order, and the marker of the next page."""

    parts: list[PartReceipt]
    is_truncated: bool
    next_marker: int


def parts_of_page(document: bytes) -> PartsPage:
    """Parse one page.

    Raises:
        ReplicationError: DESTINATION_UNREACHABLE, if the document is not a page: it broke off.
    """
    try:
        root = ElementTree.fromstring(document)  # noqa: S314  from OSS, and expat limits entities
        return PartsPage(
            [
                PartReceipt(
                    number=int(part.findtext("PartNumber", "")),
                    etag=part.findtext("ETag", "").strip('"'),
                    crc64=part.findtext("HashCrc64ecma", ""),
                    size_bytes=int(part.findtext("Size", "")),
                )
                for part in root.iterfind("Part")
            ],
            is_truncated=root.findtext("IsTruncated", "") == "true",
            next_marker=int(root.findtext("NextPartNumberMarker") or "0"),
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise ReplicationError(ErrorCode.DESTINATION_UNREACHABLE, f"ListParts: {error}") from error
