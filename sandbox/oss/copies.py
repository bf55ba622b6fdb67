"""Copies within the stand-in: CopyObject and UploadPartCopy."""

import re
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from sandbox.oss import conditions, names
from sandbox.oss.blobs import Content, ContentSource, receive_blob
from sandbox.oss.dates import iso_time
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange, element, xml_answer
from sandbox.oss.http import Answer
from sandbox.oss.multipart import part_number, store_part
from sandbox.oss.objects import COLD_CLASSES, LARGEST_PUT_BYTES, etag_of, refuse_overwrite
from sandbox.oss.routing import check_version
from sandbox.oss.state import Attributes, Part, StoredObject

CONDITION_PREFIX = "x-oss-copy-source-"

_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def source_of(headers: dict[str, str]) -> tuple[str, str]:
    """(bucket, key) of `x-oss-copy-source: /bucket/url-encoded-key`."""
    source, _, version = headers["x-oss-copy-source"].partition("?versionId=")
    check_version(version or None)
    path = unquote_to_bytes(source).removeprefix(b"/")
    bucket, _, key = path.partition(b"/")
    return bucket.decode("utf-8", "replace"), names.check_object_name(key)


def copy_object(exchange: Exchange) -> Answer:
    """CopyObject, with the source's attributes or, for the directive REPLACE, with new ones."""
    bucket = exchange.bucket
    source = _readable_source(exchange)
    if source.size > LARGEST_PUT_BYTES:
        raise OssError("EntityTooLarge", ProposedSize=str(source.size))
    requested = _attributes_of_copy(exchange, source.attributes)
    if source.kind == "Normal":
        etag = source.etag
    else:
        content = source.content
        blob = receive_blob(
            ContentSource(content, 0, content.size),
            folder=exchange.folder,
            spill_bytes=exchange.spill_bytes,
        )
        etag = etag_of(blob)
    with bucket.lock:
        refuse_overwrite(exchange, bucket)
        now = int(exchange.clock.now())
        bucket.put(exchange.key, StoredObject(source.content, etag, "Normal", now, requested))
    answer = xml_answer(
        "CopyObjectResult", element("LastModified", iso_time(now)) + element("ETag", etag)
    )
    answer.headers["ETag"] = etag
    answer.headers["x-oss-hash-crc64ecma"] = str(source.content.crc64)
    answer.headers.update(requested.encryption)
    return answer


def upload_part_copy(exchange: Exchange) -> Answer:
    """UploadPartCopy, of the whole source or of `x-oss-copy-source-range`."""
    bucket = exchange.bucket
    upload = bucket.upload(exchange.query["uploadId"], exchange.key)
    number = part_number(exchange)
    source = _readable_source(exchange)
    start, length = _copied_range(exchange.headers, source.content)
    blob = receive_blob(
        ContentSource(source.content, start, length),
        folder=exchange.folder,
        spill_bytes=exchange.spill_bytes,
    )
    part = Part(blob, etag_of(blob), exchange.clock.now())
    store_part(bucket, upload, number, part)
    answer = xml_answer(
        "CopyPartResult",
        element("LastModified", iso_time(part.modified_at)) + element("ETag", part.etag),
    )
    answer.headers["ETag"] = part.etag
    answer.headers["x-oss-hash-crc64ecma"] = str(blob.crc64)
    return answer


def _readable_source(exchange: Exchange) -> StoredObject:
    bucket, key = source_of(exchange.headers)
    source = exchange.store.bucket(bucket).get(key)
    if source.attributes.storage_class in COLD_CLASSES:
        raise OssError("InvalidObjectState", ObjectName=key)
    try:
        conditions.check(exchange.headers, source, prefix=CONDITION_PREFIX)
    except conditions.NotModifiedError:
        raise OssError("NotModified", status=304) from None
    return source


def _attributes_of_copy(exchange: Exchange, source: Attributes) -> Attributes:
    headers = exchange.headers
    requested = exchange.attributes(exchange.bucket)
    directives = ("COPY", "REPLACE")
    metadata = names.check_one_of(
        "x-oss-metadata-directive",
        headers.get("x-oss-metadata-directive", "COPY").upper(),
        directives,
    )
    tagging = names.check_one_of(
        "x-oss-tagging-directive",
        headers.get("x-oss-tagging-directive", "Copy").upper(),
        directives,
    )
    if metadata == "COPY":
        requested = replace(requested, headers=source.headers, meta=source.meta)
    if tagging == "COPY":
        requested = replace(requested, tags=source.tags)
    return requested


def _copied_range(headers: dict[str, str], content: Content) -> tuple[int, int]:
    header = headers.get("x-oss-copy-source-range")
    if header is None:
        return 0, content.size
    parsed = _COPY_RANGE.fullmatch(header)
    if parsed is None:
        raise _range_refused(header)
    first, last = int(parsed[1]), int(parsed[2] or content.size - 1)
    if not first <= last < content.size:
        raise _range_refused(header)
    return first, last - first + 1


def _range_refused(header: str) -> OssError:
    return OssError(
        "InvalidArgument",
        "The x-oss-copy-source-range is not within the source.",
        ArgumentName="x-oss-copy-source-range",
        ArgumentValue=header,
    )
