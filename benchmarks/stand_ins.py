"""Starts and controls the neutral servers of a sitting: see benchmarks/neutral."""

import http.client
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child
from sandbox.server import Server

SOURCE_BUCKET = "src"
DESTINATION_BUCKET = "dst"
QUEUE = "events"

_LISTENING = re.compile(r"neutral listening on (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True)
class Keys:
    """Objects PREFIX0000000, PREFIX0000001 …, with sizes between the two in `sizes`."""

    prefix: str
    count: int
    sizes: tuple[int, int]
    bucket: str = SOURCE_BUCKET

    def key(self, number: int) -> str:
        return f"{self.prefix}{number:07d}"


class Neutral(Server):
    """`python -m benchmarks.neutral` as a process, on a loopback port, at `url`."""

    def _start(self) -> None:
        self._child = Child(
            [sys.executable, "-m", "benchmarks.neutral"],
            log=self.directory / "neutral.log",
            cwd=REPOSITORY,
            env={"PATH": os.defpath},
        )
        self.child.await_ready(
            self._is_listening, advice="Run it on its own: python -m benchmarks.neutral"
        )

    def _is_listening(self) -> bool:
        found = _LISTENING.search(self.child.log.read_text(errors="replace"))
        if found:
            self.url = found[1]
        return found is not None

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def queue_url(self) -> str:
        return f"{self.url}/queue/{QUEUE}"

    def fill(self, keys: Keys) -> None:
        """Add the keys to their bucket."""
        self._ask("POST", "fill", asdict(keys))

    def empty(self, bucket: str) -> None:
        self._ask("DELETE", f"buckets?bucket={bucket}")

    def announce(self, keys: Keys, *, first: int = 0, per_second: float = 0) -> float:
        """Put an event for each key from `first` on into the queue.

        With `per_second`, events arrive at that rate, otherwise all at once. Returns the time at
        which the first event was put there, in seconds of this host's clock.
        """
        count = keys.count - first
        order = {**asdict(keys), "count": count, "first": first, "per_second": per_second}
        began_at: float = self._ask("POST", "announce", {**order, "queue": QUEUE})["began_at"]
        return began_at

    def put(self, key: str, content: bytes, *, bucket: str = SOURCE_BUCKET) -> None:
        """Write one object."""
        self._send("PUT", f"/{bucket}/{key}", content)

    def delete(self, key: str, *, bucket: str = SOURCE_BUCKET) -> None:
        """Delete one object."""
        self._send("DELETE", f"/{bucket}/{key}", None)

    def purge(self) -> None:
        """Remove all messages from the queue."""
        self._ask("DELETE", f"queues?queue={QUEUE}")

    def messages(self) -> dict[str, int]:
        """How many messages are visible, in flight and deleted."""
        answer: dict[str, int] = self._ask("GET", f"queues?queue={QUEUE}")
        return answer

    def digest(self, bucket: str) -> dict[str, int]:
        """The number of objects, their bytes, and a checksum of keys, sizes and CRC-64s."""
        answer: dict[str, int] = self._ask("GET", f"digest?bucket={bucket}")
        return answer

    def delay(self, milliseconds: float) -> None:
        """Set the round-trip time that the server simulates."""
        self._ask("POST", "delay", {"ms": milliseconds})

    def reset_counts(self) -> None:
        self._ask("DELETE", "counts")

    def requests(self) -> dict[str, int]:
        """The number of requests by kind since the last reset."""
        answer: dict[str, int] = self._ask("GET", "counts")["requests"]
        return answer

    def _ask(self, method: str, path: str, payload: object = None) -> Any:
        content = json.dumps(payload).encode() if payload else None
        return json.loads(self._send(method, f"/-/{path}", content))

    def _send(self, method: str, path: str, content: bytes | None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, content)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status not in {200, 204}:
            raise RuntimeError(f"the stand-in refused {method} {path}: {body.decode()}")
        return body
