"""Sample sweeps: a scrub that found lost changes, and a backfill under way with every verdict."""

from datetime import timedelta

from django.utils import timezone

from replication.models import (
    FindingState,
    ReplicationRule,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepSlice,
    SweepState,
)
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict


def make_scrub(rule: ReplicationRule, *, odd_key: str) -> Sweep:
    """A scrub that ended two hours ago, with two lost changes."""
    now = timezone.now()
    sweep = Sweep.objects.create(
        rule=rule,
        kind=SweepKind.SCRUB,
        mends=True,
        state=SweepState.COMPLETED,
        rule_version=1,
        began_at=now - timedelta(hours=3),
        listed_at=now - timedelta(hours=2, minutes=30),
        ended_at=now - timedelta(hours=2),
        source_keys=1000,
        replica_keys=998,
        source_requests=1,
        destination_requests=1,
        equal=998,
        missing=2,
        lost=2,
        ordered=2,
    )
    SweepSlice.objects.create(sweep=sweep, is_done=True, keys=1000)
    for number, key in enumerate((odd_key, "2026/11/30/IMG_4200.jpg")):
        make_finding(
            sweep,
            rule.source_prefix + key,
            Verdict.MISSING,
            Cause.LOST,
            FindingState.MENDED,
            modified=(now - timedelta(hours=5 + number)).isoformat(),
        )
    return sweep


def make_backfill(rule: ReplicationRule, *, keys: list[str]) -> Sweep:
    """A backfill under way, some of whose slices fail, with findings of these keys."""
    now = timezone.now()
    sweep = Sweep.objects.create(
        rule=rule,
        kind=SweepKind.BACKFILL,
        mends=True,
        rule_version=rule.version,
        began_at=now - timedelta(hours=1),
        requests_per_second=40,
        samples=[[now.timestamp() - 10 * at, 1_920_400 - 3000 * at] for at in range(90)],
        source_keys=1_920_400,
        source_bytes=7_100_000_000_000,
        replica_keys=1_879_326,
        source_requests=1921,
        destination_requests=61_880,
        throttles=3,
        equal=1_879_180,
        plausible=18_160,
        missing=41_093,
        missing_bytes=267_200_000_000,
        different=127,
        extra=19,
        refused=4,
        archived=12,
        ordered=41_120,
        ordered_unkept=41_000,
        lost=4,
        error="503 SlowDown (source): reduce your request rate.",
    )
    for number in range(40):
        SweepSlice.objects.create(
            sweep=sweep,
            after_key=f"invoices/{number:02}",
            until_key=f"invoices/{number + 1:02}" if number < 39 else None,
            cursor=f"invoices/{number:02}/Rechnung 4711.pdf" if number < 30 else "",
            is_done=number < 24,
            failures=2 * (number == 25),
            error="503 SlowDown (source): reduce your request rate." if number == 25 else "",
            held_by="worker-1" if 25 < number < 30 else "",
            held_until=now + timedelta(seconds=50) if 25 <= number < 30 else None,
            keys=48_000 if number < 30 else 0,
            pages=96,
        )
    kinds = [
        (Verdict.MISSING, Cause.RECENT, FindingState.SEEN),
        (Verdict.MISSING, Cause.LOST, FindingState.MENDED),
        (Verdict.DIFFERENT, Cause.CHANGED_SINCE, FindingState.MENDED),
        (Verdict.DIFFERENT, Cause.FAILED, FindingState.CONFIRMED),
        (Verdict.EXTRA, Cause.FOREIGN, FindingState.CONFIRMED),
        (Verdict.REFUSED, None, FindingState.CONFIRMED),
        (Verdict.ARCHIVED, None, FindingState.CONFIRMED),
        (Verdict.MISSING, Cause.LOST, FindingState.GONE),
    ]
    for number, key in enumerate(keys):
        verdict, cause, state = kinds[number % len(kinds)]
        modified = (now - timedelta(hours=number)).isoformat()
        make_finding(sweep, rule.source_prefix + key, verdict, cause, state, modified=modified)
    return sweep


def make_finding(
    sweep: Sweep,
    key: str,
    verdict: Verdict = Verdict.MISSING,
    cause: Cause | None = Cause.LOST,
    state: FindingState = FindingState.CONFIRMED,
    *,
    modified: str = "2026-11-30T08:00:00.000Z",
) -> SweepFinding:
    """A finding as a sweep leaves it."""
    is_extra = verdict is Verdict.EXTRA
    return SweepFinding.objects.create(
        sweep=sweep,
        key=key,
        verdict=verdict.value,
        cause=cause.value if cause else "",
        code="destination_refused" if cause is Cause.FAILED else "",
        state=state,
        is_ordered=state == FindingState.MENDED,
        source_size=None if is_extra else 48_213,
        source_etag="" if is_extra else "9a0364b9e99bb480dd25e1f0284c8555",
        source_modified="" if is_extra else modified,
        replica_size=48_213 if verdict in {Verdict.EXTRA, Verdict.DIFFERENT} else None,
    )
