"""The stand-in as a server: one thread accepts, and each connection has its own thread."""

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from sandbox.oss.conversation import Conversation
from sandbox.oss.requestlog import DEFAULT_SIZE
from sandbox.oss.service import Service

SPILL_BYTES = 1 << 20
BACKLOG = 1024
STOP_SECONDS = 5.0


class OssServer(Service):
    """A context manager that runs a strict stand-in for Alibaba Cloud OSS.

    `keys` maps access key ids to secrets. `buckets` are made at the start. Bodies above
    `spill_bytes` go to files in `data_dir` (by default a temporary folder). `v4_only` refuses V1
    signatures. `is_lenient` takes user metadata and tags beyond ASCII. `log_size` is the size of
    the request log.
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, str],
        buckets: Sequence[str] = (),
        region: str = "cn-hangzhou",
        host: str = "127.0.0.1",
        port: int = 0,
        data_dir: Path | None = None,
        spill_bytes: int = SPILL_BYTES,
        v4_only: bool = False,
        is_lenient: bool = False,
        log_size: int = DEFAULT_SIZE,
    ) -> None:
        super().__init__(
            keys=keys,
            buckets=buckets,
            region=region,
            spill_bytes=spill_bytes,
            v4_only=v4_only,
            is_lenient=is_lenient,
            log_size=log_size,
        )
        self._address = (host, port)
        self._data_dir = data_dir
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    def __enter__(self) -> "OssServer":
        """Start the server; `endpoint` is known from now on."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def endpoint(self) -> str:
        """The URL for clients that put the bucket into the path, as oss2 does for IP addresses."""
        return f"http://{self._address[0]}:{self.port}"

    def start(self) -> None:
        """Listen and answer on threads; raises OSError if the address is in use."""
        self._listener = socket.create_server(self._address, backlog=BACKLOG)
        if self._data_dir is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="oss-stand-in-", dir=self._data_dir))
        self._start_thread(threading.Thread(target=self._accept, name="oss-accept", daemon=True))

    def stop(self) -> None:
        """Close all connections, end all threads, remove all files."""
        self.stopping.set()
        self.clear_faults()
        # close() alone does not wake the thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            self._sockets.add(sock)
            if self.stopping.is_set():
                sock.close()
                return
            self._start_thread(
                threading.Thread(
                    target=self._serve, args=(sock, peer[0]), name="oss-connection", daemon=True
                )
            )

    def _serve(self, sock: socket.socket, peer: str) -> None:
        try:
            Conversation(self, sock, peer).run()
        finally:
            sock.close()
            self._sockets.discard(sock)
            self._threads.discard(threading.current_thread())

    def _start_thread(self, thread: threading.Thread) -> None:
        self._threads.add(thread)
        thread.start()
