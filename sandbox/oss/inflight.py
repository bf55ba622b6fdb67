"""The requests that are being answered; tells which of them their clients have broken off."""

import threading
import time
from typing import Protocol

from sandbox.oss.requestlog import LoggedRequest


class Client(Protocol):
    """The other end of a connection."""

    def is_gone(self) -> bool:
        """Whether it has closed the connection."""


class InFlight:
    """The requests that have begun and not ended, by bucket and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], list[tuple[LoggedRequest, Client]]] = {}

    def begin(self, entry: LoggedRequest, client: Client) -> None:
        """Set when the request started, and note which earlier ones of its key are broken off.

        A client that breaks off and then tries again has closed its connection before the new
        request arrives. To look at that moment is exact, however late a thread notices the end.
        """
        with self._lock:
            others = self._requests.setdefault((entry.bucket, entry.key), [])
            for other, other_client in others:
                if not other.client_gone_monotonic and other_client.is_gone():
                    other.client_gone_monotonic = time.monotonic()
            others.append((entry, client))
            entry.started_monotonic, entry.started_at = time.monotonic(), time.time()

    def end(self, entry: LoggedRequest) -> None:
        """Forget the request."""
        place = entry.bucket, entry.key
        with self._lock:
            left = [each for each in self._requests[place] if each[0] is not entry]
            if left:
                self._requests[place] = left
            else:
                del self._requests[place]
