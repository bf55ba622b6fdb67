"""Passes each request to the part that answers it, and counts the requests by kind."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.neutral.connection import Body, Connection, Request
from benchmarks.neutral.control import Control
from benchmarks.neutral.objects import Objects
from benchmarks.neutral.queues import Queues


@dataclass
class Counts:
    """Counts since the last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    cpu_at_reset: float = field(default_factory=time.process_time)

    def report(self) -> dict[str, object]:
        total = sum(self.requests.values())
        cpu_seconds = time.process_time() - self.cpu_at_reset
        return {
            "requests": dict(self.requests),
            "total": total,
            "connections": self.connections,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "cpu_seconds": round(cpu_seconds, 4),
            "cpu_us_per_request": round(cpu_seconds / total * 1e6, 1) if total else None,
        }


class Server:
    """The stand-in, for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, delay_ms: float = 0) -> None:
        self.loop = loop
        self.delay_seconds = delay_ms / 1000
        self.counts = Counts()
        self.objects = Objects(self)
        self.queues = Queues(self)
        self._control = Control(self)

    def begin(self, request: Request) -> None:
        """The head has arrived: give the request the kind of body that it needs."""
        if request.method in ("GET", "HEAD", "DELETE"):
            return
        if request.method == "PUT" and not request.path.startswith("/-/"):
            # The MD5 of a part is not needed.
            request.body = Body(md5="partNumber" not in request.query)
        else:
            request.body = Body(whole=True)

    def finish(self, request: Request, connection: Connection) -> None:
        """The body has arrived: answer the request."""
        if request.path.startswith("/-/"):
            self._control.handle(request, connection)
        elif request.method == "POST" and (target := request.header(b"x-amz-target")):
            self._count(target.rpartition(".")[2])
            self.queues.handle(target, request, connection)
        else:
            self._count(self.objects.handle(request, connection))

    def _count(self, kind: str) -> None:
        self.counts.requests[kind] += 1
