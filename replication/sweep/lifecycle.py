"""Starts, pauses, resumes and ends sweeps, and says which scrub is due."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from replication.cluster import loops
from replication.models import (
    UNENDED,
    FindingState,
    LoopKind,
    ReplicationRule,
    SourceKind,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepSlice,
    SweepState,
)

SCRUB_REQUESTS_PER_SECOND = 10.0  # to each side: ten million keys in 17 minutes
TOLD_AFTER_END = timedelta(days=2)  # longer than the longest time until a second look
GAVE_WAY = "It gave way to a sweep that a person asked for, and starts anew after that one."
# What a sweep is to do, and a new one after an edit of its rule too.
LIMITS = ("requests_per_second", "window_from", "window_until", "most_requests")
OPTIONS = (
    *("kind", "level", "prefix", "since", "mends", "mends_extras", "settle_seconds"),
    *LIMITS,
)


class CantStart(Exception):
    """A sweep can't start; the text says why, and what to do."""


def start(rule: ReplicationRule, kind: SweepKind, **options: Any) -> Sweep:
    """Start a sweep. A scrub of the rule gives way to it.

    Args:
        options: of OPTIONS; the others have their defaults, which the settings say for
            `settle_seconds`.

    Raises:
        CantStart: another sweep of the rule is under way, or the rule can't be swept.
    """
    check(rule, kind, prefix=options.get("prefix", ""))
    with transaction.atomic():
        if kind != SweepKind.SCRUB:
            cancel(Sweep.objects.filter(rule=rule, kind=SweepKind.SCRUB), why=GAVE_WAY)
        try:
            with transaction.atomic():
                return _create(rule, kind=kind, **options)
        except IntegrityError as error:
            other = Sweep.objects.filter(rule=rule, state__in=UNENDED).first()
            if other is None:
                raise
            raise CantStart(
                f"A {other.kind} of rule {rule.name} is {other.get_state_display()} (sweep "
                f"{other.pk}): wait for its end, or cancel it with `manage.py sweeps --cancel "
                f"{other.pk}`."
            ) from error


def check(rule: ReplicationRule, kind: SweepKind, *, prefix: str = "") -> None:
    """Refuse a sweep that could not start even if no other one were under way.

    Raises:
        CantStart: the rule can't be swept, or has no keys that begin with the prefix.
    """
    if rule.source.kind != SourceKind.S3:
        raise CantStart(
            f"The source of rule {rule.name} is a web server, which has no listing: compare a "
            "list of keys with `manage.py verify`."
        )
    if kind in {SweepKind.BACKFILL, SweepKind.RECOVERY} and not rule.enabled:
        raise CantStart(f"Rule {rule.name} is disabled: enable it first.")
    within = rule.source_prefix
    if not (prefix.startswith(within) or within.startswith(prefix)):
        raise CantStart(
            f"Rule {rule.name} is for keys that begin with {within!r}, so none begins with "
            f"{prefix!r}: name a prefix as keys have it in the source bucket."
        )


def _create(rule: ReplicationRule, **options: Any) -> Sweep:
    version = ReplicationRule.objects.values_list("version", flat=True).get(pk=rule.pk)
    options.setdefault("settle_seconds", settings.S3SYNC.sweep_settle_seconds)
    sweep = Sweep(rule=rule, rule_version=version, **options)
    sweep.save()
    SweepSlice.objects.create(sweep=sweep)
    sweep.refresh_from_db()
    _ask_for_a_sweeper()
    return sweep


def _ask_for_a_sweeper() -> None:
    """Have a cluster begin now, not within a minute."""
    transaction.on_commit(lambda: loops.request(LoopKind.SWEEPER), robust=True)


def restart_if_changed(sweep: Sweep) -> bool:
    """Start a sweep anew whose rule was edited since. Returns whether it was."""
    with transaction.atomic():
        rule = ReplicationRule.objects.get(pk=sweep.rule_id)
        if rule.version == sweep.rule_version:
            return False
        running = Sweep.objects.filter(pk=sweep.pk, state__in=UNENDED)
        if running.update(
            state=SweepState.CANCELLED, ended_at=Now(), error="The rule was changed."
        ):
            _create(rule, **{name: getattr(sweep, name) for name in OPTIONS})
    return True


def pause(sweeps: QuerySet[Sweep]) -> int:
    """Pause those that run. Returns how many did."""
    return sweeps.filter(state__in=[SweepState.RUNNING, SweepState.SETTLING]).update(
        state=SweepState.PAUSED, waits_for="a person, who paused it"
    )


def resume(sweeps: QuerySet[Sweep]) -> int:
    """Go on with those that are paused or failed, where they were. Returns how many.

    A spent budget is given once more.
    """
    resumed = 0
    for sweep in sweeps.filter(state__in=[SweepState.PAUSED, SweepState.FAILED]):
        spent = sweep.source_requests + sweep.destination_requests
        budget = sweep.most_requests
        with transaction.atomic():
            sweep.slices.filter(is_done=False).update(failures=0, held_until=None, error="")
            is_listed = not sweep.slices.filter(is_done=False).exists()
            try:
                with transaction.atomic():
                    resumed += Sweep.objects.filter(pk=sweep.pk, state=sweep.state).update(
                        state=SweepState.SETTLING if is_listed else SweepState.RUNNING,
                        waits_for="",
                        error="",
                        ended_at=None,
                        most_requests=(
                            spent + budget if budget is not None and spent >= budget else budget
                        ),
                    )
                _ask_for_a_sweeper()
            except IntegrityError:
                continue  # a newer sweep of the rule is under way
    return resumed


def cancel(sweeps: QuerySet[Sweep], *, why: str = "") -> int:
    """End sweeps where they are. Returns how many."""
    return sweeps.filter(state__in=UNENDED).update(
        state=SweepState.CANCELLED, ended_at=Now(), waits_for="", error=why
    )


def limit(sweeps: QuerySet[Sweep], **limits: Any) -> int:
    """Change limits of sweeps that are not over, from the next batch on. Returns how many.

    Args:
        limits: of LIMITS; the others stay.
    """
    # A low rate may have put off the next request for minutes.
    return sweeps.filter(state__in=UNENDED).update(**limits, paced_until=Now())


def is_due() -> bool:
    """Whether there is something to do for a sweep, or one should start by itself."""
    return (
        under_way().exists()
        or ended_early().exists()
        or rules_to_backfill().exists()
        or bool(rules_to_scrub()[:1])
    )


def under_way() -> QuerySet[Sweep]:
    """The sweeps that any worker carries on."""
    return Sweep.objects.filter(state__in=[SweepState.RUNNING, SweepState.SETTLING])


def ended_early() -> QuerySet[Sweep]:
    """The sweeps that ended early, and whose jobs' keys must still be looked at again: a lost event
    must be told although its key has been mended.
    """
    ordered = SweepFinding.objects.filter(
        sweep=OuterRef("pk"), state=FindingState.SEEN, is_ordered=True
    )
    return Sweep.objects.filter(
        Exists(ordered),
        state__in=[SweepState.CANCELLED, SweepState.FAILED],
        ended_at__gt=Now() - TOLD_AFTER_END,
    )


def start_backfills() -> int:
    """Start the backfills that rules ask for. Returns how many."""
    started = 0
    for rule in rules_to_backfill().select_related("source"):
        with suppress(CantStart):  # somebody has just started another one, or disabled the rule
            start(rule, SweepKind.BACKFILL, mends=True)
            started += 1
    return started


def rules_to_backfill() -> QuerySet[ReplicationRule]:
    """The rules that are to copy what was there before, and have never done so; without those that
    a sweep compares now, other than a scrub, which gives way.
    """
    sweeps = Sweep.objects.filter(rule=OuterRef("pk"))
    had_one = sweeps.filter(kind=SweepKind.BACKFILL)
    other = sweeps.filter(state__in=UNENDED).exclude(kind=SweepKind.SCRUB)
    return ReplicationRule.objects.filter(
        ~Exists(had_one), ~Exists(other), backfill=True, enabled=True, source__kind=SourceKind.S3
    )


def start_scrub() -> Sweep | None:
    """Start the scrub that is due for the longest time, if any."""
    for rule in rules_to_scrub()[:1]:
        try:
            return start(
                rule,
                SweepKind.SCRUB,
                mends=True,
                requests_per_second=SCRUB_REQUESTS_PER_SECOND,
            )
        except CantStart:
            return None  # a person has just started another one
    return None


def rules_to_scrub() -> QuerySet[ReplicationRule]:
    """The rules whose last scrub began long ago and that no sweep compares now, the longest first;
    none while another scrub is under way.
    """
    days = settings.S3SYNC.scrub_days
    scrubs = Sweep.objects.filter(kind=SweepKind.SCRUB)
    if not days or scrubs.filter(state__in=UNENDED).exists():
        return ReplicationRule.objects.none()
    counted = Q(sweeps__kind=SweepKind.SCRUB) & ~Q(sweeps__error=GAVE_WAY)
    return (
        ReplicationRule.objects.filter(
            enabled=True, paused_at=None, parked_at=None, source__kind=SourceKind.S3
        )
        .exclude(sweeps__state__in=UNENDED)
        .annotate(scrubbed_at=Max("sweeps__began_at", filter=counted))
        .filter(Q(scrubbed_at=None) | Q(scrubbed_at__lt=Now() - timedelta(days=days)))
        .select_related("source")
        .order_by(F("scrubbed_at").asc(nulls_first=True))
    )
