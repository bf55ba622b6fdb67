"""What `recover` says: how far the recoveries are, and what each rule had lost."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from replication.errors import ReplicationError
from replication.jobs import aborting
from replication.management.sweeping import DIFFERENT, EQUAL, UNKNOWN, finding_line
from replication.models import FindingState, Sweep, SweepFinding, SweepState
from replication.operations import stale_uploads
from replication.sweep import reporting
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict
from replication.sweep.recording import MOST_FINDINGS

SHOWN = 20  # keys that were not mended


@dataclass(frozen=True)
class Recovered:
    """A recovery of a rule that has ended, or waits for a person; its sweep has the rule loaded."""

    sweep: Sweep
    uploads: str  # what is to be said of unfinished uploads; empty if there are none

    @property
    def status(self) -> int:
        """The exit status of this rule alone."""
        is_open = self.sweep.unknown or self.sweep.under_way
        if self.sweep.state != SweepState.COMPLETED or is_open:
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
            "uploads": self.uploads,
            "not_mended": [reporting.finding_as_json(one) for one in self.not_mended.iterator()],
        }

    def lines(self) -> Iterator[str]:
        """For a person: what had been lost, and what is to be done."""
        sweep, name = self.sweep, self.sweep.rule.name
        lost, mended = reporting.lost_by(sweep), self._mended()
        yield (
            f"Rule {name}. Changes that had been lost: {lost['keys']:,}. Copied since: "
            f"{mended[Verdict.MISSING] + mended[Verdict.DIFFERENT]:,}, deleted since: "
            f"{mended[Verdict.EXTRA]:,}."
        )
        if lost["keys"]:
            by_hour = {hour: one["lost"] for hour, one in lost["by_hour"].items()}
            yield f"  changed at (UTC): {_counted(by_hour)}"
            yield f"  in: {_counted(lost['by_folder'])}"
        if sweep.unkept_findings:
            yield (
                f"  Keys that differed beyond the first {MOST_FINDINGS:,}, and are not in these "
                f"numbers: {sweep.unkept_findings:,}"
            )
        if left := self.not_mended.count():
            yield f"  Keys that still differ: {left:,}"
            yield from (f"    {finding_line(one)}" for one in self.not_mended[:SHOWN])
            if left > SHOWN:
                yield f"    ... all of them: `manage.py sweeps --findings {sweep.pk}`"
        if older := self.older:
            yield (
                f"  Keys that differ and are older than the rule: {older:,}. If they are to be "
                f"copied: `manage.py backfill {name}`"
            )
        if sweep.under_way:
            yield (
                f"  Keys that differ and whose job does not get through, or waits for a person: "
                f"{sweep.under_way:,}. See /status/"
            )
        if sweep.unknown:
            yield f"  Keys that could not be compared: {sweep.unknown:,}"
        if sweep.state != SweepState.COMPLETED:
            yield (
                f"  The comparison is {sweep.get_state_display()}: {sweep.error or sweep.waits_for}"
                f" Once that is mended, go on: `manage.py sweeps --resume {sweep.pk}`"
            )
        elif sweep.error:
            yield f"  {sweep.error}"
        if self.uploads:
            yield f"  {self.uploads}"
        plausible = (
            f" Plausible ones among the equal: {sweep.plausible:,}; `manage.py reconcile {name} "
            "--level head` proves them."
            if sweep.plausible
            else ""
        )
        yield (
            f"  Compared: {sweep.source_keys:,} keys at the source, {sweep.replica_keys:,} at the "
            f"destination. Differences that are left: {reporting.open_differences(sweep):,}."
            f"{plausible}"
        )

    def _mended(self) -> Counter[str]:
        mended = self.sweep.findings.filter(state=FindingState.MENDED)
        return Counter(mended.values_list("verdict", flat=True))


def unrecorded_uploads(sweep: Sweep, *, aborts: bool) -> str:
    """What is to be said of unfinished uploads that the database has lost; with `aborts`, they are
    left to the clusters to abort.
    """
    assert sweep.since is not None
    rule, bucket = sweep.rule, sweep.rule.destination.bucket
    try:
        found = stale_uploads.unrecorded(rule, began_from=sweep.since, began_until=sweep.began_at)
    except ReplicationError as error:
        return (
            f"Unfinished uploads in the bucket {bucket} could not be listed: {error} OSS bills "
            "their parts. Grant oss:ListMultipartUploads, or see docs/guides/restore.md."
        )
    if not found:
        return ""
    if aborts:
        for one in found:
            aborting.note(rule.destination, destination_key=one.key, upload_id=one.upload_id)
        return f"Unfinished uploads that are aborted within minutes: {len(found):,}"
    keys = ", ".join(repr(one.key) for one in found[:SHOWN])
    return (
        f"Unfinished uploads in the bucket {bucket} that began since the backup and are of no job; "
        f"OSS bills their parts: {len(found):,} ({keys}). See docs/guides/restore.md."
    )


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())
