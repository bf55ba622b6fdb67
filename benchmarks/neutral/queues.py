"""SQS in its JSON protocol: the operations that a poller needs, and sending.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import hashlib
import heapq
import itertools
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from benchmarks.neutral.connection import Connection, Request
from benchmarks.neutral.contents import KeyRange

if TYPE_CHECKING:
    from benchmarks.neutral.server import Server

_TYPE = "Content-Type: application/x-amz-json-1.0\r\n"
_VISIBILITY_SECONDS = 30
_BATCH = 10


@dataclass(slots=True)
class _Message:
    number: int
    body: str  # as a JSON string, quoted and escaped
    md5: str
    sent_ms: int
    received: int = 0
    hidden_until: float = 0.0  # by the loop's clock; only meaningful while in flight


@dataclass(slots=True)
class _WaitingReceive:
    connection: Connection
    wanted: int
    visibility_seconds: float
    is_over: bool = False


@dataclass
class _Queue:
    visible: deque[_Message] = field(default_factory=deque)
    in_flight: dict[int, _Message] = field(default_factory=dict)
    deadlines: list[tuple[float, int]] = field(default_factory=list)
    waiting: deque[_WaitingReceive] = field(default_factory=deque)
    deleted: int = 0


class Queues:
    """Queues by name; a queue exists as soon as a request names it."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._queues: dict[str, _Queue] = {}
        self._numbers = itertools.count(1)
        self._operations: dict[str, Callable[[_Queue, dict[str, Any]], dict[str, Any]]] = {
            "DeleteMessage": self._delete_one,
            "DeleteMessageBatch": self._delete,
            "ChangeMessageVisibilityBatch": self._change_visibility,
            "SendMessage": self._send_one,
            "SendMessageBatch": self._send_batch,
            "GetQueueAttributes": self._attributes,
        }

    def handle(self, target: str, request: Request, connection: Connection) -> None:
        """Answer one operation, or keep a receive waiting."""
        parameters = json.loads(request.body.data or b"{}")
        queue = self.queue(str(parameters.get("QueueUrl", "")).rpartition("/")[2])
        name = target.rpartition(".")[2]
        if name == "ReceiveMessage":
            self._receive(queue, parameters, connection)
        elif operation := self._operations.get(name):
            connection.answer(200, json.dumps(operation(queue, parameters)).encode(), headers=_TYPE)
        else:
            connection.answer(400, b'{"__type":"InvalidAction"}', headers=_TYPE)

    def queue(self, name: str) -> _Queue:
        return self._queues.setdefault(name, _Queue())

    def purge(self, name: str) -> None:
        """Remove all messages; waiting receives continue to wait."""
        queue = self.queue(name)
        queue.visible.clear()
        queue.in_flight.clear()
        queue.deadlines.clear()
        queue.deleted = 0

    def state(self, name: str) -> dict[str, int]:
        """How many messages are visible, in flight and deleted."""
        queue = self.queue(name)
        self._show_expired(queue)
        return {
            "visible": len(queue.visible),
            "in_flight": len(queue.in_flight),
            "deleted": queue.deleted,
        }

    def announce(
        self, name: str, bucket: str, keys: KeyRange, *, first: int, per_second: float
    ) -> None:
        """Queue an event for each key from `first` on, all now or `per_second`."""
        queue = self.queue(name)
        if not per_second:
            self._send(queue, [_event(bucket, keys, n) for n in range(first, keys.count)])
            return
        began, loop = self._server.loop.time(), self._server.loop
        for n in range(first, keys.count):
            event = _event(bucket, keys, n)
            loop.call_at(began + (n - first) / per_second, self._send, queue, [event])

    def _send(self, queue: _Queue, bodies: list[str]) -> list[_Message]:
        sent_ms = time.time_ns() // 1_000_000
        sent = [
            _Message(next(self._numbers), json.dumps(body), _md5(body), sent_ms) for body in bodies
        ]
        queue.visible.extend(sent)
        self._deliver(queue)
        return sent

    def _receive(self, queue: _Queue, parameters: dict[str, Any], connection: Connection) -> None:
        waiting = _WaitingReceive(
            connection,
            min(int(parameters.get("MaxNumberOfMessages", 1)), _BATCH),
            float(parameters.get("VisibilityTimeout", _VISIBILITY_SECONDS)),
        )
        queue.waiting.append(waiting)
        self._deliver(queue)
        if not waiting.is_over:
            seconds = float(parameters.get("WaitTimeSeconds", 0))
            self._wait(queue, waiting, until=self._server.loop.time() + seconds)

    def _wait(self, queue: _Queue, waiting: _WaitingReceive, *, until: float) -> None:
        """Retry when a message becomes visible again, and answer empty when the time is up."""
        loop = self._server.loop
        if not waiting.is_over:
            self._deliver(queue)
        if waiting.is_over:
            return
        if loop.time() < until:
            next_try = min(until, queue.deadlines[0][0]) if queue.deadlines else until
            loop.call_at(next_try, lambda: self._wait(queue, waiting, until=until))
        else:
            waiting.is_over = True
            queue.waiting.remove(waiting)
            waiting.connection.answer(200, b"{}", headers=_TYPE)

    def _deliver(self, queue: _Queue) -> None:
        """Answer waiting receives with the visible messages."""
        self._show_expired(queue)
        while queue.visible and queue.waiting:
            waiting = queue.waiting.popleft()
            waiting.is_over = True
            if waiting.connection.is_lost:
                continue
            hidden_until = self._server.loop.time() + waiting.visibility_seconds
            taken = [
                queue.visible.popleft() for _ in range(min(waiting.wanted, len(queue.visible)))
            ]
            for message in taken:
                message.received += 1
                self._hide(queue, message, hidden_until)
            answer = f'{{"Messages":[{",".join(map(_as_received, taken))}]}}'
            waiting.connection.answer(200, answer.encode(), headers=_TYPE)

    def _hide(self, queue: _Queue, message: _Message, until: float) -> None:
        message.hidden_until = until
        queue.in_flight[message.number] = message
        heapq.heappush(queue.deadlines, (until, message.number))

    def _show_expired(self, queue: _Queue) -> None:
        """Make messages visible again whose visibility timeout is over."""
        now = self._server.loop.time()
        while queue.deadlines and queue.deadlines[0][0] <= now:
            until, number = heapq.heappop(queue.deadlines)
            message = queue.in_flight.get(number)
            if message is not None and message.hidden_until == until:
                queue.visible.append(queue.in_flight.pop(number))

    def _delete(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        for entry in parameters["Entries"]:
            self._delete_one(queue, entry)
        return {
            "Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]],
            "Failed": [],
        }

    def _delete_one(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        number = int(parameters["ReceiptHandle"].partition("-")[0])
        if queue.in_flight.pop(number, None) is not None:
            queue.deleted += 1
        return {}

    def _change_visibility(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        now = self._server.loop.time()
        for entry in parameters["Entries"]:
            number = int(entry["ReceiptHandle"].partition("-")[0])
            message = queue.in_flight.get(number)
            if message is not None:
                self._hide(queue, message, now + float(entry["VisibilityTimeout"]))
        self._deliver(queue)
        return {
            "Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]],
            "Failed": [],
        }

    def _send_one(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        (message,) = self._send(queue, [parameters["MessageBody"]])
        return {"MessageId": f"neutral-{message.number}", "MD5OfMessageBody": message.md5}

    def _send_batch(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        entries = parameters["Entries"]
        sent = self._send(queue, [entry["MessageBody"] for entry in entries])
        successful = [
            {
                "Id": entry["Id"],
                "MessageId": f"neutral-{message.number}",
                "MD5OfMessageBody": message.md5,
            }
            for entry, message in zip(entries, sent, strict=True)
        ]
        return {"Successful": successful, "Failed": []}

    def _attributes(self, queue: _Queue, parameters: dict[str, Any]) -> dict[str, Any]:
        self._show_expired(queue)
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(len(queue.visible)),
                "ApproximateNumberOfMessagesNotVisible": str(len(queue.in_flight)),
                "ApproximateNumberOfMessagesDelayed": "0",
                "VisibilityTimeout": str(_VISIBILITY_SECONDS),
                "MessageRetentionPeriod": "345600",
            }
        }


def _as_received(message: _Message) -> str:
    return (
        f'{{"MessageId":"neutral-{message.number}",'
        f'"ReceiptHandle":"{message.number}-{message.received}",'
        f'"MD5OfBody":"{message.md5}","Body":{message.body},'
        f'"Attributes":{{"SentTimestamp":"{message.sent_ms}",'
        f'"ApproximateReceiveCount":"{message.received}"}}}}'
    )


def _event(bucket: str, keys: KeyRange, number: int) -> str:
    """S3's notification of a new object.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return (
        '{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-1",'
        f'"eventTime":"{now}","eventName":"ObjectCreated:Put",'
        '"userIdentity":{"principalId":"AWS:EXAMPLE"},'
        '"requestParameters":{"sourceIPAddress":"127.0.0.1"},'
        f'"responseElements":{{"x-amz-request-id":"{number:016X}","x-amz-id-2":"neutral"}},'
        '"s3":{"s3SchemaVersion":"1.0","configurationId":"s3sync",'
        f'"bucket":{{"name":"{bucket}","ownerIdentity":{{"principalId":"EXAMPLE"}},'
        f'"arn":"arn:aws:s3:::{bucket}"}},'
        f'"object":{{"key":"{quote_plus(keys.key(number), safe="/")}",'
        f'"size":{keys.size_bytes(number)},"sequencer":"{number:016X}"}}}}}}]}}'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
