"""Lets oss2 send its requests by our own transport instead of the requests library."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote, urlencode

import oss2.http

from replication.stores.identity import check_identity
from replication.stores.transport import Answer, Pool
from replication.stores.transport.requests import Body

# OSS sends it with every answer.
REQUEST_ID = "x-oss-request-id"

# Error documents are shorter.
_ERROR_BYTES_AT_MOST = 64 * 1024
_CHUNK_BYTES = 64 * 1024


class OssSession:
    """Replaces oss2.Session. oss2 only calls `do_request`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def do_request(self, request: oss2.http.Request, timeout: object) -> "OssAnswer":
        """Send a request that oss2 has signed. The pool's timeouts apply, not `timeout`.

        Raises:
            TransportError: there was no answer, or one that is not OSS's. An error from reading
                the body is raised too.
        """
        url = request.url
        if request.params:
            url += "?" + urlencode(request.params, quote_via=quote)
        body = request.data
        if body is None and request.method in {"POST", "PUT"}:
            body = b""
        headers = [
            (name, _on_the_wire(value))
            for name, value in request.headers.items()
            if value is not None  # with None, oss2 says not to send the header
        ]
        return self.send(request.method, url, headers=headers, body=body)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]],
        body: bytes | Body | None,
    ) -> "OssAnswer":
        """Send a signed request. Raises what `do_request` raises."""
        answer = self.pool.request(method, url, headers=headers, body=body)
        check_identity(answer, request_ids=[REQUEST_ID])
        return OssAnswer(answer)


def _on_the_wire(value: str | bytes) -> str:
    """A header's UTF-8, as the transport takes it: one character for each byte."""
    data = value.encode() if isinstance(value, str) else value
    return data.decode("latin-1")


class OssAnswer:
    """Replaces oss2.http.Response."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.request_id = answer.headers.get(REQUEST_ID, "")
        self._error = b""
        if not 200 <= answer.status < 300:
            # Read the error here: oss2 reads only its beginning, and then the connection could not
            # be reused.
            try:
                self._error = answer.read_beginning(_ERROR_BYTES_AT_MOST)
            finally:
                answer.close()

    def read(self, size: int | None = None) -> bytes:
        """Return `size` bytes of the body, fewer only at its end; by default all of them.

        Raises:
            TransportError: the body broke off, or is too long to be kept in memory.
        """
        if self._error:
            data, self._error = self._error, b""
            return data
        return self.answer.read_all() if size is None else self.answer.read_beginning(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.answer.read(_CHUNK_BYTES), b"")
