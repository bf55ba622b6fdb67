"""Merges a range of two listings, page by page, in the order of their keys.

The rule maps keys by prefixes alone, which keeps their order, except for keys that it rewrites.
Replicas of those are listed under one prefix, far from their place in the order.

Nearly all keys of two buckets are equal in size and MD5: they are compared many at a time, column
by column, and no object is made for them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

from replication.mapping.keys import KeyPolicy, rewritten_prefix
from replication.models import ReplicationRule
from replication.stores.listing import Listable, ListedObject
from replication.sweep.reading import Progress, Reader

MD5_LENGTH = 32
RUN = 64  # keys that are compared at a time


class Pair(NamedTuple):
    """The two sides of a key, as the listings have them.

    `wanted_key` is where the replica belongs. `key` is the source's key; it is derived from the
    replica's where the source has none.
    """

    key: str
    wanted_key: str
    source: ListedObject | None
    replica: ListedObject | None


@dataclass(frozen=True)
class Range:
    """The keys after `after`, up to and with `until` (None: to the end), that have the prefix."""

    prefix: str = ""
    after: str = ""
    until: str | None = None


@dataclass(frozen=True)
class Step:
    """What one or two pages brought: the last key that is done with, and all that is not equal."""

    last_key: str
    equal: int  # keys with equal sizes and MD5s
    pairs: list[Pair]  # the others
    rewritten: list[ListedObject]  # replicas whose source's key their metadata tells
    source: Progress
    replicas: Progress


class KeyMap:
    """How a rule maps the keys of its source to those of its destination, and back."""

    def __init__(self, rule: ReplicationRule) -> None:
        self.cut = len(rule.source_prefix) if rule.strip_source_prefix else 0
        self.stripped = rule.source_prefix if rule.strip_source_prefix else ""
        self.prefix = rule.destination_prefix
        # Under another policy, keys with the mark are ordinary keys.
        rewrites = rule.key_policy == KeyPolicy.REWRITE
        self.rewritten = rewritten_prefix(rule.destination_prefix) if rewrites else None

    def wanted(self, key: str) -> str:
        """The key of the replica."""
        return self.prefix + key[self.cut :]

    def source(self, wanted_key: str) -> str:
        """The key of the source whose replica has this key."""
        return self.stripped + wanted_key[len(self.prefix) :]


class Merge:
    """Pairs the two sides of a range, some pages at a time.

    Args:
        executor: asks for pages; each merge needs two of its threads.
        skips_equal: whether a source's key that is plainly equal need not be paired; None if none
            is to be paired.
    """

    def __init__(
        self,
        rule: ReplicationRule,
        source: Listable,
        destination: Listable,
        span: Range,
        *,
        executor: Executor,
        skips_equal: Callable[[str], bool] | None,
    ) -> None:
        keys = self._keys = KeyMap(rule)
        self._skips_equal = skips_equal
        self._left = Reader(
            source,
            executor,
            prefix=span.prefix,
            after=span.after,
            until=span.until,
            wanted=keys.wanted if keys.prefix or keys.cut else None,
        )
        self._right = Reader(
            destination,
            executor,
            prefix=keys.wanted(span.prefix),
            after=keys.wanted(span.after) if span.after else "",
            until=None if span.until is None else keys.wanted(span.until),
        )

    def end_at(self, until: str) -> None:
        """End the range at this key of the source, which is after the last key of any step."""
        self._left.end_at(until)
        self._right.end_at(self._keys.wanted(until))

    def steps(self) -> Iterator[Step]:
        """
        Raises:
            Unordered: see there.
            ReplicationError: see `list_page` of the stores.
        """
        while not self.is_over:
            yield self._step()

    @property
    def is_over(self) -> bool:
        """Whether the last step was the last one of the range."""
        return all(side.ended and side.is_exhausted for side in (self._left, self._right))

    def _step(self) -> Step:
        keys, left, right = self._keys, self._left, self._right
        left.load()
        right.load()
        equal, pairs = _merge_pages(keys, left, right, self._skips_equal)
        if left.ended and left.is_exhausted:
            pairs += [Pair(keys.source(one.key), one.key, None, one) for one in right.take_rest()]
        if right.ended and right.is_exhausted:
            pairs += [Pair(one.key, keys.wanted(one.key), one, None) for one in left.take_rest()]
        rewritten: list[ListedObject] = []
        if keys.rewritten is not None:
            rewritten = [
                pair.replica
                for pair in pairs
                if pair.replica is not None and pair.wanted_key.startswith(keys.rewritten)
            ]
            if rewritten:
                pairs = list(_without_rewritten(pairs, keys.rewritten))
        last_key = _last_key(keys, left, right)
        return Step(last_key, equal, pairs, rewritten, left.progress(), right.progress())


def _merge_pages(
    keys: KeyMap, left: Reader, right: Reader, skips_equal: Callable[[str], bool] | None
) -> tuple[int, list[Pair]]:
    """Pair the objects of both pages until one is used up."""
    equal, pairs = 0, list[Pair]()
    while left.position < left.end and right.position < right.end:
        if (run := _equal_run(left, right)) and (
            skips_equal is None
            or all(map(skips_equal, left.page.keys[left.position : left.position + run]))
        ):
            left.position += run
            right.position += run
            equal += run
        else:
            equal += _merge_run(keys, left, right, skips_equal, pairs)
    return equal, pairs


def _equal_run(left: Reader, right: Reader) -> int:
    """How many of the next keys of both sides are equal in size and MD5: RUN, or else 0 if any of
    them is not. Most of a comparison's time is here.
    """
    i, j = left.position, right.position
    run = min(RUN, left.end - i, right.end - j)
    etags = left.etags[i : i + run]
    is_equal = (
        left.wanted_keys[i : i + run] == right.wanted_keys[j : j + run]
        and etags == right.etags[j : j + run]
        and left.page.sizes[i : i + run] == right.page.sizes[j : j + run]
        and set(map(len, etags)) == {MD5_LENGTH}
    )
    return run if is_equal else 0


def _merge_run(
    keys: KeyMap,
    left: Reader,
    right: Reader,
    skips_equal: Callable[[str], bool] | None,
    pairs: list[Pair],
) -> int:
    """Pair up to RUN objects of the source, one by one. Returns how many are equal."""
    ours, theirs = left.page, right.page
    i, j, equal = left.position, right.position, 0
    end = min(i + RUN, left.end)
    while i < end and j < right.end:
        key, wanted, other = ours.keys[i], left.wanted_keys[i], theirs.keys[j]
        if wanted == other:
            if (
                ours.sizes[i] == theirs.sizes[j]
                and left.etags[i] == right.etags[j]
                and len(left.etags[i]) == MD5_LENGTH
                and (skips_equal is None or skips_equal(key))
            ):
                equal += 1
            else:
                pairs.append(Pair(key, wanted, ours.object_at(i), theirs.object_at(j)))
            i += 1
            j += 1
        elif wanted < other:
            pairs.append(Pair(key, wanted, ours.object_at(i), None))
            i += 1
        else:
            pairs.append(Pair(keys.source(other), other, None, theirs.object_at(j)))
            j += 1
    left.position, right.position = i, j
    return equal


def _last_key(keys: KeyMap, left: Reader, right: Reader) -> str:
    """The last key of the source that is done with; empty if there is none."""
    replica = right.last_taken()
    return max(left.last_taken() or "", keys.source(replica) if replica is not None else "")


def _without_rewritten(pairs: list[Pair], rewritten: str) -> Iterator[Pair]:
    """The pairs without replicas whose keys are rewritten ones."""
    for pair in pairs:
        if not pair.wanted_key.startswith(rewritten):
            yield pair
        elif pair.source is not None:
            yield pair._replace(replica=None)
