"""Measures the CPU time and the peak memory of processes."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The CPU time and the peak memory of one process."""

    name: str
    cpu_seconds: float
    peak_bytes: int


class ProgramError(RuntimeError):
    """A program failed or was too slow; the message has the end of its output."""


@dataclass(frozen=True)
class Run:
    """The figures of one run of a program, from its start to its end."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_to_end(
    command: Sequence[str | Path],
    *,
    name: str,
    environment: dict[str, str],
    log: Path,
    timeout_seconds: float,
    in_child: Callable[[], None] | None = None,
) -> Run:
    """Run a program once, with its output in the log.

    Raises:
        ProgramError: it failed, or did not finish in time.
    """
    with log.open("wb") as sink:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=in_child,  # noqa: PLW1509  it only calls libc
        )
        limit = threading.Timer(timeout_seconds, process.kill)
        limit.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    if process.returncode:
        raise ProgramError(
            f"{name} exited with {process.returncode} after {seconds:.0f} s:\n"
            f"{log.read_text(errors='replace')[-2000:]}"
        )
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


class Group:
    """The processes of a process group, including those that have ended.

    Call `sample` often: what a process uses between its last sample and its end is not counted.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._seen: dict[int, Usage] = {}
        self._at_start: dict[int, float] = {}

    def start(self) -> None:
        """Start counting CPU time and memory peaks."""
        self._seen = {}
        for pid in self._pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM
            except OSError:
                continue
        self.sample()
        self._at_start = {pid: usage.cpu_seconds for pid, usage in self._seen.items()}

    def sample(self) -> None:
        """Record the usage of each process so far."""
        for pid in self._pids():
            if (usage := usage_of(pid)) is not None:
                self._seen[pid] = usage

    def usage(self) -> dict[int, Usage]:
        """The usage since the start by process id, without processes that used no CPU time."""
        return {
            pid: Usage(each.name, each.cpu_seconds - self._at_start.get(pid, 0.0), each.peak_bytes)
            for pid, each in self._seen.items()
            if each.cpu_seconds > self._at_start.get(pid, 0.0)
        }

    def peak_bytes(self) -> int:
        """The highest peak memory of a process."""
        return max(usage.peak_bytes for usage in self._seen.values())

    def _pids(self) -> Iterator[int]:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(entry.name)) == self._group:
                    yield int(entry.name)
            except ProcessLookupError:
                continue


def usage_of(pid: int) -> Usage | None:
    """The usage of a process since it began; None if it has ended."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    ticks = sum(map(int, rest.split()[11:13]))  # utime and stime
    peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return Usage(name.partition("(")[2], ticks / _TICKS_PER_SECOND, int(peak.split()[1]) * 1024)
