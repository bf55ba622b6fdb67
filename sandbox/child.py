"""A child process logs to a file and never outlives its parent."""

import ctypes
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Linux assigns ports from 32768 up to outgoing connections (macOS from 49152). A client that keeps
# dialling a stopped server's port in that range can be assigned the same port, connect to itself,
# and so keep the server from coming back.
_PORTS = range(20_000, 32_768)

# The kernel regards the *thread* that started a child as its parent. One thread that lasts as long
# as the process starts all children, so that a server restarted from a short-lived thread survives.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class StartError(RuntimeError):
    """A server did not start; the message has the end of its log and says what to do."""


class Child:
    """One running child process.

    `stop` sends it `stop_signal`. On Linux the kernel sends it too, as soon as the parent dies for
    any reason. On other systems a parent that is killed with SIGKILL leaves the child running.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        user: pwd.struct_passwd | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._stop_signal = stop_signal
        parent_pid = os.getpid()

        def die_with_parent() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, int(stop_signal))
                if os.getppid() != parent_pid:
                    os._exit(1)

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as sink:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    user=user and user.pw_uid,
                    group=user and user.pw_gid,
                    extra_groups=[] if user else None,
                    # Ctrl-C in a terminal reaches the parent alone, which stops its children in
                    # order.
                    process_group=0,
                    preexec_fn=die_with_parent,  # noqa: PLW1509  prctl acts on its caller
                )

        self._process = _SPAWNER.submit(spawn).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def await_ready(
        self, is_ready: Callable[[], bool], *, advice: str, timeout_seconds: float = 30
    ) -> None:
        """Poll `is_ready` until it returns True.

        If the child exits or the time runs out, stop the child and raise StartError with `advice`.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while not is_ready():
                if not self.is_running():
                    raise StartError(f"{self.name} exited:\n{self.log_tail()}\n{advice}")
                if time.monotonic() > deadline:
                    raise StartError(f"{self.name} does not answer:\n{self.log_tail()}\n{advice}")
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise

    def stop(self, with_signal: signal.Signals | None = None, *, grace_seconds: float = 10) -> None:
        """Signal the child and wait for it to exit; send SIGKILL after `grace_seconds`."""
        if not self.is_running():
            return
        self._process.send_signal(with_signal or self._stop_signal)
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """The last 40 lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


def on_a_free_port(start: Callable[[int], None]) -> None:
    """Call `start` with a free loopback port, and again if another process took the port first.

    A StartError with another cause is raised.
    """
    while True:
        port = random.choice(_PORTS)
        if not _is_free(port):
            continue
        try:
            return start(port)
        except StartError:
            if _is_free(port):
                raise


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
