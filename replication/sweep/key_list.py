"""Compares a list of keys: looks at both sides of each, and once more at what differs.

The list stands in for the listings of a sweep. It is read no faster than its keys are looked at, so
that neither memory nor the queue grows with it. No cluster helps, and nothing of it is stored.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from itertools import islice

from django.db import connection, transaction

from replication.models import (
    FindingState,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepLevel,
    SweepState,
)
from replication.sweep import recording, reporting
from replication.sweep.causes import NO_DIFFERENCE, Cause, announced, may_be_told
from replication.sweep.comparing import Sides
from replication.sweep.ending import MOST_EXTRAS_AT_ALL
from replication.sweep.judging import DIFFERENCES, Judgement, Verdict
from replication.sweep.key_looks import KeyLooks, Seen

LOOKS = 200  # at a time
MOST_WAITING = 10_000  # keys that wait for their second look, and perhaps for a job

_COUNTERS = (
    *("source_keys", "source_bytes", "replica_keys"),
    *("source_requests", "destination_requests", "throttles"),
    *reporting.COUNTS,
)
_COUNTED_AS = {Cause.PENDING: "under_way", Cause.KEPT: "kept", Cause.FOREIGN: "foreign"}


class KeyListComparison:
    """Compares keys of a rule.

    `sweep` is what a sweep of these keys would be. It counts what is found, and is in no table.
    `mended` counts the differences that are none any more.

    Args:
        sides: of the rule, with its source and destination loaded.
        on_look: called at least once a second while it waits.
    """

    def __init__(
        self,
        sides: Sides,
        *,
        lookers: Executor,
        mends: bool = False,
        mends_extras: bool = False,
        settle_seconds: int = 900,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._looks = KeyLooks(sides, lookers=lookers, on_look=on_look)
        self._waiting: deque[SweepFinding] = deque()
        self.mended = 0
        self.looked_at = 0
        self.absent = 0  # on both sides
        self.sweep = Sweep(
            rule=sides.rule,
            rule_version=sides.rule.version,
            kind=SweepKind.RECONCILE,
            level=SweepLevel.HEAD,
            prefix="",
            mends=mends or mends_extras,
            mends_extras=mends_extras,
            settle_seconds=settle_seconds,
            state=SweepState.RUNNING,
            began_at=datetime.now(UTC),
            error="",
            waits_for="",
            **dict.fromkeys(_COUNTERS, 0),
        )

    def findings(self, keys: Iterable[str]) -> Iterator[SweepFinding]:
        """Compare the keys. Yields those that do not compare as equal, once they are settled.

        Raises:
            ReplicationError: a side refuses, or can't be reached for minutes.
            RuleChanged: the rule was changed meanwhile.
        """
        keys = iter(keys)
        while some := list(dict.fromkeys(islice(keys, LOOKS))):
            yield from self._look_first(some)
            while len(self._waiting) > MOST_WAITING:
                yield from self._look_again()
        while self._waiting:
            yield from self._look_again()
        self.sweep.state, self.sweep.ended_at = SweepState.COMPLETED, datetime.now(UTC)

    @property
    def waiting(self) -> int:
        """How many keys wait for their second look."""
        return len(self._waiting)

    @property
    def open_differences(self) -> int:
        """How many keys differ."""
        return self.sweep.differ - self.mended

    # -- the two looks -------------------------------------------------------------------------

    def _look_first(self, keys: Sequence[str]) -> Iterator[SweepFinding]:
        """Look at keys, and yield those that need no second look."""
        seen = self._see(keys)
        for one in seen.judged.values():
            self._count(one, seen.cause(one.pair.key))
        to_mend = {
            key
            for key, one in seen.judged.items()
            if recording.is_mended(self.sweep, one, seen.causes)
        }
        found_at = self._order(to_mend)
        for key, one in seen.judged.items():
            cause, code = seen.causes.get(key, (None, ""))
            if one.verdict in {Verdict.EQUAL, Verdict.LEFT_OUT}:
                continue
            if cause in {Cause.PENDING, Cause.KEPT}:
                continue
            finding = recording.as_finding(self.sweep, one, cause, code, is_ordered=key in to_mend)
            finding.found_at = found_at
            if cause is None or cause is Cause.FOREIGN:
                finding.state = FindingState.CONFIRMED
                yield finding
            else:
                self._waiting.append(finding)

    def _look_again(self) -> Iterator[SweepFinding]:
        """Look once more at the keys that wait for the longest time, and settle them."""
        found = [self._waiting.popleft() for _ in range(min(LOOKS, len(self._waiting)))]
        look_at = max(one.look_at for one in found if one.look_at)
        self._looks.sleep((look_at - datetime.now(UTC)).total_seconds())
        self._looks.wait_for_jobs([one.key for one in found])
        seen = self._see([one.key for one in found])
        again = [one for one in found if self._may_order(one.key, seen)]
        if again:
            keys = [one.key for one in again]
            self._order(keys)
            for one in again:
                one.is_ordered = True
            self._looks.wait_for_jobs(keys)
            seen = seen.updated(self._see(keys))
        told = announced(self.sweep.rule, found)
        for one in found:
            self._settle(one, seen, is_announced=one.key in told)
            yield one

    def _see(self, keys: Sequence[str]) -> Seen:
        seen = self._looks.see(keys)
        self.sweep.source_requests, self.sweep.destination_requests = self._looks.requests
        self.sweep.throttles = self._looks.throttles
        return seen

    def _settle(self, finding: SweepFinding, seen: Seen, *, is_announced: bool) -> None:
        """Settle a finding by its second look."""
        judgement, cause = seen.judged[finding.key], seen.cause(finding.key)
        came_late = is_announced and finding.cause in {Cause.LOST, Cause.RECENT}
        if finding.is_ordered and finding.cause == Cause.RECENT and not may_be_told(finding):
            finding.cause = Cause.LOST
        recording.describe(finding, judgement)
        if judgement.verdict is Verdict.EQUAL and finding.is_ordered and not came_late:
            finding.state = FindingState.MENDED
            self.mended += 1
            self.sweep.lost += finding.cause == Cause.LOST
            return
        self._add(finding.verdict, -1)
        if judgement.verdict is Verdict.EQUAL:
            finding.state = FindingState.GONE
            self.sweep.found_again += 1
            return
        self._add(_counter(judgement, cause), 1)
        finding.verdict = judgement.verdict.value
        is_pending = cause is Cause.PENDING
        finding.state = FindingState.GONE if is_pending else FindingState.CONFIRMED
        if finding.cause != Cause.LOST or came_late or cause in NO_DIFFERENCE:
            finding.cause, finding.code = seen.causes.get(finding.key, ("", ""))
        self.sweep.lost += finding.cause == Cause.LOST

    # -- counting ------------------------------------------------------------------------------

    def _count(self, one: Judgement, cause: Cause | None) -> None:
        source, replica = one.pair.source, one.pair.replica
        self._add(_counter(one, cause), 1)
        self.looked_at += 1
        self.absent += one.verdict is Verdict.EQUAL and source is None and replica is None
        self.sweep.source_keys += source is not None
        self.sweep.source_bytes += source.size_bytes if source else 0
        self.sweep.replica_keys += replica is not None
        if source and cause not in NO_DIFFERENCE and one.verdict in DIFFERENCES:
            self.sweep.missing_bytes += source.size_bytes

    def _add(self, name: str, number: int) -> None:
        setattr(self.sweep, name, getattr(self.sweep, name) + number)

    # -- jobs ----------------------------------------------------------------------------------

    def _may_order(self, key: str, seen: Seen) -> bool:
        """Whether a job is to look at a key that differs at its second look too."""
        one, cause = seen.judged[key], seen.cause(key)
        if one.verdict is not Verdict.EXTRA:
            is_mended = recording.is_mended(self.sweep, one, seen.causes)
            return is_mended and cause is not Cause.FAILED
        return (
            self.sweep.mends_extras
            and cause not in NO_DIFFERENCE
            and self.sweep.extra <= MOST_EXTRAS_AT_ALL
        )

    def _order(self, keys: Collection[str]) -> datetime:
        """Have keys looked at by jobs. Returns when, by the database's clock."""
        with transaction.atomic(), connection.cursor() as cursor:
            self.sweep.ordered += recording.order(self.sweep, keys)
            cursor.execute("SELECT now()")
            found_at: datetime = cursor.fetchone()[0]
        return found_at


def _counter(one: Judgement, cause: Cause | None) -> str:
    """The name of the counter of a sweep that has the key."""
    counted_as = _COUNTED_AS.get(cause) if cause else None
    return counted_as or one.verdict.replace(" ", "_")
