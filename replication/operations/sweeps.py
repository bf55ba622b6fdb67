"""Sweeps that people start, pause, resume, cancel and limit; each action is audited.

A sweep that may go on asks for a sweeper at once: the scheduled look would come within a minute.
"""

from collections import defaultdict
from typing import Any

from django.db.models import QuerySet

from replication.cluster import loops
from replication.models import (
    AuditAction,
    LoopKind,
    ReplicationRule,
    Sweep,
    SweepFinding,
    SweepKind,
)
from replication.operations import actions, audit
from replication.operations.audit import Actor, recorded
from replication.sweep import lifecycle


def start(rule: ReplicationRule, kind: SweepKind, *, by: Actor, **options: Any) -> Sweep:
    """Start a sweep of the rule; see `lifecycle.start`.

    Raises:
        CantStart: nothing was started; the text says why, and what to do.
    """
    with recorded(by, AuditAction.SWEEP_STARTED, about=_start(rule, kind, options)) as record:
        try:
            sweep = lifecycle.start(rule, kind, **options)
        except lifecycle.CantStart as error:
            record.affected, refused = 0, error
        else:
            record.affected = 1
            loops.request(LoopKind.SWEEPER)
            return sweep
    raise refused


def pause(sweeps: QuerySet[Sweep], *, by: Actor) -> int:
    """Pause those that run. Returns how many did."""
    with recorded(by, AuditAction.SWEEPS_PAUSED, about=_sweeps(sweeps)) as record:
        record.affected = paused = lifecycle.pause(sweeps)
    return paused


def resume(sweeps: QuerySet[Sweep], *, by: Actor) -> int:
    """Go on with those that are paused or failed, where they were. Returns how many."""
    with recorded(by, AuditAction.SWEEPS_RESUMED, about=_sweeps(sweeps)) as record:
        record.affected = resumed = lifecycle.resume(sweeps)
    if resumed:
        loops.request(LoopKind.SWEEPER)
    return resumed


def cancel(sweeps: QuerySet[Sweep], *, by: Actor) -> int:
    """End sweeps where they are. Returns how many were not over."""
    with recorded(by, AuditAction.SWEEPS_CANCELLED, about=_sweeps(sweeps)) as record:
        record.affected = cancelled = lifecycle.cancel(sweeps)
    return cancelled


def limit(sweeps: QuerySet[Sweep], *, by: Actor, **limits: Any) -> int:
    """Change limits of sweeps that are not over; see `lifecycle.limit`. Returns how many."""
    about = f"{_sweeps(sweeps)}: {_words(limits) or 'none'}"
    with recorded(by, AuditAction.SWEEPS_LIMITED, about=about) as record:
        record.affected = limited = lifecycle.limit(sweeps, **limits)
    return limited


def look_again(findings: QuerySet[SweepFinding], *, by: Actor) -> int:
    """Make an ordinary job for the key of each finding. Returns how many jobs were made.

    Raises:
        KeysOutsideRule: a rule's prefix was changed since; the keys of other rules were done.
    """
    by_rule: defaultdict[int, list[SweepFinding]] = defaultdict(list)
    for finding in findings.select_related("sweep").order_by("key"):
        by_rule[finding.sweep.rule_id].append(finding)
    made = 0
    for rule in ReplicationRule.objects.filter(pk__in=by_rule):
        chosen = by_rule[rule.pk]
        made += len(actions.look_again(rule, [one.key for one in chosen], by=by))
        SweepFinding.objects.filter(pk__in=[one.pk for one in chosen]).update(is_ordered=True)
    return made


# -- what an entry is about, in words --------------------------------------------------------------


def _start(rule: ReplicationRule, kind: SweepKind, options: dict[str, Any]) -> str:
    words = _words(options)
    return f"{kind} of rule {rule.name}{': ' if words else ''}{words}"


def _words(options: dict[str, Any]) -> str:
    """Return e.g. "level head, mends"; without options that say nothing."""
    return ", ".join(
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
        for name, value in options.items()
        if value not in {None, "", False}
    )


def _sweeps(sweeps: QuerySet[Sweep]) -> str:
    named = sweeps.select_related("rule").order_by("pk")[: audit.MAX_NAMED + 1]
    return audit.describe("sweeps", [f"{one.pk} ({one})" for one in named])
