"""Reports the figures of a sitting, as Markdown tables and as JSON."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Series:
    """Repeated measurements of one figure."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        return {
            "median": _rounded(self.median),
            "low": _rounded(min(self.values)),
            "high": _rounded(max(self.values)),
            "runs": [_rounded(value) for value in self.values],
        }

    def __str__(self) -> str:
        if len(self.values) == 1:
            return _shown(self.median)
        return f"{_shown(self.median)} ({_shown(min(self.values))}–{_shown(max(self.values))})"


@dataclass(frozen=True)
class Check:
    """A figure with a bound, which it must meet, or an aim, which it need not meet, or both."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it has a bound, not only an aim."""
        return self.at_least is not None or self.at_most is not None

    @property
    def is_met(self) -> bool:
        if self.at_least is not None and self.value < self.at_least:
            return False
        return self.at_most is None or self.value <= self.at_most

    @property
    def is_aim_met(self) -> bool | None:
        """Whether the figure meets the aim; None if there is no aim."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most is not None else self.value >= self.aim

    def as_json(self) -> dict[str, Any]:
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        return {
            "name": self.name,
            "value": _rounded(self.value),
            **{name: bound for name, bound in bounds.items() if bound is not None},
            "is_met": self.is_met,
        }

    def aim_as_json(self) -> dict[str, Any]:
        value = _rounded(self.value)
        return {"name": self.name, "value": value, "aim": self.aim, "is_met": self.is_aim_met}

    def __str__(self) -> str:
        wanted = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        wanted += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        aim = "" if self.aim is None else f"{self.aim:g}{' ✓' if self.is_aim_met else ''}"
        if self.is_bounded:
            wanted.append("✓" if self.is_met else "**missed**")
        return f"| {self.name} | {_shown(self.value)} | {' '.join(wanted)} | {aim} |"


@dataclass
class Row:
    """One kind of work: the figures of each subject by name, and the checks of the figures.

    A subject is a tool or a variant of the set-up. `ratio_of` names the figure for which the table
    shows the ratio of s3sync to each peer.
    """

    title: str
    figures: dict[str, dict[str, Series]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ratio_of: str = ""

    def add(self, subject: str, **values: float) -> None:
        """Add the figures of one more run."""
        figures = self.figures.setdefault(subject, {})
        for name, value in values.items():
            figures[name] = Series([*(figures[name].values if name in figures else []), value])

    def median(self, subject: str, name: str) -> float:
        return self.figures[subject][name].median

    def ratio(self, peer: str) -> float:
        """The ratio of s3sync's median to the peer's median."""
        return self.median("s3sync", self.ratio_of) / self.median(peer, self.ratio_of)

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            subject: {name: series.as_json() for name, series in figures.items()}
            for subject, figures in self.figures.items()
        }
        for peer in self._peers_with_ratio():
            shown[peer]["ratio_of_ours_to_it"] = _rounded(self.ratio(peer))
        checks = [check.as_json() for check in self.checks if check.is_bounded]
        aims = [check.aim_as_json() for check in self.checks if check.aim is not None]
        return {**shown, "checks": checks, "aims": aims}

    def as_markdown(self) -> str:
        names = list(dict.fromkeys(name for one in self.figures.values() for name in one))
        headings = [name.replace("_", " ") for name in names]
        ratio_heading = ["s3sync / peer"] if self.ratio_of else []
        lines = [
            f"| | {' | '.join(headings + ratio_heading)} |",
            f"|---|{'---:|' * len(headings + ratio_heading)}",
        ]
        ratios = {peer: f"{self.ratio(peer):.2f}" for peer in self._peers_with_ratio()}
        for subject, figures in self.figures.items():
            cells = [str(figures[name]) if name in figures else "" for name in names]
            cells += [ratios.get(subject, "")] if self.ratio_of else []
            lines.append(f"| {subject} | {' | '.join(cells)} |")
        checks = ["| | value | must be | aim |", "|---|---:|---|---|", *map(str, self.checks)]
        parts = [f"## {self.title}", "\n".join(lines), "\n".join(checks)]
        return "\n\n".join([*parts, *self.notes])

    def _peers_with_ratio(self) -> list[str]:
        if not self.ratio_of:
            return []
        return [
            subject
            for subject, figures in self.figures.items()
            if subject != "s3sync" and self.ratio_of in figures
        ]


def as_json(rows: Mapping[str, Row], about: Mapping[str, str]) -> str:
    """The content of `benchmarks/results.json`."""
    document = {"about": about, "rows": {name: row.as_json() for name, row in rows.items()}}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_markdown(rows: Mapping[str, Row], about: Mapping[str, str]) -> str:
    """The content of `benchmarks/RESULTS.md`."""
    missed = [f"{name}: {check.name}" for name, check in missed_checks(rows)]
    verdict = f"Missed: {'; '.join(missed)}." if missed else "All bounds are met."
    machine = "\n".join(f"- {what}: {value}" for what, value in about.items())
    parts = [_INTRODUCTION, machine, verdict, *(row.as_markdown() for row in rows.values())]
    return "\n\n".join(parts) + "\n"


def missed_checks(rows: Mapping[str, Row]) -> list[tuple[str, Check]]:
    """The checks whose bound is not met, with the names of their rows."""
    return [(name, check) for name, row in rows.items() for check in row.checks if not check.is_met]


def about_this_machine() -> dict[str, str]:
    """The facts about this machine that the figures depend on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `make bench`",
        "machine": f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GB of memory",
        "system": f"Linux {platform.release()}, Python {platform.python_version()} "
        f"({sys.base_prefix}, {platform.python_compiler()})",
    }


_INTRODUCTION = """# s3sync compared with juicefs and rclone

`make bench` writes this page. All tools run in one sitting on one machine, in turns, in several
rounds. Each figure is a median, followed by the lowest and the highest value; a ratio is a ratio
of medians. Source, destination and queue are the neutral stand-ins of `benchmarks/neutral`, on
loopback. After each run, both buckets are compared by key, size and CRC-64.

s3sync is the service as it ships: PostgreSQL with fsync, and a `qcluster` with a poller and 2 lanes
of at most 32 places, or with the settings' defaults where a row says “as shipped”. Its time runs
from the first event in the queue to the last settled job; its CPU is the CPU of its lanes'
processes. A peer's time and CPU are those of its process from start to end. “50 ms” is the round
trip to the source and its queue, and also to the destination."""


def _rounded(value: float) -> float:
    return round(value, 4 if abs(value) < 100 else 1)


def _shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
