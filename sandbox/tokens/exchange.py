"""A server of token services, a request to it, and its answer."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any


class Listener(ThreadingHTTPServer):
    """Answers on threads; clients that break off are no errors."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is no fault of a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class Request:
    """`path` and `query` as they were sent; `headers` by name in lower case."""

    method: str
    path: str
    query: str
    parameters: dict[str, str]
    headers: dict[str, str]
    content: bytes
    is_tls: bool


class Answer:
    """A status and a body."""

    def __init__(self, status: int, body: str, content_type: str = "application/json") -> None:
        self.status = status
        self.body = body.encode()
        self.content_type = content_type


def iso_time(at: float) -> str:
    """The time in epoch seconds as services write it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
