"""Finds the keys of a rule that differ and why, and has them looked at on request."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from replication import jobs
from replication.jobs import JobOrder
from replication.models import JobOrigin, JobState, ReplicationRule, TransferJob
from replication.sweep.causes import Cause, causes_of
from replication.sweep.comparing import Level, Tally, compare
from replication.sweep.judging import Judgement, Verdict

# The queue must not grow with the bucket: listing waits while so many of its jobs are pending.
MOST_PENDING = 20_000
RESUME_AT_PENDING = 10_000
WAIT_SECONDS = 1.0

DIFFERENCES = {Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA}
MENDED_BY_A_LOOK = {Verdict.MISSING, Verdict.DIFFERENT}


@dataclass(frozen=True)
class Finding:
    """A key that does not compare as equal, and why; `code` is the error of its last job."""

    judgement: Judgement
    cause: Cause | None = None
    code: str = ""
    is_ordered: bool = False  # a job will look at it

    @property
    def is_difference(self) -> bool:
        """Whether nothing that is under way will make the two sides equal."""
        return self.cause is not None and self.cause not in {Cause.PENDING, Cause.RECENT}

    def as_json(self) -> dict[str, Any]:
        """The finding for machines."""
        return {
            "key": self.judgement.pair.key,
            "verdict": self.judgement.verdict.value,
            "reason": self.judgement.reason,
            "cause": self.cause.value if self.cause else None,
            "code": self.code,
            "is_difference": self.is_difference,
            "is_ordered": self.is_ordered,
        }

    def __str__(self) -> str:
        why = f"{self.cause}{f' ({self.code})' if self.code else ''}"
        reason = f"{self.judgement.reason}; " if self.judgement.reason else ""
        ordered = "; it will be looked at" if self.is_ordered else ""
        return f"{self.judgement.verdict}: {self.judgement.pair.key!r}: {reason}{why}{ordered}"


def reconcile(
    rule: ReplicationRule,
    tally: Tally,
    *,
    level: Level = Level.LISTING,
    prefix: str = "",
    mends: bool = False,
) -> Iterator[Finding]:
    """Compare the rule's buckets, and yield every key that is not equal or left out.

    With `mends`, each missing or different key gets a job below the priority of events. An extra
    replica is never deleted because of a listing.

    Raises:
        CantCompare, ReplicationError: see `compare`.
    """
    for judged in compare(rule, tally, level=level, prefix=prefix):
        found = [one for one in judged if one.verdict in DIFFERENCES]
        causes = causes_of(rule, found) if found else {}
        to_mend = [one.pair.key for one in found if mends and one.verdict in MENDED_BY_A_LOOK]
        if to_mend:
            _await_room(rule)
            orders = [JobOrder(rule.pk, key) for key in to_mend]
            jobs.enqueue_if_idle(orders, origin=JobOrigin.SWEEP, priority=jobs.PRIORITY_SWEEP)
        ordered = set(to_mend)
        for one in judged:
            if one.pair.key in causes:
                cause, code = causes[one.pair.key]
                yield Finding(one, cause, code, is_ordered=one.pair.key in ordered)
            elif one.verdict in {Verdict.REFUSED, Verdict.ARCHIVED}:
                yield Finding(one)


def _await_room(rule: ReplicationRule) -> None:
    """Wait while the lanes are behind with what the comparison has found."""
    pending = TransferJob.objects.filter(rule=rule, state=JobState.PENDING, origin=JobOrigin.SWEEP)
    if pending.count() >= MOST_PENDING:
        while pending.count() > RESUME_AT_PENDING:
            time.sleep(WAIT_SECONDS)
