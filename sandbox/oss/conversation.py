"""Parses, executes and answers one request after another on a client's connection."""

import contextlib
import math
import socket
import threading
import time

from sandbox.oss import control, names, permissions, routing
from sandbox.oss.body import Body
from sandbox.oss.dates import http_date
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange
from sandbox.oss.faults import FiredFault
from sandbox.oss.http import (
    REASONS,
    Answer,
    BadRequestError,
    ClientGoneError,
    Connection,
    RequestHead,
)
from sandbox.oss.operations import OPERATIONS
from sandbox.oss.requestlog import LoggedRequest
from sandbox.oss.service import Service

WITHOUT_BODY = (204, 304)
READ_AHEAD_SECONDS = 0.01


class InjectedResetError(Exception):
    """A fault resets the connection."""


class Conversation:
    """The requests and answers on one connection."""

    def __init__(self, service: Service, sock: socket.socket, peer: str) -> None:
        self._service = service
        self._connection = Connection(sock)
        self._peer = peer

    def run(self) -> None:
        """Serve requests until the client closes the connection, or the server must close it."""
        with contextlib.suppress(ClientGoneError):
            try:
                while not self._service.stopping.is_set():
                    head = self._connection.read_head()
                    if head is None or not self._handle(head):
                        return
            except BadRequestError as error:
                self._refuse(str(error))

    def _handle(self, head: RequestHead) -> bool:
        """Answer one request; False if the connection must be closed."""
        service = self._service
        body = Body(self._connection, head)
        bucket, raw_key = routing.bucket_and_key(head, service.store.buckets)
        if bucket == routing.CONTROL_BUCKET:
            return control.handle(service, self._connection, head, body, self._peer)
        entry = LoggedRequest(service.next_request_id(), head.method)
        entry.bucket, entry.key = bucket, raw_key.decode("utf-8", "replace")
        service.in_flight.begin(entry, self._connection)
        try:
            answer = self._execute(self._parse(entry, head, body, raw_key), entry)
        except OssError as error:
            entry.code = error.code
            answer = _error_answer(error, head, entry.request_id)
        except InjectedResetError:
            entry.code = "ConnectionReset"
            self._log(entry)
            self._connection.reset()
            return False
        except (ClientGoneError, BadRequestError) as error:
            entry.code = "ClientGone" if isinstance(error, ClientGoneError) else "BadRequest"
            self._log(entry)
            raise
        entry.status = answer.status
        self._log(entry)
        return self._send(answer, head, body, entry)

    def _parse(
        self, entry: LoggedRequest, head: RequestHead, body: Body, raw_key: bytes
    ) -> Exchange:
        service = self._service
        bucket, key = entry.bucket, entry.key
        entry.upload_id = head.query.get("uploadId")
        part_number = head.query.get("partNumber", "")
        if part_number.isascii() and part_number.isdigit():
            entry.part_number = int(part_number)
        if bucket:
            names.check_bucket_name(bucket)
        if raw_key:
            key = names.check_object_name(raw_key)
        now = service.clock.now()
        entry.key_id = self._authenticate(head, bucket=bucket, key=key, now=now)
        entry.operation = routing.operation(head, bucket=bucket, key=key)
        return Exchange(
            head=head,
            body=body,
            operation=entry.operation,
            bucket_name=bucket,
            key=key,
            key_id=entry.key_id,
            store=service.store,
            clock=service.clock,
            region=service.region,
            folder=service.folder,
            spill_bytes=service.spill_bytes,
            entry=entry,
        )

    def _authenticate(self, head: RequestHead, *, bucket: str, key: str, now: float) -> str | None:
        """The id of the sender's access key; OSS looks for the bucket first, then for the key."""
        try:
            return self._service.verifier.authenticate(head, bucket=bucket, key=key, now=now)
        except OssError as error:
            is_creation = head.method == "PUT" and not key
            if error.code == "InvalidAccessKeyId" and bucket and not is_creation:
                self._service.store.bucket(bucket)
            raise

    def _execute(self, exchange: Exchange, entry: LoggedRequest) -> Answer:
        fired = self._service.faults.fire(
            method=entry.method, bucket=entry.bucket, key=entry.key, operation=entry.operation
        )
        if fired is None:
            return self._perform(exchange)
        entry.fault, fault = fired.fault_id, fired.fault
        exchange.body.bytes_per_second = fault.bytes_per_second
        if fault.when == "before":
            self._inject(fired)
        answer = self._perform(exchange)
        if fault.when == "after":
            self._inject(fired)
        crc64 = answer.headers.get("x-oss-hash-crc64ecma")
        if fault.wrong_crc and crc64 is not None:
            answer.headers["x-oss-hash-crc64ecma"] = str(int(crc64) ^ 1)
        answer.bytes_per_second = fault.bytes_per_second
        answer.truncate_bytes = fault.truncate_bytes
        return answer

    def _perform(self, exchange: Exchange) -> Answer:
        permissions.check(
            self._service.denials,
            exchange.store,
            key_id=exchange.key_id,
            bucket=exchange.bucket_name,
            key=exchange.key,
            operation=exchange.operation,
            headers=exchange.headers,
        )
        answer = OPERATIONS[exchange.operation](exchange)
        exchange.entry.carried_out_monotonic = time.monotonic()
        return answer

    def _inject(self, fired: FiredFault) -> None:
        fault = fired.fault
        if fault.hold:
            with self._service.faults.holding():
                self._pause(fired.cleared)
        if fault.delay_seconds:
            self._pause(self._service.stopping, seconds=fault.delay_seconds)
        if fault.reset:
            raise InjectedResetError
        error = fault.error()
        if error is not None:
            raise error

    def _pause(self, end: threading.Event, *, seconds: float = math.inf) -> None:
        """Wait until `end` or for these seconds; meanwhile take in what the client sends.

        Otherwise the end of a connection would stay unseen behind bytes that nobody reads.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._connection.read_ahead()
            if end.wait(min(left, READ_AHEAD_SECONDS)):
                return

    def _log(self, entry: LoggedRequest) -> None:
        entry.bytes_in = self._connection.received_bytes
        entry.ended_monotonic = time.monotonic()
        entry.ended_at = time.time()
        self._service.in_flight.end(entry)
        self._service.log.add(entry)

    def _send(self, answer: Answer, head: RequestHead, body: Body, entry: LoggedRequest) -> bool:
        """Send the answer; False if the connection must be closed."""
        has_body = head.method != "HEAD" and answer.status not in WITHOUT_BODY
        wants_close = head.headers.get("connection", "").lower() == "close"
        must_close = wants_close or not body.can_be_drained
        block = self._head_block(answer, entry, must_close=must_close)
        # Set before sending: a client that has read the answer must find its size in the log.
        entry.bytes_out = answer.declared_bytes if has_body else 0
        is_whole = False
        try:
            is_whole = self._connection.send_answer(block, answer if has_body else Answer())
        finally:
            if not is_whole:
                entry.bytes_out = max(0, self._connection.sent_bytes - len(block))
        if must_close or not is_whole or not body.drain():
            if not body.is_read:
                self._connection.linger()
            return False
        return True

    def _head_block(self, answer: Answer, entry: LoggedRequest, *, must_close: bool) -> bytes:
        took_ms = int((entry.ended_monotonic - entry.started_monotonic) * 1000)
        lines = [
            f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Unknown')}",
            "Server: AliyunOSS",
            f"Date: {http_date(int(self._service.clock.now()))}",
            f"Connection: {'close' if must_close else 'keep-alive'}",
            f"x-oss-request-id: {entry.request_id}",
            f"x-oss-server-time: {took_ms}",
        ]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in WITHOUT_BODY:
            lines.append(f"Content-Length: {answer.declared_bytes}")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def _refuse(self, message: str) -> None:
        """Answer bytes that are not a request; the connection is closed afterwards."""
        request_id = self._service.next_request_id()
        error = OssError("InvalidRequest", message, status=400)
        answer = Answer(400, {}, error.xml(request_id=request_id, host=""))
        self._connection.send_answer(
            b"HTTP/1.1 400 Bad Request\r\nServer: AliyunOSS\r\nConnection: close\r\n"
            b"Content-Type: application/xml\r\nx-oss-request-id: %s\r\nContent-Length: %d\r\n\r\n"
            % (request_id.encode(), answer.declared_bytes),
            answer,
        )
        self._connection.linger()


def _error_answer(error: OssError, head: RequestHead, request_id: str) -> Answer:
    host = head.headers.get("host", "")
    headers = {"Content-Type": "application/xml", "x-oss-ec": error.ec, **error.headers}
    if head.method == "HEAD":
        headers["x-oss-err"] = error.as_header(request_id=request_id, host=host)
        return Answer(error.status, headers)
    return Answer(error.status, headers, error.xml(request_id=request_id, host=host))
