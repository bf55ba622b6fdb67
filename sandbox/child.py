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

# Linux hands out ports from 32768 up for outgoing connections (macOS from 49152). A client that
# keeps dialling a stopped server up there can be given the very port it dials, connect to itself
# and so keep the server from coming back.
_PORTS = range(20_000, 32_768)

# The kernel counts the *thread* that started a child as its parent: one that lasts as long as the
# process starts them all, so that a server restarted from a short-lived thread lives on.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-spawner")

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class StartError(RuntimeError):
    """A server did not come up; the message holds the end of its log and what to do."""


class Child:
    """One running child process.

    It gets `stop_signal` from `stop` and, on Linux, when its parent dies in whatever way. On other
    systems a parent that is killed with SIGKILL leaves it running.
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
                    # Ctrl-C in a terminal reaches the parent alone, which stops them in order.
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
        """Ask `is_ready` until it says yes.

        StartError with `advice`, and the child stopped, if it ends by itself or the time runs out.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while not is_ready():
                if not self.is_running():
                    raise StartError(f"{self.name} ended:\n{self.log_tail()}\n{advice}")
                if time.monotonic() > deadline:
                    raise StartError(f"{self.name} does not answer:\n{self.log_tail()}\n{advice}")
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise

    def stop(self, with_signal: signal.Signals | None = None, *, grace_seconds: float = 10) -> None:
        """End the child and wait for it; SIGKILL once `grace_seconds` are over."""
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
    """Call `start` with a loopback port, and with another one if someone else was quicker there.

    A StartError that has other reasons is passed on.
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
