"""Reads objects from a plain web server, and contacts no address but the configured one."""

from functools import partial
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import quote

import urllib3
from django.conf import settings

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.base import CONTENT_HEADERS, ObjectInfo, parse_retry_after
from replication.stores.http.addresses import GuardedPoolManager
from replication.stores.http_headers import check_range, http_date, range_headers
from replication.stores.transport.fibers import run_blocking

# The statuses that clearly say "there is no such object".
_MISSING = {404, 410}
_DOT_SEGMENTS = {".", ".."}


class HttpStore:
    """A web server as a source. The key is the path."""

    def __init__(self, *, endpoint_url: str) -> None:
        limits = settings.S3SYNC
        self._base = endpoint_url.rstrip("/")
        self._pool = GuardedPoolManager(
            allowed=limits.http_private_networks,
            maxsize=limits.max_connections,
            retries=False,
            timeout=urllib3.Timeout(
                connect=limits.connect_timeout_seconds, read=limits.read_timeout_seconds
            ),
        )

    def open(self, key: str) -> "HttpObject":
        """Open the object as it is now; see SourceStore."""
        response = self._get(key, {})
        if response.status != 200:
            response.close()
            _raise_translated(response)
        return _open_object(response)

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> "HttpObject":
        """Open a range of exactly this object; see SourceStore."""
        response = self._get(
            key, range_headers(first_byte=first_byte, last_byte=last_byte, pin=pin)
        )
        try:
            if response.status in {412, 416, *_MISSING}:
                raise ReplicationError(ErrorCode.SOURCE_CHANGED, _status(response))
            if response.status not in {200, 206}:
                _raise_translated(response)
            check_range(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                first_byte=first_byte,
                last_byte=last_byte,
                pin=pin,
                request_id=_printable(response.headers.get("x-request-id", "")),
            )
        except ReplicationError:
            response.close()
            raise
        return _open_object(response, pin=pin)

    def head(self, key: str) -> ObjectInfo:
        """Not supported; see SourceStore."""
        raise _unsupported("describe an object without sending it")

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """Not supported; see SourceStore."""
        raise _unsupported("return an object's tags")

    def request_restore(self, key: str, *, days: int, tier: str) -> int | None:
        """Not supported; see SourceStore."""
        raise _unsupported("restore an archived object")

    def _get(self, key: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        if not _DOT_SEGMENTS.isdisjoint(key.split("/")):
            # The client or a server would shorten the path a/../b to b, which is another object.
            raise ReplicationError(
                ErrorCode.SOURCE_REFUSED,
                "a web server can't serve a key with '.' or '..' between slashes",
            )
        try:
            return run_blocking(
                partial(
                    self._pool.request,
                    "GET",
                    f"{self._base}/{quote(key, safe='/')}",
                    headers={"Accept-Encoding": "identity", **headers},
                    preload_content=False,
                    redirect=False,
                )
            )
        except urllib3.exceptions.HTTPError as error:
            raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error


class HttpObject:
    """Reads an object, or a range of it, from a web server's answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, pin: ObjectInfo | None) -> None:
        """
        Args:
            pin: the whole object, if the answer is a range of it.
        """
        headers = response.headers
        length = headers.get("content-length", "")
        self._response = response
        if not length.isdecimal():
            # If the connection breaks off in the headers, http.client takes them as complete. Then
            # no body follows.
            if not self.read(1):
                raise ReplicationError(
                    ErrorCode.SOURCE_TRUNCATED, "the connection broke in the headers of the answer"
                )
            raise ReplicationError(
                ErrorCode.SOURCE_LENGTH_UNKNOWN, "the answer has no Content-Length"
            )
        self.length_bytes = int(length)
        etag = headers.get("etag", "")
        opaque_etag = _printable(etag.removeprefix("W/").strip('"'))
        self.info = ObjectInfo(
            size_bytes=pin.size_bytes if pin else self.length_bytes,
            etag=opaque_etag,
            # A weak ETag can stay the same while bytes change.
            is_pinnable=bool(opaque_etag)
            and etag.startswith('"')
            and "bytes" in headers.get("accept-ranges", "").lower().replace(",", " ").split(),
            content_headers={name: headers[name] for name in CONTENT_HEADERS if headers.get(name)},
            last_modified=http_date(headers.get("last-modified", "")),
            request_id=_printable(headers.get("x-request-id", "")),
        )

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; see Reader."""
        try:
            return run_blocking(partial(self._response.read, size, decode_content=False))
        except urllib3.exceptions.ProtocolError as error:
            raise ReplicationError(ErrorCode.SOURCE_TRUNCATED, str(error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # If the answer was read to its end, its connection is back in the pool already.
        self._response.close()


def _open_object(
    response: urllib3.BaseHTTPResponse, *, pin: ObjectInfo | None = None
) -> HttpObject:
    try:
        return HttpObject(response, pin=pin)
    except ReplicationError:
        response.close()
        raise


def _unsupported(action: str) -> ReplicationError:
    return ReplicationError(ErrorCode.SOURCE_UNSUPPORTED, f"a web server can't {action}")


def _printable(text: str) -> str:
    """Return the text if it is printable ASCII, else nothing: a web server may send any bytes."""
    return text if text.isascii() and text.isprintable() else ""


def _status(response: urllib3.BaseHTTPResponse) -> str:
    return f"{response.status} {_printable(response.reason or '')}"


def _raise_translated(response: urllib3.BaseHTTPResponse) -> NoReturn:
    status = response.status
    if status in _MISSING:
        raise ObjectMissing
    detail = _status(response)
    if 300 <= status < 400:
        code = ErrorCode.SOURCE_REDIRECTED
        detail += f" to {_printable(response.headers.get('location', '')) or 'nowhere'}"
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
        retry_after_seconds=parse_retry_after(response.headers.get("retry-after", "")),
    )
