"""A request as bytes: its head, and the pieces in which it is sent."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from replication.stores.transport.connection import SEND_BYTES


class Body(Protocol):
    """Bytes to send: `len` of them, read in order."""

    @property
    def len(self) -> int: ...
    def read(self, size: int = -1) -> bytes: ...


def pieces_of(head: bytes, body: bytes | Body | None) -> Iterator[bytes]:
    """The data for each send: the head goes together with the beginning of the body."""
    if body is None:
        yield head
    elif isinstance(body, bytes):
        yield head + body
    else:
        remaining = body.len
        while True:
            data = body.read(min(remaining, SEND_BYTES))
            remaining -= len(data)
            yield head + data
            head = b""
            if not remaining:
                return
            if not data:
                raise ValueError(f"the body is {remaining} bytes shorter than its length")


def head_of(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | Body | None
) -> bytes:
    """The request line and the header fields.

    Raises:
        ValueError: a server could read the head as another request.
    """
    lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers]]
    if body is not None:
        lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else body.len}")
    head = "\r\n".join([*lines, "\r\n"])
    breaks = len(lines) + 1
    if lines[0].count(" ") != 2 or (head.count("\r"), head.count("\n"), head.count("\0")) != (
        breaks,
        breaks,
        0,
    ):
        raise ValueError("a space in the URL, or a line break or NUL in the URL or a header")
    return head.encode("latin-1")
