"""The web server: a request reaches a thread only after all of its bytes have arrived.

gunicorn keeps the processes. In each, one loop of waitress reads all connections, and closes those
whose clients are too slow. docs/decisions/web-server.md says why.
"""

import json
import logging
import os
import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import RequestEntityTooLarge

from replication.api import event_bodies

HEAD_SECONDS = 10
REQUEST_SECONDS = 30  # head and body together
# Longer than the 60 s of common load balancers, so that they close an idle connection first.
IDLE_SECONDS = 75
MAX_HEAD_BYTES = 64 * 1024
# More than any endpoint takes: the API's limit is 1 MiB, that of Django's forms 2.5 MiB.
MAX_BODY_BYTES = 3 * 1024**2
MAX_CONNECTIONS = 1000  # of one process
CROWDED = MAX_CONNECTIONS * 9 // 10
GRACE_SECONDS = 30
SILENT_SECONDS = 60  # a process that is silent for so long is replaced

log = structlog.get_logger(__name__)


class StrictParser(HTTPRequestParser):
    """Refuses what waitress lets through: two lengths of a body, and too long a body for the API.

    Proxies may differ about a request with two lengths.
    """

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        if self.path.startswith("/api/") and self.content_length > event_bodies.MAX_BODY_BYTES:
            self.error = RequestEntityTooLarge(event_bodies.TOO_LARGE)
            self.completed = True


class RefusalTask(ErrorTask):
    """The answer to a request that never reaches the application, in the form of the API's own."""

    CODES: ClassVar = {413: "too_large", 431: "head_too_large", 500: "internal_error"}

    def execute(self) -> None:
        error = self.request.error
        self.status = f"{error.code} {error.reason}"
        code = self.CODES.get(error.code, "malformed_request")
        body = json.dumps({"error": code, "detail": error.body}).encode()
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        log.warning(
            "web.refused", status=error.code, reason=error.body, address=self.channel.addr[0]
        )


class LoggedTask(WSGITask):
    """One request in a thread; its line in the log is the access log."""

    def service(self) -> None:
        began = time.monotonic()
        try:
            super().service()
        finally:
            probe = self.request.path in {"/healthz", "/readyz"}
            (log.debug if probe else log.info)(
                "web.answered",
                method=self.request.command,
                path=self.request.path,
                status=int(self.status.split()[0]),
                bytes=self.content_bytes_written,
                seconds=round(time.monotonic() - began, 3),
                address=(self.environ or {}).get("REMOTE_ADDR"),
            )


class Channel(HTTPChannel):
    """A connection, which knows since when its client owes a request or the rest of one."""

    parser_class = StrictParser
    task_class = LoggedTask
    error_task_class = RefusalTask

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.owed_since = time.monotonic()
        self.is_new = True

    def received(self, data: bytes) -> bool:
        before = self.request
        taken: bool = super().received(data)
        if self.request is not before:
            self.owed_since = time.monotonic()
        if self.requests:
            self.is_new = False
        return taken

    @property
    def is_busy(self) -> bool:
        """Whether a request of this connection is carried out, or its answer not yet sent."""
        return bool(self.requests or self.total_outbufs_len)

    def is_too_slow(self, now: float) -> bool:
        """Whether a deadline has passed. Between two requests there is none but waitress's own."""
        if self.request is None:
            return self.is_new and now - self.owed_since > HEAD_SECONDS
        limit = REQUEST_SECONDS if self.request.headers_finished else HEAD_SECONDS
        return now - self.owed_since > limit


class HttpServer(TcpWSGIServer):
    """One listening socket of a process, with the connections that it has accepted."""

    channel_class = Channel

    def maintenance(self, now: float) -> None:
        """Close idle connections, slow ones, and in a crowd those that are owed the longest.

        Called each second.
        """
        super().maintenance(now)
        monotonic = time.monotonic()
        waiting = []
        for channel in self.active_channels.values():
            if channel.is_busy:
                channel.owed_since = monotonic
            elif not channel.will_close:
                waiting.append(channel)
        slow = [channel for channel in waiting if channel.is_too_slow(monotonic)]
        if excess := max(0, len(self.active_channels) - CROWDED):
            slow += sorted(waiting, key=lambda channel: channel.owed_since)[:excess]
        for channel in slow:
            channel.will_close = True
        if slow:
            log.warning(
                "web.slow_clients_closed", connections=len(slow), example_address=slow[0].addr[0]
            )


class WebWorker(Worker):
    """A process of gunicorn in which waitress serves."""

    def run(self) -> None:
        _allow_open_files()
        # It warns of each request that waits a moment for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        sockets = [listener.sock for listener in self.sockets]
        settings = Adjustments(
            sockets=sockets,
            threads=self.cfg.threads,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=1,
            max_request_header_size=MAX_HEAD_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            inbuf_overflow=256 * 1024,
            clear_untrusted_proxy_headers=False,  # s3sync/proxies.py decides
            log_socket_errors=False,
            ident="",
        )
        threads = ThreadedTaskDispatcher()
        threads.set_thread_count(self.cfg.threads)
        connections: dict[int, Any] = {}
        servers = [
            HttpServer(
                self.wsgi,
                connections,
                _sock=socket,
                dispatcher=threads,
                adj=settings,
                bind_socket=False,
                sockinfo=(socket.family, socket.type, socket.proto, socket.getsockname()),
            )
            for socket in sockets
        ]
        while self.alive and self.ppid == os.getppid():
            self._turn(connections)
        for server in servers:
            wasyncore.dispatcher.close(server)  # accepts no more
        deadline = time.monotonic() + GRACE_SECONDS
        while (open_channels := _channels(servers)) and time.monotonic() < deadline:
            for channel in open_channels:
                if not channel.is_busy and channel.request is None:
                    channel.will_close = True
            self._turn(connections)
            for server in servers:
                server.maintenance(time.time())
        threads.shutdown()

    def _turn(self, connections: dict[int, Any]) -> None:
        self.notify()
        wasyncore.loop(timeout=1, use_poll=True, map=connections, count=1)


def _channels(servers: list[HttpServer]) -> list[Channel]:
    return [channel for server in servers for channel in server.active_channels.values()]


def _allow_open_files() -> None:
    """Raise this process's soft limit, often 1,024, to what its connections may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 4 * MAX_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


class JsonLog(Logger):
    """gunicorn's own lines, in the format of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class WebServer(BaseApplication):
    """All processes of the web server; `run` returns when they have ended."""

    def __init__(self, *, bind: str, processes: int, threads: int) -> None:
        memory = Path("/dev/shm")  # noqa: S108  gunicorn writes heartbeats there
        self._options = {
            "bind": bind,
            "workers": processes,
            "threads": threads,
            "worker_class": WebWorker,
            "logger_class": JsonLog,
            "worker_tmp_dir": str(memory) if memory.is_dir() else None,
            "control_socket_disable": True,
            "timeout": SILENT_SECONDS,
            "graceful_timeout": GRACE_SECONDS + 5,
            "proc_name": "s3sync-web",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application, imported in each process by itself."""
        from s3sync.wsgi import application  # noqa: PLC0415

        return application
