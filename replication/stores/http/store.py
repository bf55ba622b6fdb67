"""Reads objects from a plain web server, and contacts no address but the configured one."""

import binascii
from base64 import b64decode
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import quote, urlsplit

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.base import CONTENT_HEADERS, ObjectInfo, parse_retry_after
from replication.stores.exchange_errors import source_code
from replication.stores.http_headers import (
    check_change,
    check_range,
    etag_of,
    http_date,
    range_headers,
)
from replication.stores.pools import new_pool
from replication.stores.transport import Answer, TransportError

# The statuses that clearly say "there is no such object".
_MISSING = {404, 410}
_DOT_SEGMENTS = {".", ".."}
_MD5_BYTES = 16


class HttpStore:
    """A web server as a source. The key is the path."""

    def __init__(self, *, endpoint_url: str) -> None:
        self._base = _ascii_url(endpoint_url).rstrip("/")
        self._pool = new_pool(opens_vpc=False)

    def open(self, key: str) -> "HttpObject":
        """Open the object as it is now; see SourceStore."""
        answer = self._get(key, {})
        if answer.status != 200:
            _raise_translated(answer)
        return _open_object(answer)

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> "HttpObject":
        """Open a range of exactly this object; see SourceStore."""
        headers = range_headers(first_byte=first_byte, last_byte=last_byte, pin=pin)
        try:
            answer = self._get(key, headers)
            self._check_range(answer, first_byte=first_byte, last_byte=last_byte, pin=pin)
        except ReplicationError as error:
            raise check_change(error, pin=pin, look=lambda: self._look(key)) from error
        return _open_object(answer, pin=pin)

    def _check_range(
        self, answer: Answer, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> None:
        try:
            if answer.status in {412, 416, *_MISSING}:
                raise ReplicationError(ErrorCode.SOURCE_CHANGED, f"status {answer.status}")
            if answer.status not in {200, 206}:
                _raise_translated(answer)
            check_range(
                answer.status,
                answer.headers.lower,
                first_byte=first_byte,
                last_byte=last_byte,
                pin=pin,
                request_id=_printable(answer.headers.get("x-request-id", "")),
            )
        except ReplicationError:
            answer.close()
            raise

    def _look(self, key: str) -> ObjectInfo:
        with self.open(key) as found:
            return found.info

    def head(self, key: str) -> ObjectInfo:
        """Not supported; see SourceStore."""
        raise _unsupported("describe an object without sending it")

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """Not supported; see SourceStore."""
        raise _unsupported("return an object's tags")

    def put(self, key: str, content: bytes) -> None:
        """Not supported; see SourceStore."""
        raise _unsupported("take objects")

    def request_restore(self, key: str, *, days: int, tier: str) -> int | None:
        """Not supported; see SourceStore."""
        raise _unsupported("restore an archived object")

    def _get(self, key: str, headers: dict[str, str]) -> Answer:
        if not _DOT_SEGMENTS.isdisjoint(key.split("/")):
            # The client or a server would shorten the path a/../b to b, which is another object.
            raise ReplicationError(
                ErrorCode.SOURCE_REFUSED,
                "a web server can't serve a key with '.' or '..' between slashes",
            )
        try:
            return self._pool.request(
                "GET",
                f"{self._base}/{quote(key, safe='/')}",
                headers=[
                    ("User-Agent", "s3sync"),
                    ("Accept-Encoding", "identity"),
                    *headers.items(),
                ],
            )
        except TransportError as error:
            raise ReplicationError(source_code(error), str(error)) from error


class HttpObject:
    """Reads an object, or a range of it, from a web server's answer."""

    def __init__(self, answer: Answer, *, pin: ObjectInfo | None) -> None:
        """
        Args:
            pin: the whole object, if the answer is a range of it.
        """
        headers = answer.headers
        length = headers.get("content-length", "")
        self._answer = answer
        if not length.isdecimal():
            raise ReplicationError(
                ErrorCode.SOURCE_LENGTH_UNKNOWN, "the answer has no Content-Length"
            )
        self.length_bytes = int(length)
        etag = _printable(headers.get("etag", ""))
        self.info = ObjectInfo(
            size_bytes=pin.size_bytes if pin else self.length_bytes,
            etag=etag_of(etag),
            # A weak ETag can stay the same while bytes change.
            is_pinnable=bool(etag_of(etag))
            and etag.startswith('"')
            and "bytes" in headers.get("accept-ranges", "").lower().replace(",", " ").split(),
            md5="" if pin else _md5(headers.get("content-md5", "")),
            md5_is_promised=True,
            content_headers={name: headers[name] for name in CONTENT_HEADERS if headers.get(name)},
            last_modified=http_date(headers.get("last-modified", "")),
            request_id=_printable(headers.get("x-request-id", "")),
        )

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; see Reader."""
        try:
            return self._answer.read(size)
        except TransportError as error:
            raise ReplicationError(
                source_code(error), str(error), request_id=self.info.request_id
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answer.close()


def _open_object(answer: Answer, *, pin: ObjectInfo | None = None) -> HttpObject:
    try:
        return HttpObject(answer, pin=pin)
    except ReplicationError:
        answer.close()
        raise


def _ascii_url(url: str) -> str:
    """Encode the characters of a URL that a request can't carry as they are."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if not netloc.isascii():
        netloc = netloc.encode("idna").decode()
    return parts._replace(netloc=netloc, path=quote(parts.path, safe="/%:@!$&'()*+,;=~")).geturl()


def _md5(content_md5: str) -> str:
    """The MD5 of a Content-MD5 header; empty if the header has none."""
    try:
        digest = b64decode(content_md5, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return ""
    return digest.hex() if len(digest) == _MD5_BYTES else ""


def _unsupported(action: str) -> ReplicationError:
    return ReplicationError(ErrorCode.SOURCE_UNSUPPORTED, f"a web server can't {action}")


def _printable(text: str) -> str:
    """Return the text if it is printable ASCII, else nothing: a web server may send any bytes."""
    return text if text.isascii() and text.isprintable() else ""


def _raise_translated(answer: Answer) -> NoReturn:
    answer.close()
    status = answer.status
    if status in _MISSING:
        raise ObjectMissing
    detail = f"status {status}"
    if 300 <= status < 400:
        code = ErrorCode.SOURCE_REDIRECTED
        detail += f" to {_printable(answer.headers.get('location', '')) or 'nowhere'}"
    elif status in {401, 403}:
        code = ErrorCode.SOURCE_ACCESS_DENIED
    elif status in {429, 503}:
        code = ErrorCode.SOURCE_THROTTLED
    elif status >= 500:
        code = ErrorCode.SOURCE_UNAVAILABLE
    elif status == 408:
        code = ErrorCode.SOURCE_UNREACHABLE
    else:
        code = ErrorCode.SOURCE_REFUSED
    raise ReplicationError(
        code,
        detail,
        retry_after_seconds=parse_retry_after(answer.headers.get("retry-after", "")),
    )
