"""Answers requests for multipart uploads; the parts' checksums are combined at completion."""

import itertools
import re
import time
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.neutral import headers, pattern
from benchmarks.neutral.connection import KEPT_BYTES, Connection, Request
from benchmarks.neutral.contents import Bucket, Stored

_NUMBER = re.compile(rb"<PartNumber>\s*(\d+)\s*</PartNumber>")
_GONE = b"<Error><Code>NoSuchUpload</Code><Message>no such upload</Message></Error>"
_INVALID = b"<Error><Code>InvalidPart</Code><Message>a part is missing</Message></Error>"


@dataclass(frozen=True, slots=True)
class _Part:
    size_bytes: int
    crc64: int
    data: bytes | None

    @property
    def etag(self) -> str:
        return f"{self.crc64:032x}"


@dataclass
class _Upload:
    bucket: str
    key: str
    headers: bytes
    parts: dict[int, _Part] = field(default_factory=dict)


class Uploads:
    """The uploads that are neither completed nor aborted, by id."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload] = {}
        self._ids = itertools.count(1)

    def handle(
        self, request: Request, connection: Connection, name: str, key: str, bucket: Bucket
    ) -> str:
        """Answer the request; returns its kind."""
        if "uploads" in request.query:
            connection.answer(200, self._create(request, name, key))
            return "CreateMultipartUpload"
        upload_id = request.query["uploadId"]
        upload = self._uploads.get(upload_id)
        kind = _KINDS.get(request.method, "UploadPart")
        if upload is None:
            connection.answer(404, _GONE)
        elif kind == "UploadPart":
            body = request.body
            part = _Part(body.size_bytes, body.crc64, body.data)
            upload.parts[int(request.query["partNumber"])] = part
            connection.answer(200, headers=headers.receipt(part.etag, part.crc64))
        elif kind == "ListParts":
            marker = int(request.query.get("part-number-marker") or 0)
            connection.answer(200, _list_parts(upload, upload_id, marker))
        elif kind == "AbortMultipartUpload":
            del self._uploads[upload_id]
            connection.answer(204)
        else:
            self._complete(request, connection, upload, bucket)
        return kind

    def listing(self, name: str) -> bytes:
        """The listing of all uploads of a bucket, in one page."""
        uploads = "".join(
            f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{upload_id}</UploadId>"
            "<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
            for upload_id, upload in self._uploads.items()
            if upload.bucket == name
        )
        return (
            f"<ListMultipartUploadsResult><Bucket>{name}</Bucket>"
            "<KeyMarker/><UploadIdMarker/><NextKeyMarker/><NextUploadIdMarker/>"
            f"<IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
        ).encode()

    def _create(self, request: Request, name: str, key: str) -> bytes:
        upload_id = f"{next(self._ids):032X}"
        self._uploads[upload_id] = _Upload(name, key, headers.kept(request))
        return (
            f"<InitiateMultipartUploadResult><Bucket>{name}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        ).encode()

    def _complete(
        self, request: Request, connection: Connection, upload: _Upload, bucket: Bucket
    ) -> None:
        numbers = [int(number) for number in _NUMBER.findall(request.body.data or b"")]
        parts = [upload.parts[number] for number in numbers if number in upload.parts]
        if len(parts) != len(numbers) or not parts:
            connection.answer(400, _INVALID)
            return
        crc64 = 0
        for part in parts:
            crc64 = pattern.CRC64.combine(crc64, part.crc64, part.size_bytes)
        size = sum(part.size_bytes for part in parts)
        kept = [part.data for part in parts if part.data is not None]
        data = b"".join(kept) if len(kept) == len(parts) and size <= KEPT_BYTES else None
        etag = f"{crc64:032x}-{len(parts)}"
        bucket.put(upload.key, Stored(size, etag, crc64, time.time(), upload.headers, data=data))
        del self._uploads[request.query["uploadId"]]
        answer = (
            f"<CompleteMultipartUploadResult><Bucket>{upload.bucket}</Bucket>"
            f"<Key>{escape(upload.key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
            "</CompleteMultipartUploadResult>"
        )
        connection.answer(200, answer.encode(), headers=headers.receipt(etag, crc64))


_KINDS = {
    "GET": "ListParts",
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}


def _list_parts(upload: _Upload, upload_id: str, marker: int) -> bytes:
    numbers = sorted(number for number in upload.parts if number > marker)
    page = numbers[:1000]
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{upload.parts[number].etag}&quot;"
        f"</ETag><Size>{upload.parts[number].size_bytes}</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<HashCrc64ecma>{upload.parts[number].crc64}</HashCrc64ecma></Part>"
        for number in page
    )
    return (
        f"<ListPartsResult><Bucket>{upload.bucket}</Bucket><Key>{escape(upload.key)}</Key>"
        f"<UploadId>{upload_id}</UploadId><MaxParts>1000</MaxParts>"
        f"<NextPartNumberMarker>{page[-1] if page else marker}</NextPartNumberMarker>"
        f"<IsTruncated>{str(len(page) < len(numbers)).lower()}</IsTruncated>{parts}"
        "</ListPartsResult>"
    ).encode()
