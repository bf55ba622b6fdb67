"""What carries oss2's requests: our transport, in the place of requests."""

from collections.abc import Iterator
from urllib.parse import quote, urlencode

import oss2.http

from replication.stores.transport import Answer, Pool

# An error says what it has to say in less.
_ERROR_BYTES_AT_MOST = 64 * 1024
_PIECE_BYTES = 64 * 1024


class OssSession:
    """Stands for an oss2.Session: `do_request` is all that oss2 asks of one."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def do_request(self, request: oss2.http.Request, timeout: object) -> "OssAnswer":
        """Send a request that oss2 has signed. The timeouts are the pool's.

        Raises:
            TransportError: there was no answer; and what the reading of the body raises.
        """
        url = request.url
        if request.params:
            url += "?" + urlencode(request.params, quote_via=quote)
        body = request.data
        if body is None and request.method in {"POST", "PUT"}:
            body = b""
        headers = [
            (name, value if isinstance(value, str) else value.decode())
            for name, value in request.headers.items()
            if value is not None  # oss2's way of saying that there is to be none
        ]
        return OssAnswer(self.pool.request(request.method, url, headers=headers, body=body))


class OssAnswer:
    """Stands for an oss2.http.Response."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.request_id = answer.headers.get("x-oss-request-id", "")
        self._error = b""
        if not 200 <= answer.status < 300:
            # Read here, for oss2 reads its beginning alone, and the connection is to be used again.
            try:
                self._error = self._read(_ERROR_BYTES_AT_MOST)
            finally:
                answer.close()

    def read(self, size: int | None = None) -> bytes:
        """The next `size` bytes of the body, less at its end only; all of it by default."""
        if self._error:
            data, self._error = self._error, b""
            return data
        return self.answer.read() if size is None else self._read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.answer.read(_PIECE_BYTES), b"")

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.answer.read(size - len(data))):
            data += more
        return data
