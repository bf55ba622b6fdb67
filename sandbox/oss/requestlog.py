"""What was asked of the stand-in, the latest requests of it, in order of their ends."""

import threading
from collections import deque
from dataclasses import dataclass

DEFAULT_SIZE = 20_000


@dataclass(slots=True)
class LoggedRequest:
    """One request.

    `started_*` is when its head had arrived, `ended_*` when its answer was ready and before
    the first byte of it left: a client that waits for an answer before it sends the next
    request never sees the two overlap here. Monotonic times are of the server's process.
    `status` is 0 where the client left before an answer, or was thrown out by a fault, whose id
    is `fault`. `bytes_in` and `bytes_out` count bodies.
    """

    request_id: str
    method: str
    started_monotonic: float
    started_at: float
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


class RequestLog:
    """A ring of the latest `size` requests; `dropped` counts those that fell out."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=size)
        self.dropped = 0

    @property
    def size(self) -> int:
        """How many requests are kept."""
        return self._entries.maxlen or 0

    def add(self, entry: LoggedRequest) -> None:
        """Keep one more."""
        with self._lock:
            if len(self._entries) == self._entries.maxlen:
                self.dropped += 1
            self._entries.append(entry)

    def resize(self, size: int) -> None:
        """Keep `size` requests from now on, of the present ones the latest."""
        with self._lock:
            self.dropped += max(0, len(self._entries) - size)
            self._entries = deque(self._entries, maxlen=size)

    def clear(self) -> None:
        """Forget all."""
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
        """The kept requests that are of this bucket, key and operation."""
        with self._lock:
            entries = list(self._entries)
        return [
            entry
            for entry in entries
            if (bucket is None or entry.bucket == bucket)
            and (key is None or entry.key == key)
            and (operation is None or entry.operation == operation)
        ]
