"""The log of the stand-in's latest requests, in the order in which they ended."""

import threading
from collections import deque
from dataclasses import dataclass

DEFAULT_SIZE = 20_000


@dataclass(slots=True)
class LoggedRequest:
    """One request.

    `started_*` is the time at which its head had arrived. `ended_*` is the time at which its
    answer was ready, before the first byte was sent: two requests of a client that waits for each
    answer never overlap. `carried_out_*` is the time at which the operation was done: a fault can
    delay the answer after that. `client_gone_*` is the time at which a later request of the same
    key found that the client of this one had broken off. Both are 0.0 if that did not happen.
    Monotonic times are those of the server's process. `status` is 0 if the client closed the
    connection before an answer, or a fault reset the connection. `fault` is the id of the fault
    that fired. `bytes_in` and `bytes_out` count bodies. `deleted_meta` is the user
    metadata of the object that a DeleteObject deleted; None if there was no object.
    """

    request_id: str
    method: str
    started_monotonic: float = 0.0
    started_at: float = 0.0
    carried_out_monotonic: float = 0.0
    client_gone_monotonic: float = 0.0
    ended_monotonic: float = 0.0
    ended_at: float = 0.0
    key_id: str | None = None
    operation: str = ""
    bucket: str = ""
    key: str = ""
    upload_id: str | None = None
    part_number: int | None = None
    status: int = 0
    code: str = ""
    fault: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    deleted_meta: dict[str, str] | None = None


class RequestLog:
    """The latest `size` requests; `dropped` counts the older requests that were discarded."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=size)
        self.dropped = 0

    @property
    def size(self) -> int:
        """How many requests are kept."""
        return self._entries.maxlen or 0

    def add(self, entry: LoggedRequest) -> None:
        """Log a request; when the log is full, discard the oldest."""
        with self._lock:
            if len(self._entries) == self._entries.maxlen:
                self.dropped += 1
            self._entries.append(entry)

    def resize(self, size: int) -> None:
        """Change how many requests are kept; discard the oldest if there are more."""
        with self._lock:
            self.dropped += max(0, len(self._entries) - size)
            self._entries = deque(self._entries, maxlen=size)

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._entries.clear()
            self.dropped = 0

    def select(
        self,
        *,
        bucket: str | None = None,
        key: str | None = None,
        operation: str | None = None,
    ) -> list[LoggedRequest]:
        """The logged requests with this bucket, key and operation; None matches all."""
        with self._lock:
            entries = list(self._entries)
        return [
            entry
            for entry in entries
            if (bucket is None or entry.bucket == bucket)
            and (key is None or entry.key == key)
            and (operation is None or entry.operation == operation)
        ]
