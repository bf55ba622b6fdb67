"""What the harness tells the stand-in, and asks it. JSON at `/-/…`:

| request | what it does |
|---|---|
| `POST /-/fill` | adds keys to a `bucket`: `prefix`, `count`, `size` or `sizes` [a, b] |
| `POST /-/announce` | an event for each into `queue`: the same, `first`, `per_second`; says when |
| `DELETE /-/buckets?bucket=…` | empties a bucket |
| `GET /-/digest?bucket=…` | objects, bytes and a sum that is equal for equal buckets |
| `GET`, `DELETE /-/counts` | requests by kind, bytes, own CPU time since the reset; resets |
| `GET`, `DELETE /-/queues?queue=…` | messages that are visible, in flight, deleted; purges |
| `POST /-/delay` | `ms` |
"""

import json
import time
from typing import TYPE_CHECKING, Any

from benchmarks.neutral.connection import Connection, Request
from benchmarks.neutral.contents import KeyRange

if TYPE_CHECKING:
    from benchmarks.neutral.server import Server


class Control:
    """Answers at once, delay or not, and does not count itself."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def handle(self, request: Request, connection: Connection) -> None:
        """Do as told; 400 with the reason where that can't be done."""
        try:
            asked: dict[str, Any] = {**request.query, **json.loads(request.body.data or b"{}")}
            answer = self._answer(f"{request.method} {request.path[3:]}", asked)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}\n"
            connection.answer(400, reason.encode(), at_once=True)
        else:
            connection.answer(200, json.dumps(answer).encode() + b"\n", at_once=True)

    def _answer(self, what: str, asked: dict[str, Any]) -> object:
        server = self._server
        match what:
            case "POST fill":
                server.objects.bucket(asked["bucket"]).ranges.append(_keys(asked))
            case "POST announce":
                began_at = time.time()
                server.queues.announce(
                    asked["queue"],
                    asked["bucket"],
                    _keys(asked),
                    first=asked.get("first", 0),
                    per_second=asked.get("per_second", 0),
                )
                return {"began_at": began_at}
            case "DELETE buckets":
                server.objects.empty(asked["bucket"])
            case "GET digest":
                return server.objects.bucket(asked["bucket"]).digest()
            case "GET counts":
                return server.counts.report()
            case "DELETE counts":
                server.counts = type(server.counts)()
            case "GET queues":
                return server.queues.state(asked["queue"])
            case "DELETE queues":
                server.queues.purge(asked["queue"])
            case "POST delay":
                server.delay_seconds = asked["ms"] / 1000
            case _:
                raise ValueError(f"there is no {what}")
        return {}


def _keys(asked: dict[str, Any]) -> KeyRange:
    smallest, largest = asked.get("sizes") or (asked["size"], asked["size"])
    return KeyRange(asked["prefix"], asked.get("first", 0) + asked["count"], smallest, largest)
