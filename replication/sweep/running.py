"""Carries sweeps on in a cluster, some of the keys at a time, from where the last one stopped.

After each batch, one transaction moves the cursor, adds to the counts and makes the jobs. A cluster
that is killed costs the next one a batch. A cluster that was taken for dead changes nothing more.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from replication import jobs
from replication.cluster import loops
from replication.errors import ReplicationError
from replication.jobs import JobOrder
from replication.models import (
    JobOrigin,
    JobState,
    ReplicationRule,
    SourceKind,
    Sweep,
    SweepKind,
    SweepState,
    TransferJob,
)
from replication.sweep.causes import Cause, causes_of
from replication.sweep.comparing import CantCompare, Tally, compare
from replication.sweep.judging import Judgement, Proof, Verdict
from replication.sweep.reconciling import DIFFERENCES, MENDED_BY_A_LOOK, MOST_PENDING, Finding

log = structlog.get_logger(__name__)

HOLD_SECONDS = 120  # a batch takes a second or two
RETRY_SECONDS = 60  # after a side could not be reached, or while the lanes are behind
SCRUB_PAUSE_SECONDS = 0.2  # between batches: nobody waits for a scrub
MOST_FINDINGS = 100  # kept with the sweep; the counts are of all

_MENDED = {
    # What a person has seen and left alone is not for a scrub to copy.
    SweepKind.SCRUB: {Cause.LOST, Cause.CHANGED_SINCE},
    SweepKind.BACKFILL: {Cause.OLDER, Cause.LOST, Cause.CHANGED_SINCE, Cause.RECENT},
}


class _Lost(Exception):
    """Another cluster carries the sweep on, or a person has cancelled it."""


def start(rule: ReplicationRule, kind: SweepKind) -> Sweep | None:
    """Start a sweep of the rule; None if one of the kind is running."""
    sweep, is_new = Sweep.objects.get_or_create(
        rule=rule,
        kind=kind,
        state=SweepState.RUNNING,
        defaults={"rule_version": rule.version},
    )
    return sweep if is_new else None


def is_due() -> bool:
    """Whether a sweep can be carried on, or a scrub should start."""
    return _free_sweeps().exists() or bool(_rules_to_scrub()[:1])


def carry_on(*, seconds: float) -> None:
    """Start the scrub that is due, if any, and carry sweeps on for this long."""
    for rule in _rules_to_scrub()[:1]:
        start(rule, SweepKind.SCRUB)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and not loops.are_told_to_stop():
        sweep = _hold_one()
        if sweep is None:
            return
        try:
            _carry_on(sweep, ends_at=ends_at)
        except _Lost:
            log.info("sweep.lost", sweep=sweep.pk)
        except ReplicationError as error:
            _release(sweep, error=str(error), seconds=RETRY_SECONDS)
        except CantCompare as error:
            _end(sweep, SweepState.FAILED, error=str(error))


def cancel(sweep: Sweep) -> bool:
    """End the sweep where it is; returns whether it was running."""
    running = Sweep.objects.filter(pk=sweep.pk, state=SweepState.RUNNING)
    return bool(running.update(state=SweepState.CANCELLED, ended_at=Now(), token=F("token") + 1))


# -- what is due ---------------------------------------------------------------------------------


def _rules_to_scrub() -> QuerySet[ReplicationRule]:
    """The rules whose last scrub began long ago; none while another scrub is under way."""
    days = settings.S3SYNC.scrub_days
    scrubs = Sweep.objects.filter(kind=SweepKind.SCRUB)
    if not days or scrubs.filter(state=SweepState.RUNNING).exists():
        return ReplicationRule.objects.none()
    return (
        ReplicationRule.objects.filter(
            enabled=True, paused_at=None, parked_at=None, source__kind=SourceKind.S3
        )
        .annotate(scrubbed_at=Max("sweeps__began_at", filter=Q(sweeps__kind=SweepKind.SCRUB)))
        .filter(Q(scrubbed_at=None) | Q(scrubbed_at__lt=Now() - timedelta(days=days)))
        .order_by(F("scrubbed_at").asc(nulls_first=True))
    )


def _free_sweeps() -> QuerySet[Sweep]:
    """The sweeps that nobody carries on, and whose rule is at work."""
    return Sweep.objects.filter(
        Q(held_until=None) | Q(held_until__lt=Now()),
        state=SweepState.RUNNING,
        rule__enabled=True,
        rule__paused_at=None,
        rule__parked_at=None,
    )


# -- transitions of a sweep ------------------------------------------------------------------------


def _hold_one() -> Sweep | None:
    """Take a sweep to carry on. If its rule was changed meanwhile, a new one takes its place."""
    with transaction.atomic():
        free = _free_sweeps().select_related("rule__source", "rule__destination")
        sweep = free.order_by("began_at").select_for_update(of=("self",), skip_locked=True).first()
        if sweep is None:
            return None
        if sweep.rule_version != sweep.rule.version:
            rule = sweep.rule
            _update(
                sweep, state=SweepState.CANCELLED, ended_at=Now(), error="The rule was changed."
            )
            sweep = Sweep(rule=rule, kind=sweep.kind, rule_version=rule.version)
            sweep.save()
            sweep.refresh_from_db(fields=["cursor", "token"])
        _update(sweep, token=F("token") + 1, held_until=_held_until())
        sweep.token += 1
    return sweep


def _carry_on(sweep: Sweep, *, ends_at: float) -> None:
    """Compare from the cursor on, until the end of the buckets or of the time.

    Raises:
        _Lost: the sweep is not ours any more.
        CantCompare, ReplicationError: see `compare`.
    """
    rule, tally, before = sweep.rule, Tally(), Tally()
    if _has_backlog(rule):
        _release(sweep, seconds=RETRY_SECONDS)
        return
    for judged in compare(rule, tally, after=sweep.cursor):
        _record(sweep, judged, requests=_growth(tally, before))
        before = replace(tally)
        if _has_backlog(rule):
            _release(sweep, seconds=RETRY_SECONDS)
            return
        if time.monotonic() > ends_at or loops.are_told_to_stop():
            _release(sweep)
            return
        if sweep.kind == SweepKind.SCRUB:
            time.sleep(SCRUB_PAUSE_SECONDS)
    _update(sweep, source_requests=F("source_requests") + _growth(tally, before)["source_requests"])
    _end(sweep, SweepState.COMPLETED)


def _record(sweep: Sweep, judged: Sequence[Judgement], *, requests: dict[str, int]) -> None:
    """Count a batch, have what is to be mended looked at, and move the cursor behind it."""
    differing = [one for one in judged if one.verdict in DIFFERENCES]
    causes = causes_of(sweep.rule, differing) if differing else {}
    found = [
        Finding(one, cause, code)
        for one, (cause, code) in ((one, causes[one.pair.key]) for one in differing)
        if cause is not Cause.PENDING
    ]
    to_mend = [
        JobOrder(sweep.rule_id, one.judgement.pair.key)
        for one in found
        if one.judgement.verdict in MENDED_BY_A_LOOK and one.cause in _MENDED[SweepKind(sweep.kind)]
    ]
    verdicts = Counter(one.verdict for one in judged)
    found_verdicts = Counter(one.judgement.verdict for one in found)
    counts = {
        "equal": verdicts[Verdict.EQUAL],
        "plausible": sum(one.proof is Proof.PLAUSIBLE for one in judged),
        "missing": found_verdicts[Verdict.MISSING],
        "different": found_verdicts[Verdict.DIFFERENT],
        "extra": found_verdicts[Verdict.EXTRA],
        "lost": sum(
            one.cause is Cause.LOST and one.judgement.verdict is not Verdict.EXTRA for one in found
        ),
        **requests,
    }
    with transaction.atomic():
        if to_mend:
            counts["ordered"] = jobs.enqueue_if_idle(
                to_mend, origin=JobOrigin.SWEEP, priority=jobs.PRIORITY_SWEEP
            )
        sweep.findings += [one.as_json() for one in found[: MOST_FINDINGS - len(sweep.findings)]]
        _update(
            sweep,
            cursor=_last_storable(judged) or sweep.cursor,
            held_until=_held_until(),
            findings=sweep.findings,
            error="",
            **{name: F(name) + number for name, number in counts.items()},
        )


def _last_storable(judged: Sequence[Judgement]) -> str:
    """The last key without a NUL, which PostgreSQL can't store; empty if each has one."""
    return next((one.pair.key for one in reversed(judged) if "\0" not in one.pair.key), "")


def _growth(tally: Tally, before: Tally) -> dict[str, int]:
    """What listing has cost since `before`, by the names of a sweep's fields."""
    names = ("source_keys", "replica_keys", "source_requests", "destination_requests")
    return {name: getattr(tally, name) - getattr(before, name) for name in names}


def _has_backlog(rule: ReplicationRule) -> bool:
    """Whether the lanes are behind with what sweeps have found."""
    pending = TransferJob.objects.filter(rule=rule, state=JobState.PENDING, origin=JobOrigin.SWEEP)
    return pending.count() >= MOST_PENDING


def _release(sweep: Sweep, *, error: str = "", seconds: float = 0) -> None:
    """Leave the sweep to whoever takes it next, not before so many seconds."""
    free_at = Now() + timedelta(seconds=seconds) if seconds else None
    _update(sweep, held_until=free_at, error=error)


def _end(sweep: Sweep, state: SweepState, *, error: str = "") -> None:
    _update(sweep, state=state, ended_at=Now(), held_until=None, error=error)
    log.info("sweep.ended", rule=sweep.rule.name, kind=sweep.kind, state=state.value, error=error)


def _update(sweep: Sweep, **fields: Any) -> None:
    """Change the sweep if it is still ours.

    Raises:
        _Lost: it is not.
    """
    ours = Sweep.objects.filter(pk=sweep.pk, token=sweep.token, state=SweepState.RUNNING)
    if not ours.update(**fields):
        raise _Lost


def _held_until() -> CombinedExpression:
    return Now() + timedelta(seconds=HOLD_SECONDS)
