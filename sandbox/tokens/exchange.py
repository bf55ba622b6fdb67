"""A request to a token service, and its answer."""

from dataclasses import dataclass
from datetime import UTC, datetime


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
