"""Reads the CPU time and the peak memory of processes from /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The CPU time and the peak memory of one process."""

    name: str
    cpu_seconds: float
    peak_bytes: int


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
