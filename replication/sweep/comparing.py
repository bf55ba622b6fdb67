"""Compares a range of a rule's keys: judges each by the listings, and looks where they can't tell.

Each key is judged by the cheapest proof that suffices: the listings, then our records, then a HEAD
of the replica, then both contents. The level says how far to go for keys that are plausibly equal.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from replication.models import ReplicationRule, SweepLevel
from replication.stores.base import DestinationStore, SourceStore
from replication.stores.factory import destination_store, source_store
from replication.stores.listing import Listable
from replication.sweep import verify
from replication.sweep.judging import Judgement, Proof, Verdict, judge
from replication.sweep.looking import Looker
from replication.sweep.merging import Merge, Range, Step
from replication.sweep.records import recorded_copies
from replication.sweep.verify import Comparison as Full

# A batch ends after so many pages, keys that need attention, or seconds, whichever comes first. The
# first batches of a slice are small: with each, others can be given a share of it.
FIRST_BATCH_PAGES = 2
BATCH_PAGES = 20
BATCH_KEYS = 1000
BATCH_SECONDS = 5.0

_BY_FULL = {
    Full.EQUAL: Verdict.EQUAL,
    Full.DIFFERS: Verdict.DIFFERENT,
    Full.MISSING: Verdict.MISSING,
    Full.EXTRA: Verdict.EXTRA,
    Full.ABSENT: Verdict.EQUAL,
    Full.LEFT_OUT: Verdict.REFUSED,
    Full.NOT_COMPARED: Verdict.UNKNOWN,
}


class CantCompare(Exception):
    """The buckets can't be compared; the text says why, and what to do."""


@dataclass
class Batch:
    """Keys that were compared together.

    `judged` are those that are not equal. `counts` are by the names of the counters of a sweep.
    `cursor` is the last key that is done with, and that a table can hold.
    """

    cursor: str
    counts: Counter[str] = field(default_factory=Counter)
    judged: list[Judgement] = field(default_factory=list)
    pages: int = 0
    is_last: bool = False


@dataclass(frozen=True)
class Sides:
    """The two buckets of a rule, which is loaded with its source and destination.

    A bucket that lists its keys in no order is listed by what sorts them in its place.
    """

    rule: ReplicationRule
    source: SourceStore
    destination: DestinationStore
    source_listing: Listable | None = None
    destination_listing: Listable | None = None

    @classmethod
    def of(cls, rule: ReplicationRule) -> "Sides":
        """
        Raises:
            ReplicationError: a store can't be opened.
        """
        return cls(rule, source_store(rule.source), destination_store(rule.destination))

    def listed_by(self, side: object, listing: Listable) -> "Sides":
        """The same sides, of which one is listed by another listing."""
        if side is self.source:
            return replace(self, source_listing=listing)
        return replace(self, destination_listing=listing)


class Comparison:
    """Compares a range of keys, in their order, batch by batch.

    Args:
        listers: asks for pages, on two threads of its own for each range.
        lookers: looks at objects; a range waits for its looks.

    Raises:
        CantCompare: a side has no listing.
    """

    def __init__(
        self,
        sides: Sides,
        span: Range,
        *,
        level: SweepLevel = SweepLevel.LISTING,
        listers: Executor,
        lookers: Executor,
    ) -> None:
        rule, source, destination = sides.rule, sides.source, sides.destination
        ours, theirs = sides.source_listing or source, sides.destination_listing or destination
        if not isinstance(ours, Listable) or not isinstance(theirs, Listable):
            raise CantCompare("A web server has no listing: compare a list of keys with `verify`.")
        self._after = span.after
        self._ends_batch = False
        self._merge = Merge(
            rule,
            ours,
            theirs,
            span,
            executor=listers,
            skips_equal=_skips_equal(rule, level),
        )
        looker = Looker(rule, source, destination, lookers)
        self._judging = _Judging(rule, looker, level)

    def end_at(self, until: str) -> None:
        """End the range at this key, which is after the cursor of the last batch."""
        self._merge.end_at(until)

    def end_batch(self) -> None:
        """End the batch at the next page: another thread waits for what comes of it."""
        self._ends_batch = True

    def batches(self) -> Iterator[Batch]:
        """
        Raises:
            Unordered: a side must be sorted first; see sweep/sorting.py.
            ReplicationError: a side refuses, or can't be reached.
        """
        batch, began, pages = Batch(self._after), time.monotonic(), FIRST_BATCH_PAGES
        for step in self._merge.steps():
            self._judging.add(step, batch)
            batch.is_last = self._merge.is_over
            if (
                batch.is_last
                or self._ends_batch
                or batch.pages >= min(pages, BATCH_PAGES)
                or len(batch.judged) >= BATCH_KEYS
                or time.monotonic() - began >= BATCH_SECONDS
            ):
                self._ends_batch = False
                yield batch
                batch, began, pages = Batch(batch.cursor), time.monotonic(), 2 * pages


def _skips_equal(rule: ReplicationRule, level: SweepLevel) -> Callable[[str], bool] | None:
    if level == SweepLevel.FULL:
        return lambda _: False
    has_filters = bool(rule.source_suffix or rule.include or rule.exclude)
    return rule.matches if has_filters else None


class _Judging:
    """Judges the pairs of a range, at one level."""

    def __init__(self, rule: ReplicationRule, looker: Looker, level: SweepLevel) -> None:
        self._rule = rule
        self._looker = looker
        self._level = level
        self._seen_requests = (0, 0)

    def add(self, step: Step, batch: Batch) -> None:
        """Judge a step, and add it to the batch."""
        counts = batch.counts
        counts["equal"] += step.equal
        counts["source_requests"] += step.source.pages
        counts["source_keys"] += step.source.keys
        counts["source_bytes"] += step.source.bytes
        counts["destination_requests"] += step.replicas.pages
        counts["replica_keys"] += step.replicas.keys
        batch.pages += step.source.pages + step.replicas.pages
        judged = self._resolve([judge(self._rule, pair) for pair in step.pairs])
        judged += self._looker.owners(step.rewritten)
        for one in judged:
            self._count(one, counts)
            if one.verdict not in {Verdict.EQUAL, Verdict.LEFT_OUT}:
                batch.judged.append(one)
        self._count_requests(counts)
        if "\0" not in step.last_key:  # PostgreSQL has no such text
            batch.cursor = max(batch.cursor, step.last_key)

    @staticmethod
    def _count(one: Judgement, counts: Counter[str]) -> None:
        counts[one.verdict.counter] += 1
        if one.verdict is Verdict.EQUAL:
            counts["plausible"] += one.proof is Proof.PLAUSIBLE
        elif one.verdict in {Verdict.MISSING, Verdict.DIFFERENT} and one.pair.source is not None:
            counts["missing_bytes"] += one.pair.source.size_bytes

    def _count_requests(self, counts: Counter[str]) -> None:
        looker = self._looker
        requests = (looker.source_requests, looker.destination_requests)
        counts["source_requests"] += requests[0] - self._seen_requests[0]
        counts["destination_requests"] += requests[1] - self._seen_requests[1]
        self._seen_requests = requests

    def _resolve(self, judged: list[Judgement]) -> list[Judgement]:
        """Look where the listings prove too little."""
        escalates = self._level != SweepLevel.LISTING
        doubted = {
            at: one
            for at, one in enumerate(judged)
            if one.proof is Proof.DOUBTFUL or (escalates and one.proof is Proof.PLAUSIBLE)
        }
        if not doubted:
            return list(self._read(judged)) if self._level == SweepLevel.FULL else judged
        recorded = recorded_copies(self._rule, [one.pair for one in doubted.values()])
        for at, one in list(doubted.items()):
            if one.pair.key in recorded:
                judged[at] = Judgement(one.pair, Verdict.EQUAL)
                del doubted[at]
            elif one.proof is Proof.PLAUSIBLE and self._level == SweepLevel.RECORDS:
                del doubted[at]
        looked = self._looker.resolve(doubted.values())
        for at, found in zip(doubted, looked, strict=True):
            judged[at] = found
        if self._level == SweepLevel.FULL:
            return list(self._read(judged))
        return judged

    def _read(self, judged: list[Judgement]) -> Iterator[Judgement]:
        """Read both sides of what seems equal."""
        seem_equal = [one.pair.key for one in judged if one.verdict is Verdict.EQUAL]
        read = verify.verify(self._rule, seem_equal, threads=4)
        for one in judged:
            if one.verdict is not Verdict.EQUAL:
                yield one
                continue
            found = next(read)
            yield Judgement(one.pair, _BY_FULL[found.verdict], reason="; ".join(found.reasons))
