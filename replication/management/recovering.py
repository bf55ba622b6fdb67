"""What `recover` says: how far the recoveries are, and what each rule had lost."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from replication.management.sweeping import DIFFERENT, EQUAL, UNKNOWN, finding_line, summary
from replication.models import FindingState, Sweep, SweepFinding, SweepState
from replication.sweep import reporting
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict

SHOWN = 20  # keys that were not mended


@dataclass(frozen=True)
class Recovered:
    """A recovery of a rule that has ended, or waits for a person; its sweep has the rule loaded."""

    sweep: Sweep

    @property
    def status(self) -> int:
        """The exit status of this rule alone."""
        if self.sweep.state != SweepState.COMPLETED or self.sweep.unknown:
            return UNKNOWN
        return DIFFERENT if reporting.open_differences(self.sweep) else EQUAL

    @property
    def not_mended(self) -> QuerySet[SweepFinding]:
        """The keys that still differ, and can be mended by a person only."""
        left = self.sweep.findings.filter(
            state=FindingState.CONFIRMED,
            verdict__in=[Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA],
        )
        left = left.exclude(cause__in=[Cause.FOREIGN, Cause.KEPT])
        return left.exclude(~Q(verdict=Verdict.EXTRA), cause=Cause.OLDER).order_by("key")

    @property
    def older(self) -> int:
        """How many keys are missing or different because they are older than the rule."""
        return (
            self.sweep.findings.filter(state=FindingState.CONFIRMED, cause=Cause.OLDER)
            .exclude(verdict=Verdict.EXTRA)
            .count()
        )

    def as_json(self) -> dict[str, Any]:
        """For machines: the report of the sweep, and what is left to a person."""
        return reporting.as_json(self.sweep) | {
            "since": self.sweep.since.isoformat() if self.sweep.since else None,
            "mended": dict(self._mended()),
            "older_than_the_rule": self.older,
            "not_mended": [reporting.finding_as_json(one) for one in self.not_mended.iterator()],
        }

    def lines(self) -> Iterator[str]:
        """For a person: what had been lost, and what is to be done."""
        sweep, name = self.sweep, self.sweep.rule.name
        lost, mended = reporting.lost_by(sweep), self._mended()
        yield (
            f"Rule {name}: {lost['keys']:,} changes had been lost. Copied: "
            f"{mended[Verdict.MISSING] + mended[Verdict.DIFFERENT]:,} objects; looked at, and "
            f"deleted if the rule says so: {mended[Verdict.EXTRA]:,} replicas."
        )
        if lost["keys"]:
            by_hour = {hour: one["lost"] for hour, one in lost["by_hour"].items()}
            yield f"  changed at (UTC): {_counted(by_hour)}"
            yield f"  in: {_counted(lost['by_folder'])}"
        if left := self.not_mended.count():
            yield f"  {left:,} keys still differ; look at **Failures** in the admin:"
            yield from (f"    {finding_line(one)}" for one in self.not_mended[:SHOWN])
            if left > SHOWN:
                yield f"    ... all of them: `manage.py sweeps --findings {sweep.pk}`"
        if older := self.older:
            yield (
                f"  {older:,} keys are older than the rule. If they are to be copied: `manage.py "
                f"backfill {name}`"
            )
        if sweep.unknown:
            yield f"  {sweep.unknown:,} keys could not be compared."
        if sweep.state != SweepState.COMPLETED:
            yield (
                f"  The comparison is {sweep.get_state_display()}: {sweep.error or sweep.waits_for}"
                f" Then go on: `manage.py sweeps --resume {sweep.pk}`"
            )
        elif sweep.error:
            yield f"  {sweep.error}"
        yield f"  {summary(sweep, reporting.open_differences(sweep))}"

    def _mended(self) -> Counter[str]:
        mended = self.sweep.findings.filter(state=FindingState.MENDED)
        return Counter(mended.values_list("verdict", flat=True))


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())
