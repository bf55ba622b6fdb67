"""Answers requests for buckets and objects as S3 and OSS do."""

import base64
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from benchmarks.neutral import headers, pattern
from benchmarks.neutral.connection import KEPT_BYTES, Connection, Request
from benchmarks.neutral.contents import Bucket, Stored
from benchmarks.neutral.listing import list_objects
from benchmarks.neutral.uploads import Uploads

if TYPE_CHECKING:
    from benchmarks.neutral.server import Server

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_IS_ADDRESS = re.compile(r"[\d.]+|localhost|\[.*")
_DELETED_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)

# The subresources that clients request, each with an answer that satisfies them.
_SUBRESOURCES = {
    "location": b"<LocationConstraint>cn-hangzhou</LocationConstraint>",
    "versioning": b"<VersioningConfiguration/>",
    "acl": b"<AccessControlPolicy><Owner><ID>1</ID></Owner><AccessControlList>"
    b"<Grant>private</Grant></AccessControlList></AccessControlPolicy>",
    "tagging": b"<Tagging><TagSet/></Tagging>",
    "bucketInfo": b"<BucketInfo><Bucket><Location>oss-cn-hangzhou</Location></Bucket></BucketInfo>",
}


class Objects:
    """The buckets by name."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._buckets: dict[str, Bucket] = {}
        self._uploads = Uploads()

    def bucket(self, name: str) -> Bucket:
        """The bucket of that name, which exists from now on."""
        return self._buckets.setdefault(name, Bucket())

    def empty(self, name: str) -> None:
        self._buckets.pop(name, None)

    def handle(self, request: Request, connection: Connection) -> str:
        """Answer the request; returns its kind."""
        name, key = _address(request)
        if not name:
            connection.answer(200, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>")
            return "ListBuckets"
        bucket = self.bucket(name)
        if not key:
            return self._handle_bucket(request, connection, name, bucket)
        query = request.query
        if "uploads" in query or "uploadId" in query:
            return self._uploads.handle(request, connection, name, key, bucket)
        if _subresource(request, connection):
            return "Subresource"
        return _OBJECT_METHODS[request.method](self, request, connection, bucket, key)

    def _handle_bucket(
        self, request: Request, connection: Connection, name: str, bucket: Bucket
    ) -> str:
        if request.method == "POST" and "delete" in request.query:
            for key in _DELETED_KEY.findall(request.body.data or b""):
                bucket.put(unquote(key.decode()), None)
            connection.answer(200, b"<DeleteResult/>")
            return "DeleteObjects"
        if "uploads" in request.query:
            connection.answer(200, self._uploads.listing(name))
            return "ListMultipartUploads"
        if _subresource(request, connection):
            return "Subresource"
        if request.method == "GET":
            connection.answer(200, list_objects(name, bucket, request.query))
            return "ListObjects"
        connection.answer(204 if request.method == "DELETE" else 200)
        return f"{request.method.capitalize()}Bucket"

    def _get(self, request: Request, connection: Connection, bucket: Bucket, key: str) -> str:
        stored = _found(request, connection, bucket, key)
        if stored is None:
            return "GetObject"
        first, size, status = 0, stored.size_bytes, 200
        lines = headers.description(stored)
        if wanted := _RANGE.fullmatch(request.header(b"range")):
            first, end = _bounds(wanted[1], wanted[2], size)
            if first >= end:
                connection.answer(416, _error("InvalidRange", key))
                return "GetObject"
            status, lines = 206, f"{lines}Content-Range: bytes {first}-{end - 1}/{size}\r\n"
            size = end - first
        if stored.data is not None:
            connection.answer(status, stored.data[first : first + size], headers=lines)
        elif stored.first_byte is None:
            connection.answer(501, _error("NotKept", key))
        else:
            body = pattern.pieces(stored.first_byte + first, size)
            if size <= KEPT_BYTES:
                connection.answer(status, b"".join(body), headers=lines)
            else:
                connection.answer(status, body, headers=lines, length_bytes=size)
        return "GetObject"

    def _head(self, request: Request, connection: Connection, bucket: Bucket, key: str) -> str:
        stored = _found(request, connection, bucket, key)
        if stored is not None:
            size = stored.size_bytes
            connection.answer(200, iter(()), headers=headers.description(stored), length_bytes=size)
        return "HeadObject"

    def _put(self, request: Request, connection: Connection, bucket: Bucket, key: str) -> str:
        source = request.header(b"x-amz-copy-source") or request.header(b"x-oss-copy-source")
        if source:
            name, _, source_key = unquote(source).lstrip("/").partition("/")
            stored = self.bucket(name).get(source_key)
            if stored is None:
                connection.answer(404, _error("NoSuchKey", source_key))
                return "CopyObject"
            bucket.put(key, stored)
            answer = f'<CopyObjectResult><ETag>"{stored.etag}"</ETag></CopyObjectResult>'
            connection.answer(200, answer.encode())
            return "CopyObject"
        body = request.body
        stored = Stored(
            body.size_bytes,
            body.md5,
            body.crc64,
            time.time(),
            headers.kept(request),
            data=body.data,
        )
        bucket.put(key, stored)
        connection.answer(200, headers=headers.receipt(stored.etag, stored.crc64))
        return "PutObject"

    def _delete(self, request: Request, connection: Connection, bucket: Bucket, key: str) -> str:
        bucket.put(key, None)
        connection.answer(204)
        return "DeleteObject"

    def _post(self, request: Request, connection: Connection, bucket: Bucket, key: str) -> str:
        connection.answer(501, _error("NotImplemented", key))
        return "PostObject"


_OBJECT_METHODS: dict[str, Callable[[Objects, Request, Connection, Bucket, str], str]] = {
    "GET": Objects._get,
    "HEAD": Objects._head,
    "PUT": Objects._put,
    "DELETE": Objects._delete,
    "POST": Objects._post,
}


def _address(request: Request) -> tuple[str, str]:
    """The bucket and the key, each empty if the request has none."""
    host = request.host.rpartition(":")[0] or request.host
    if _IS_ADDRESS.fullmatch(host) or host.startswith(("oss-", "s3")) or "." not in host:
        bucket, _, key = request.path[1:].partition("/")
        return bucket, key
    return host.partition(".")[0], request.path[1:]


def _subresource(request: Request, connection: Connection) -> bool:
    """Answer a request for a subresource; False if it is none."""
    for name, answer in _SUBRESOURCES.items():
        if name in request.query:
            connection.answer(200, answer if request.method == "GET" else b"")
            return True
    return False


def _found(request: Request, connection: Connection, bucket: Bucket, key: str) -> Stored | None:
    """The requested object; None if it is missing or not the pinned one, which is answered."""
    stored = bucket.get(key)
    if stored is None:
        _refuse(request, connection, 404, _error("NoSuchKey", key))
        return None
    pinned = request.header(b"if-match").strip('"')
    if pinned and pinned.lower() != stored.etag:
        _refuse(request, connection, 412, _error("PreconditionFailed", key))
        return None
    return stored


def _refuse(request: Request, connection: Connection, status: int, error: bytes) -> None:
    """Answer with an error; as OSS does, in a header if the request is a HEAD."""
    if request.method == "HEAD":
        lines = f"x-oss-err: {base64.b64encode(error).decode()}\r\n"
        connection.answer(status, headers=lines)
    else:
        connection.answer(status, error)


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last or 0)), size
    return int(first), min(size, int(last) + 1) if last else size


def _error(code: str, key: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>'
        f"<Message>answered by the neutral stand-in for {escape(ascii(key))}</Message></Error>"
    ).encode()
