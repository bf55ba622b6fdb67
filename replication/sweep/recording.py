"""Records a batch of a slice: the cursor, the counts, the findings and the jobs, together."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models.functions import Now

from replication import jobs
from replication.jobs import JobOrder
from replication.models import (
    FindingState,
    JobOrigin,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepSlice,
    SweepState,
)
from replication.sweep import slices
from replication.sweep.causes import NO_DIFFERENCE, Cause, causes_of, changed
from replication.sweep.comparing import Batch
from replication.sweep.judging import CLOCK_SKEW, DIFFERENCES, Judgement, Verdict

MOST_FINDINGS = 100_000  # kept of a sweep; the counts are of all

_MENDED_BY_KIND = {
    # What a person has seen and left alone is not for a scrub to copy.
    SweepKind.SCRUB: {Cause.LOST, Cause.CHANGED_SINCE, Cause.FORGOTTEN},
    SweepKind.BACKFILL: {*Cause} - NO_DIFFERENCE - {Cause.FAILED},
    SweepKind.RECONCILE: {*Cause} - NO_DIFFERENCE,
    # A restored database is no reason to copy what was in the bucket before the rule.
    SweepKind.RECOVERY: {*Cause} - NO_DIFFERENCE - {Cause.OLDER},
}


@dataclass(frozen=True)
class Recorded:
    """What a worker must know after a batch."""

    ends_at: str | None  # where the slice ends from now on; None if that has not changed
    pace: slices.Pace
    is_behind: bool  # the lanes can't follow


def record(held: SweepSlice, batch: Batch) -> Recorded:
    """Record a batch of the slice.

    Raises:
        Lost: the slice is not ours any more, its sweep does not run, or its rule was changed.
    """
    sweep = held.sweep
    differing = [one for one in batch.judged if one.verdict in DIFFERENCES]
    listed_since, next_since = held.read_since
    causes = causes_of(sweep.rule, differing, listed_since=listed_since) if differing else {}
    counts = Counter(batch.counts)
    for one in differing:
        cause, _ = causes[one.pair.key]
        if _is_none(sweep, cause):
            recount(counts, one, to="kept" if cause is Cause.KEPT else "under_way")
    found = [one for one in batch.judged if _is_finding(sweep, one, causes)]
    to_mend = {one.pair.key: one for one in found if is_mended(sweep, one, causes)}
    with transaction.atomic():
        ends_at, now = slices.advance(
            held, cursor=batch.cursor, keys=counts["source_keys"], pages=batch.pages
        )
        counts["ordered"] = order_found(sweep, to_mend.values())
        counts.update(_keep(sweep, found, causes, to_mend))
        requests = counts["source_requests"] + counts["destination_requests"]
        pace = slices.count(sweep, counts, requests=requests)
    held.cursor, held.failures, held.read_since = batch.cursor, 0, (next_since, now)
    is_behind = bool(to_mend) and not slices.pending_at_most(sweep.rule_id, slices.MOST_PENDING)
    if is_behind:
        Sweep.objects.filter(pk=sweep.pk).update(waits_for=slices.WAITS_FOR_LANES)
    return Recorded(ends_at, pace, is_behind)


def end_slice(held: SweepSlice) -> None:
    """End a slice. After the last one of its sweep, what differed is looked at again.

    Raises:
        Lost: the slice is not ours any more.
    """
    with transaction.atomic():
        slices.end(held)
        # Locked, so that of two workers that end the last two slices, one sees both ended; last, as
        # everywhere.
        sweep = Sweep.objects.select_for_update().get(pk=held.sweep_id)
        if sweep.state == SweepState.RUNNING and not sweep.slices.filter(is_done=False).exists():
            Sweep.objects.filter(pk=sweep.pk).update(
                state=SweepState.SETTLING, listed_at=Now(), error="", waits_for=""
            )


def recount(counts: Counter[str], one: Judgement, *, to: str) -> None:
    """Count a key that differs as something else."""
    counts[one.verdict] -= 1
    counts[to] += 1
    if one.verdict is not Verdict.EXTRA and one.pair.source is not None:
        counts["missing_bytes"] -= one.pair.source.size_bytes


def is_mended(sweep: Sweep, one: Judgement, causes: Mapping[str, tuple[Cause, str]]) -> bool:
    """Whether the sweep has the key looked at by a job as soon as it is found."""
    if not sweep.mends or one.verdict not in {Verdict.MISSING, Verdict.DIFFERENT}:
        return False
    cause, _ = causes[one.pair.key]
    return cause in _MENDED_BY_KIND[SweepKind(sweep.kind)]


def order_found(sweep: Sweep, found: Collection[Judgement]) -> int:
    """Have these keys looked at by jobs, first those that changed since the time that the sweep
    names. Returns how many jobs were made.
    """
    first = {one.pair.key for one in found if sweep.since and _is_changed(one, sweep.since)}
    return order(sweep, {one.pair.key for one in found}, first=first)


def _is_changed(one: Judgement, since: datetime) -> bool:
    changed_at = changed(one)
    return changed_at is not None and changed_at >= since - CLOCK_SKEW


def order(sweep: Sweep, keys: Collection[str], *, first: Collection[str] = ()) -> int:
    """Have these keys looked at by jobs. Returns how many jobs were made."""
    if not keys:
        return 0
    orders = [JobOrder(sweep.rule_id, key) for key in keys]
    return jobs.enqueue_if_idle(
        orders, origin=JobOrigin.SWEEP, priority=jobs.PRIORITY_SWEEP, first=first
    )


def second_look_at(sweep: Sweep, one: Judgement, cause: Cause) -> datetime:
    """When the key must be settled, whatever was under way when it was listed."""
    now, settles_in = datetime.now(UTC), timedelta(seconds=sweep.settle_seconds)
    changed_at = changed(one)
    # The time of an object that was uploaded in parts is when its upload began.
    is_dated = one.pair.source is not None and "-" not in one.pair.source.etag
    if changed_at is None or not is_dated or cause is Cause.RECENT:
        return now + settles_in
    return max(now, changed_at + settles_in)


def _is_none(sweep: Sweep, cause: Cause) -> bool:
    """Whether the cause makes a difference none. A recovery waits for the jobs that it finds: of
    the backup too, and it is to say whether both sides are equal in the end.
    """
    return cause in NO_DIFFERENCE and not (
        sweep.kind == SweepKind.RECOVERY and cause is Cause.PENDING
    )


def _is_finding(sweep: Sweep, one: Judgement, causes: Mapping[str, tuple[Cause, str]]) -> bool:
    """Whether the key is a finding at all. PostgreSQL has no text with a NUL."""
    if "\0" in one.pair.key:
        return False
    return one.verdict not in DIFFERENCES or not _is_none(sweep, causes[one.pair.key][0])


def _keep(
    sweep: Sweep,
    found: Sequence[Judgement],
    causes: Mapping[str, tuple[Cause, str]],
    ordered: Collection[str],
) -> Counter[str]:
    """Keep the first findings of a sweep for a second look. Returns what is counted at once."""
    rows, counts = [], Counter[str]()
    for one in found:
        cause, code = causes.get(one.pair.key, (None, ""))
        if cause is Cause.OLDER and one.pair.key in ordered:
            counts["ordered_unkept"] += 1  # a backfill is there to copy it
            continue
        rows.append(as_finding(sweep, one, cause, code, is_ordered=one.pair.key in ordered))
    if not rows:
        return counts
    kept = SweepFinding.objects.filter(sweep=sweep)[:MOST_FINDINGS].count()
    unkept = rows[max(0, MOST_FINDINGS - kept) :]
    counts["unkept_findings"] = len(unkept)
    counts["ordered_unkept"] += sum(row.is_ordered for row in unkept)
    counts["lost"] = sum(row.cause == Cause.LOST for row in unkept)
    # A key may be found once more, by the slice that goes on after a worker was killed.
    SweepFinding.objects.bulk_create(rows[: len(rows) - len(unkept)], ignore_conflicts=True)
    return counts


def as_finding(
    sweep: Sweep, one: Judgement, cause: Cause | None, code: str, *, is_ordered: bool
) -> SweepFinding:
    """The row of a finding. What is no difference needs no second look."""
    finding = SweepFinding(
        sweep=sweep,
        key=one.pair.key,
        verdict=one.verdict.value,
        cause=cause.value if cause else "",
        code=code,
        is_ordered=is_ordered,
        found_at=TransactionNow(),  # when its job is enqueued, which an event may join
        state=FindingState.CONFIRMED if cause is None else FindingState.SEEN,
        look_at=second_look_at(sweep, one, cause) if cause else None,
    )
    describe(finding, one)
    return finding


def describe(finding: SweepFinding, one: Judgement) -> None:
    """Note what the last look saw of both sides."""
    source, replica = one.pair.source, one.pair.replica
    finding.reason = one.reason.replace("\0", "")
    finding.source_size = source.size_bytes if source else None
    finding.source_etag = source.etag if source else ""
    finding.source_modified = source.modified if source else ""
    finding.replica_size = replica.size_bytes if replica else None
    finding.replica_etag = replica.etag if replica else ""
    finding.replica_modified = replica.modified if replica else ""
