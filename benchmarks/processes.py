"""What processes used, from /proc: CPU time, and memory at its peak."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Use:
    """Of one process since it began."""

    name: str
    cpu_seconds: float
    peak_bytes: int


class Group:
    """The processes of a process group, also those that have ended since they were last seen.

    `look` often: what an ended process used after the last look is not counted.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._seen: dict[int, Use] = {}
        self._at_start: dict[int, float] = {}

    def start(self) -> None:
        """Count from now on; memory peaks, too."""
        self._seen = {}
        for pid in self._pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM starts again
            except OSError:
                continue
        self.look()
        self._at_start = {pid: use.cpu_seconds for pid, use in self._seen.items()}

    def look(self) -> None:
        """Note what each has used by now."""
        for pid in self._pids():
            if (use := use_of(pid)) is not None:
                self._seen[pid] = use

    def used(self) -> dict[int, Use]:
        """Since the start, by process id; those that did nothing are left out."""
        return {
            pid: Use(use.name, use.cpu_seconds - self._at_start.get(pid, 0.0), use.peak_bytes)
            for pid, use in self._seen.items()
            if use.cpu_seconds > self._at_start.get(pid, 0.0)
        }

    def peak_bytes(self) -> int:
        """Of the process that had most."""
        return max(use.peak_bytes for use in self._seen.values())

    def _pids(self) -> Iterator[int]:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(entry.name)) == self._group:
                    yield int(entry.name)
            except ProcessLookupError:
                continue


def use_of(pid: int) -> Use | None:
    """None if it has ended."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    ticks = sum(map(int, rest.split()[11:13]))  # utime and stime
    peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return Use(name.partition("(")[2], ticks / _TICKS_PER_SECOND, int(peak.split()[1]) * 1024)
