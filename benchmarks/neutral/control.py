"""The control API of the stand-in. JSON at `/-/…`:

| request | what it does |
|---|---|
| `POST /-/fill` | adds keys to a `bucket`: `prefix`, `count`, `size` or `sizes` [a, b] |
| `POST /-/announce` | puts their events into `queue`: also `first`, `per_second`; start time |
| `DELETE /-/buckets?bucket=…` | empties a bucket |
| `GET /-/digest?bucket=…` | objects, bytes and a sum that is equal for equal buckets |
| `GET`, `DELETE /-/counts` | requests by kind, bytes, own CPU time since the reset; resets |
| `GET`, `DELETE /-/queues?queue=…` | messages visible, in flight, deleted; purges the queue |
| `POST /-/delay` | sets the round-trip time, `ms` |
"""

import json
import time
from typing import TYPE_CHECKING, Any

from benchmarks.neutral.connection import Connection, Request
from benchmarks.neutral.contents import KeyRange

if TYPE_CHECKING:
    from benchmarks.neutral.server import Server


class Control:
    """Answers control requests without the delay, and does not count them."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def handle(self, request: Request, connection: Connection) -> None:
        """Carry out a control request; answer 400 with the reason if it is invalid."""
        try:
            parameters: dict[str, Any] = {**request.query, **json.loads(request.body.data or b"{}")}
            answer = self._answer(f"{request.method} {request.path[3:]}", parameters)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}\n"
            connection.answer(400, reason.encode(), at_once=True)
        else:
            connection.answer(200, json.dumps(answer).encode() + b"\n", at_once=True)

    def _answer(self, operation: str, parameters: dict[str, Any]) -> object:
        server = self._server
        match operation:
            case "POST fill":
                server.objects.bucket(parameters["bucket"]).ranges.append(_keys(parameters))
            case "POST announce":
                began_at = time.time()
                server.queues.announce(
                    parameters["queue"],
                    parameters["bucket"],
                    _keys(parameters),
                    first=parameters.get("first", 0),
                    per_second=parameters.get("per_second", 0),
                )
                return {"began_at": began_at}
            case "DELETE buckets":
                server.objects.empty(parameters["bucket"])
            case "GET digest":
                return server.objects.bucket(parameters["bucket"]).digest()
            case "GET counts":
                return server.counts.report()
            case "DELETE counts":
                server.counts = type(server.counts)()
            case "GET queues":
                return server.queues.state(parameters["queue"])
            case "DELETE queues":
                server.queues.purge(parameters["queue"])
            case "POST delay":
                server.delay_seconds = parameters["ms"] / 1000
            case _:
                raise ValueError(f"unknown operation: {operation}")
        return {}


def _keys(parameters: dict[str, Any]) -> KeyRange:
    smallest, largest = parameters.get("sizes") or (parameters["size"], parameters["size"])
    count = parameters.get("first", 0) + parameters["count"]
    return KeyRange(parameters["prefix"], count, smallest, largest)
