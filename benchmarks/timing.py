"""Measures the times of repeated calls, and formats them as lines of a report."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the report, in milliseconds unless `unit` says otherwise."""

    what: str
    values: list[float]
    goal: str = ""
    is_met: bool | None = None
    unit: str = "ms"
    note: str = ""

    def row(self) -> str:
        shown = [percentile(self.values, share) for share in (0.5, 0.99)] + [max(self.values)]
        if len(self.values) == 1:
            cells = ["", "", f"{shown[2]:.1f} {self.unit}"]
        else:
            cells = [f"{value:.1f}" for value in shown]
        verdict = {None: "", True: " ✓", False: " **missed**"}[self.is_met]
        what = f"{self.what} ({self.note})" if self.note else self.what
        return f"| {what} | {len(self.values)} | {' | '.join(cells)} | {self.goal}{verdict} |"


@dataclass
class Stopwatch:
    """Collects the time of each call made through it, in milliseconds."""

    times_ms: list[float] = field(default_factory=list)

    def __call__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments, **options)
        self.times_ms.append((time.perf_counter() - began) * 1000)
        return result


def percentile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
