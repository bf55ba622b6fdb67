"""OSS's operations on multipart uploads: initiate, upload parts, list, complete, abort."""

import hashlib
import itertools
import secrets

from sandbox.oss.blobs import Content
from sandbox.oss.dates import iso_time
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange, element, xml_answer
from sandbox.oss.http import Answer
from sandbox.oss.objects import encode_md5, etag_of, receive, refuse_overwrite
from sandbox.oss.state import Bucket, Part, StoredObject, Upload

SMALLEST_PART_BYTES = 100 << 10
LARGEST_OBJECT_BYTES = 48_800_000_000_000
PART_NUMBERS = 10_000
LISTED = 1000


def initiate(exchange: Exchange) -> Answer:
    """InitiateMultipartUpload; its headers set the object's attributes."""
    bucket = exchange.bucket
    requested = exchange.attributes(bucket)
    refuse_overwrite(exchange, bucket)
    upload_id = secrets.token_hex(16).upper()
    with bucket.lock:
        bucket.uploads[upload_id] = Upload(upload_id, exchange.key, exchange.clock.now(), requested)
    answer = xml_answer(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket.name) + exchange.encoded_key() + element("UploadId", upload_id),
    )
    answer.headers.update(requested.encryption)
    return answer


def upload_part(exchange: Exchange) -> Answer:
    """UploadPart; a part with the same number is replaced."""
    bucket = exchange.bucket
    upload_id = exchange.query["uploadId"]
    upload = bucket.upload(upload_id, exchange.key)
    number = part_number(exchange)
    blob = receive(exchange)
    part = Part(blob, etag_of(blob), exchange.clock.now())
    store_part(bucket, upload, number, part)
    return Answer(
        200,
        {
            "ETag": part.etag,
            "Content-MD5": encode_md5(blob),
            "x-oss-hash-crc64ecma": str(blob.crc64),
            **upload.attributes.encryption,
        },
    )


def part_number(exchange: Exchange) -> int:
    """The part number, 1 to 10,000; raises InvalidArgument."""
    text = exchange.query.get("partNumber", "")
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= PART_NUMBERS:
        raise OssError(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive.",
            ec="0017-00000220",
            ArgumentName="PartNumber",
            ArgumentValue=text,
        )
    return int(text)


def store_part(bucket: Bucket, upload: Upload, number: int, part: Part) -> None:
    """Raises NoSuchUpload if the upload ended while the part was received."""
    with bucket.lock:
        bucket.upload(upload.upload_id, upload.key).parts[number] = part


def list_parts(exchange: Exchange) -> Answer:
    """ListParts, in pages."""
    bucket = exchange.bucket
    upload = bucket.upload(exchange.query["uploadId"], exchange.key)
    limit = exchange.number("max-parts", LISTED, least=1, most=LISTED)
    marker = exchange.number("part-number-marker", 0, least=0, most=PART_NUMBERS)
    with bucket.lock:
        parts = sorted((n, part) for n, part in upload.parts.items() if n > marker)
    page = parts[:limit]
    listed = "".join(
        "<Part>"
        + element("PartNumber", number)
        + element("LastModified", iso_time(part.modified_at))
        + element("ETag", part.etag)
        + element("HashCrc64ecma", part.blob.crc64)
        + element("Size", part.blob.size)
        + "</Part>"
        for number, part in page
    )
    return xml_answer(
        "ListPartsResult",
        element("Bucket", bucket.name)
        + exchange.encoded_key()
        + element("UploadId", upload.upload_id)
        + element("StorageClass", upload.attributes.storage_class)
        + element("PartNumberMarker", marker)
        + element("NextPartNumberMarker", page[-1][0] if page else 0)
        + element("MaxParts", limit)
        + element("IsTruncated", "true" if len(parts) > limit else "false")
        + listed,
    )


def complete(exchange: Exchange) -> Answer:
    """CompleteMultipartUpload, with the listed parts, or all (`x-oss-complete-all: yes`)."""
    bucket = exchange.bucket
    upload_id = exchange.query["uploadId"]
    bucket.upload(upload_id, exchange.key)
    wanted = _wanted_parts(exchange)
    with bucket.lock:
        upload = bucket.upload(upload_id, exchange.key)
        parts = _matching_parts(upload, wanted)
        refuse_overwrite(exchange, bucket)
        content = Content.join(tuple(part.blob for part in parts))
        if content.size > LARGEST_OBJECT_BYTES:
            raise OssError("EntityTooLarge", ProposedSize=str(content.size))
        etag = _etag_of_parts(parts)
        now = int(exchange.clock.now())
        bucket.put(exchange.key, StoredObject(content, etag, "Multipart", now, upload.attributes))
        del bucket.uploads[upload_id]
    host = exchange.headers.get("host", "")
    answer = xml_answer(
        "CompleteMultipartUploadResult",
        element("Location", f"http://{host}/{exchange.key}")
        + element("Bucket", bucket.name)
        + exchange.encoded_key()
        + element("ETag", etag),
    )
    answer.headers["ETag"] = etag
    answer.headers["x-oss-hash-crc64ecma"] = str(content.crc64)
    answer.headers.update(upload.attributes.encryption)
    return answer


def abort(exchange: Exchange) -> Answer:
    """AbortMultipartUpload."""
    bucket = exchange.bucket
    with bucket.lock:
        upload = bucket.upload(exchange.query["uploadId"], exchange.key)
        del bucket.uploads[upload.upload_id]
    return Answer(204)


def _wanted_parts(exchange: Exchange) -> list[tuple[int, str]] | None:
    """The (number, ETag) pairs that the client lists; None for all uploaded parts."""
    complete_all = exchange.headers.get("x-oss-complete-all")
    if complete_all is not None:
        if complete_all != "yes" or exchange.body.read():
            raise OssError(
                "InvalidArgument",
                "x-oss-complete-all must be yes and come without a list of parts.",
                ArgumentName="x-oss-complete-all",
                ArgumentValue=complete_all,
            )
        return None
    root = exchange.xml_body()
    if root.tag != "CompleteMultipartUpload":
        raise OssError("MalformedXML")
    wanted: list[tuple[int, str]] = []
    for listed in root.findall("Part"):
        number, etag = listed.findtext("PartNumber", ""), listed.findtext("ETag", "")
        if not (number.isascii() and number.isdigit()):
            raise OssError("MalformedXML")
        wanted.append((int(number), etag.strip('"')))
    if not wanted:
        raise OssError("MalformedXML")
    return wanted


def _matching_parts(upload: Upload, wanted: list[tuple[int, str]] | None) -> list[Part]:
    if wanted is None:
        wanted = [(number, part.etag.strip('"')) for number, part in sorted(upload.parts.items())]
        if not wanted:
            raise OssError("InvalidPart", UploadId=upload.upload_id)
    numbers = [number for number, _ in wanted]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise OssError("InvalidPartOrder", UploadId=upload.upload_id)
    parts: list[Part] = []
    for number, etag in wanted:
        part = upload.parts.get(number)
        if part is None or part.etag.strip('"') != etag.upper():
            raise OssError(
                "InvalidPart", PartNumber=str(number), ETag=etag, UploadId=upload.upload_id
            )
        parts.append(part)
    for number, part in zip(numbers[:-1], parts, strict=False):
        if part.blob.size < SMALLEST_PART_BYTES:
            raise OssError(
                "EntityTooSmall",
                PartNumber=str(number),
                ProposedSize=str(part.blob.size),
                MinSizeAllowed=str(SMALLEST_PART_BYTES),
            )
    return parts


def _etag_of_parts(parts: list[Part]) -> str:
    """An ETag in OSS's format. OSS documents no algorithm, so no test may compute the value."""
    joined = "".join(part.etag for part in parts)
    return f'"{hashlib.md5(joined.encode()).hexdigest().upper()}-{len(parts)}"'
