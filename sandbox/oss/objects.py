"""OSS's operations on one object: put, append, get, head, delete, ACL and tags."""

import base64
import binascii
from dataclasses import replace

from sandbox.oss import attributes, conditions, names
from sandbox.oss.blobs import Blob, Content, receive_blob
from sandbox.oss.dates import http_date
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange, element, owner, xml_answer
from sandbox.oss.http import Answer
from sandbox.oss.state import Bucket, StoredObject

LARGEST_PUT_BYTES = 5 << 30
COLD_CLASSES = ("Archive", "ColdArchive", "DeepColdArchive")
RESPONSE_OVERRIDES = {
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-content-type": "Content-Type",
    "response-expires": "Expires",
}


def receive(exchange: Exchange) -> Blob:
    """Receive the request's body; raises OssError if its length or its MD5 is wrong."""
    body = exchange.body
    if body.length is None and not body.chunked:
        raise OssError("MissingContentLength")
    if body.length is not None and body.length > LARGEST_PUT_BYTES:
        raise OssError("EntityTooLarge", ProposedSize=str(body.length))
    claimed = exchange.headers.get("content-md5")
    md5 = None if claimed is None else decode_md5(claimed)
    blob = receive_blob(body, folder=exchange.folder, spill_bytes=exchange.spill_bytes)
    if blob.size > LARGEST_PUT_BYTES:
        raise OssError("EntityTooLarge", ProposedSize=str(blob.size))
    if md5 is not None and md5 != blob.md5:
        raise OssError(
            "InvalidDigest",
            ec="0017-00000503",
            ClientMD5=md5.hex().upper(),
            ServerMD5=blob.md5.hex().upper(),
        )
    return blob


def decode_md5(claimed: str) -> bytes:
    """Decode a Content-MD5; raises InvalidDigest if it is not the base64 of 16 bytes."""
    try:
        md5 = base64.b64decode(claimed, validate=True)
    except (binascii.Error, ValueError):
        md5 = b""
    if len(md5) != 16:
        raise OssError("InvalidDigest", ContentMD5=claimed)
    return md5


def encode_md5(blob: Blob) -> str:
    """The Content-MD5 of an answer."""
    return base64.b64encode(blob.md5).decode()


def etag_of(blob: Blob) -> str:
    """The ETag of a put object or a part: its quoted, upper-case MD5."""
    return f'"{blob.md5.hex().upper()}"'


def refuse_overwrite(exchange: Exchange, bucket: Bucket) -> None:
    """Raises FileAlreadyExists if the object exists and the request forbids overwriting."""
    forbidden = exchange.headers.get("x-oss-forbid-overwrite", "").lower() == "true"
    if forbidden and exchange.key in bucket.objects:
        is_upload = exchange.operation == "CompleteMultipartUpload"
        raise OssError(
            "FileAlreadyExists",
            ec="0042-00000214" if is_upload else None,
            ObjectName=exchange.key,
        )


def put_object(exchange: Exchange) -> Answer:
    """PutObject."""
    bucket = exchange.bucket
    requested = exchange.attributes(bucket)
    refuse_overwrite(exchange, bucket)
    blob = receive(exchange)
    etag = etag_of(blob)
    content = Content((blob,), blob.size, blob.crc64)
    with bucket.lock:
        refuse_overwrite(exchange, bucket)
        now = int(exchange.clock.now())
        bucket.put(exchange.key, StoredObject(content, etag, "Normal", now, requested))
    return Answer(
        200,
        {
            "ETag": etag,
            "Content-MD5": encode_md5(blob),
            "x-oss-hash-crc64ecma": str(blob.crc64),
            **requested.encryption,
        },
    )


def append_object(exchange: Exchange) -> Answer:
    """AppendObject: `position` must be the object's length, 0 for a new object."""
    bucket = exchange.bucket
    position = exchange.number("position", -1, least=0, most=1 << 62)
    if position < 0:
        raise OssError("MissingArgument", ArgumentName="position")
    requested = exchange.attributes(bucket)
    blob = receive(exchange)
    with bucket.lock:
        existing = bucket.objects.get(exchange.key)
        if existing is not None and existing.kind != "Appendable":
            raise OssError("ObjectNotAppendable", ObjectName=exchange.key)
        length = 0 if existing is None else existing.size
        if position != length:
            raise OssError(
                "PositionNotEqualToLength",
                headers={
                    "x-oss-next-append-position": str(length),
                    "x-oss-hash-crc64ecma": str(existing.content.crc64 if existing else 0),
                },
            )
        blobs = (blob,) if existing is None else (*existing.content.blobs, blob)
        content = Content.join(blobs)
        kept = requested if existing is None else existing.attributes
        digest = content.crc64.to_bytes(8, "big").hex().upper()
        etag = f'"{digest}{content.size:016X}"'
        now = int(exchange.clock.now())
        bucket.put(exchange.key, StoredObject(content, etag, "Appendable", now, kept))
    return Answer(
        200,
        {
            "ETag": etag,
            "x-oss-next-append-position": str(content.size),
            "x-oss-hash-crc64ecma": str(content.crc64),
        },
    )


def get_object(exchange: Exchange) -> Answer:
    """GetObject: the whole object or one range; a signed request may override headers."""
    stored = exchange.bucket.get(exchange.key)
    if stored.attributes.storage_class in COLD_CLASSES:
        raise OssError("InvalidObjectState", ObjectName=exchange.key)
    answer = _describe(exchange, stored)
    if answer.status == 304:
        return answer
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers.update(_overrides(exchange))
    wanted = conditions.byte_range(exchange.headers, stored.size)
    answer.content = stored.content
    answer.length = stored.size
    if wanted is not None:
        answer.start, answer.length = wanted
        last = answer.start + answer.length - 1
        answer.status = 206
        answer.headers["Content-Range"] = f"bytes {answer.start}-{last}/{stored.size}"
    return answer


def head_object(exchange: Exchange) -> Answer:
    """HeadObject: GetObject's headers without the body."""
    stored = exchange.bucket.get(exchange.key)
    answer = _describe(exchange, stored)
    answer.length = stored.size
    return answer


def get_object_meta(exchange: Exchange) -> Answer:
    """GetObjectMeta: size, ETag and time only."""
    stored = exchange.bucket.get(exchange.key)
    headers = {
        "ETag": stored.etag,
        "Last-Modified": http_date(stored.modified_at),
        "x-oss-hash-crc64ecma": str(stored.content.crc64),
    }
    return Answer(200, headers, length=stored.size)


def delete_object(exchange: Exchange) -> Answer:
    """DeleteObject: answers 204 whether the object exists or not."""
    bucket = exchange.bucket
    with bucket.lock:
        if (stored := bucket.objects.get(exchange.key)) is not None:
            exchange.entry.deleted_meta = stored.attributes.meta
        bucket.delete(exchange.key)
    return Answer(204)


def get_object_acl(exchange: Exchange) -> Answer:
    """GetObjectAcl."""
    acl = exchange.bucket.get(exchange.key).attributes.acl
    grants = f"<AccessControlList>{element('Grant', acl)}</AccessControlList>"
    return xml_answer("AccessControlPolicy", owner() + grants)


def put_object_acl(exchange: Exchange) -> Answer:
    """PutObjectAcl."""
    acl = names.check_one_of(
        "x-oss-object-acl", exchange.headers.get("x-oss-object-acl", ""), names.OBJECT_ACLS
    )
    bucket = exchange.bucket
    with bucket.lock:
        stored = bucket.get(exchange.key)
        bucket.put(exchange.key, replace(stored, attributes=replace(stored.attributes, acl=acl)))
    return Answer(200)


def get_object_tagging(exchange: Exchange) -> Answer:
    """GetObjectTagging."""
    tags = exchange.bucket.get(exchange.key).attributes.tags
    listed = "".join(
        f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags.items()
    )
    return xml_answer("Tagging", f"<TagSet>{listed}</TagSet>")


def put_object_tagging(exchange: Exchange) -> Answer:
    """PutObjectTagging."""
    root = exchange.xml_body()
    tag_set = root.find("TagSet")
    if root.tag != "Tagging" or tag_set is None:
        raise OssError("MalformedXML")
    pairs = []
    for tag in tag_set:
        key, value = tag.findtext("Key"), tag.findtext("Value")
        if tag.tag != "Tag" or key is None or value is None:
            raise OssError("MalformedXML")
        pairs.append((key, value))
    tags = names.check_tags(pairs, is_lenient=exchange.store.is_lenient)
    return _set_tags(exchange, tags, status=200)


def delete_object_tagging(exchange: Exchange) -> Answer:
    """DeleteObjectTagging."""
    return _set_tags(exchange, {}, status=204)


def _set_tags(exchange: Exchange, tags: dict[str, str], *, status: int) -> Answer:
    bucket = exchange.bucket
    with bucket.lock:
        stored = bucket.get(exchange.key)
        bucket.put(exchange.key, replace(stored, attributes=replace(stored.attributes, tags=tags)))
    return Answer(status)


def _overrides(exchange: Exchange) -> dict[str, str]:
    """The answer headers that a signed GET overrides."""
    wanted = {
        header: exchange.query[parameter]
        for parameter, header in RESPONSE_OVERRIDES.items()
        if exchange.query.get(parameter)
    }
    if wanted and exchange.key_id is None:
        raise OssError(
            "InvalidRequest",
            "Response headers can be overridden by signed requests only.",
            status=400,
        )
    for header, value in wanted.items():
        if not value.isprintable():
            raise OssError("InvalidArgument", ArgumentName=header, ArgumentValue=value)
    return wanted


def _describe(exchange: Exchange, stored: StoredObject) -> Answer:
    try:
        conditions.check(exchange.headers, stored)
    except conditions.NotModifiedError:
        return Answer(304, {"ETag": stored.etag, "Last-Modified": http_date(stored.modified_at)})
    return Answer(200, attributes.to_headers(stored))
