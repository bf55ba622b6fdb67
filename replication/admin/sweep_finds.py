"""What a sweep found, for its page: by verdict and cause, lost changes, what the rule would do."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet

from replication.mapping.keys import KeyPolicy, PlannedKey, plan_key
from replication.models import DeletePolicy, FindingState, Sweep, SweepFinding
from replication.sweep.causes import MEANING, Cause
from replication.sweep.judging import Verdict

MOST_HOURS = 24
MOST_PLANNED = 10_000  # keys of which a page finds out whether they would be renamed


@dataclass(frozen=True)
class Group:
    """Findings of one verdict and cause."""

    verdict: str
    cause: str
    keys: int
    seen: int
    mended: int
    gone: int

    @property
    def why(self) -> str:
        return MEANING[Cause(self.cause)] if self.cause else ""

    @property
    def open(self) -> int:
        return self.keys - self.seen - self.mended - self.gone


def groups_of(sweep: Sweep) -> list[Group]:
    """All kept findings by verdict and cause, the most first."""
    found: QuerySet[SweepFinding, Any] = sweep.findings.order_by()
    rows = found.values("verdict", "cause").annotate(
        keys=Count("pk"),
        seen=Count("pk", filter=Q(state=FindingState.SEEN)),
        mended=Count("pk", filter=Q(state=FindingState.MENDED)),
        gone=Count("pk", filter=Q(state=FindingState.GONE)),
    )
    return sorted((Group(**row) for row in rows), key=lambda each: -each.keys)


def lost_hours_of(lost: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The last hours in which changes were lost, with the lengths of their bars."""
    if lost is None:
        return []
    hours = [
        {"hour": hour.replace("T", " "), **numbers} for hour, numbers in lost["by_hour"].items()
    ]
    most = max((each["lost"] for each in hours), default=1)
    return [each | {"percent": f"{100 * each['lost'] / most:.1f}"} for each in hours[-MOST_HOURS:]]


def effects_of(sweep: Sweep) -> dict[str, Any] | None:
    """What the rule would do, of a sweep that only reports."""
    if sweep.mends:
        return None
    deletes = sweep.rule.delete_policy == DeletePolicy.MIRROR
    return {
        "copy": sweep.missing + sweep.different,
        "bytes": sweep.missing_bytes,
        "rename": _count_renamed(sweep),
        "delete": sweep.extra if deletes else 0,
        "keep": 0 if deletes else sweep.extra + sweep.kept,
        "refuse": sweep.refused,
    }


def _count_renamed(sweep: Sweep) -> int:
    """How many of the first keys to copy OSS would not accept, and the rule renames."""
    rule = sweep.rule
    if rule.key_policy != KeyPolicy.REWRITE:
        return 0
    to_copy = sweep.findings.filter(verdict__in=[Verdict.MISSING, Verdict.DIFFERENT])
    planned = (
        plan_key(
            rule.destination_key(key), policy=KeyPolicy.REWRITE, prefix=rule.destination_prefix
        )
        for key in to_copy.values_list("key", flat=True)[:MOST_PLANNED]
    )
    return sum(isinstance(each, PlannedKey) and each.is_rewritten for each in planned)
