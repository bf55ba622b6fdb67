"""Merges a range of two listings, page by page, in the order of their keys.

The rule maps keys by prefixes alone, which keeps their order, except for keys that it rewrites.
Replicas of those are listed under one prefix, far from their place in the order.

Nearly all keys of two buckets are equal in size and MD5, and cost nothing here but a comparison: no
object is made for them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import NamedTuple

from replication.mapping.keys import KeyPolicy, rewritten_prefix
from replication.models import ReplicationRule
from replication.stores.listing import Listable, ListedObject, ListedPage, Unlistable

MD5_LENGTH = 32


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
    source: "Progress"
    replicas: "Progress"


class Progress(NamedTuple):
    """How far the reading of a listing came in a step."""

    pages: int
    keys: int
    bytes: int


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


class Unordered(Exception):
    """A side lists its keys in no order that can be followed."""

    def __init__(self, side: Listable, why: str) -> None:
        super().__init__(why)
        self.side = side


class _Side:
    """A listing that is read page by page; the next page is asked for while one is read."""

    def __init__(
        self, store: Listable, executor: Executor, *, prefix: str, after: str, until: str | None
    ) -> None:
        self._store = store
        self._executor = executor
        self._prefix = prefix
        self._until = until
        self.objects: list[ListedObject] = []
        self.position = 0
        self.ended = False
        self._pages = 0  # since the last step
        self._counted = 0  # of this page's objects
        self._next: Future[ListedPage] | None = self._ask(after)

    def _ask(self, after: str) -> Future[ListedPage]:
        return self._executor.submit(self._store.list_page, prefix=self._prefix, after=after)

    @property
    def is_exhausted(self) -> bool:
        return self.position >= len(self.objects)

    def load(self) -> None:
        """Read the next page, if this one is used up and more follow.

        Raises:
            Unordered: see there.
            ReplicationError: see `list_page` of the stores.
        """
        if not self.is_exhausted or self._next is None:
            return
        try:
            page = self._next.result()
        except Unlistable as error:
            raise Unordered(self._store, str(error)) from error
        self._pages += 1
        objects = page.objects
        is_last = not page.is_truncated
        if self._until is not None and objects and objects[-1].key >= self._until:
            is_last = True
            objects = [one for one in objects if one.key <= self._until]
        self.objects, self.position, self._counted = objects, 0, 0
        self._next = None if is_last else self._ask(page.objects[-1].key)
        self.ended = is_last

    def end_at(self, until: str) -> None:
        """End the listing at this key, which is after all that was taken."""
        self._until = until
        kept = [one for one in self.objects[self.position :] if one.key <= until]
        if self._next is None or len(kept) < len(self.objects) - self.position:
            self._next, self.ended = None, True
        self.objects = self.objects[: self.position] + kept

    def take_rest(self) -> list[ListedObject]:
        rest = self.objects[self.position :]
        self.position = len(self.objects)
        return rest

    def progress(self) -> Progress:
        """How far it has come since the last call, which must be before the next `load`."""
        done = self.objects[self._counted : self.position]
        pages, self._pages, self._counted = self._pages, 0, self.position
        return Progress(pages, len(done), sum(one.size_bytes for one in done))


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
        self._left = _Side(source, executor, prefix=span.prefix, after=span.after, until=span.until)
        self._right = _Side(
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
    keys: KeyMap, left: _Side, right: _Side, skips_equal: Callable[[str], bool] | None
) -> tuple[int, list[Pair]]:
    """Pair the objects of both pages until one is used up. Most of a comparison's time is here."""
    ours, theirs = left.objects, right.objects
    i, j, most_i, most_j = left.position, right.position, len(ours), len(theirs)
    prefix, cut = keys.prefix, keys.cut
    equal, pairs = 0, []
    while i < most_i and j < most_j:
        one, other = ours[i], theirs[j]
        wanted = prefix + one.key[cut:]
        if wanted == other.key:
            i += 1
            j += 1
            if (
                one.size_bytes == other.size_bytes
                and one.etag == other.etag.lower()
                and len(one.etag) == MD5_LENGTH
                and (skips_equal is None or skips_equal(one.key))
            ):
                equal += 1
            else:
                pairs.append(Pair(one.key, wanted, one, other))
        elif wanted < other.key:
            i += 1
            pairs.append(Pair(one.key, wanted, one, None))
        else:
            j += 1
            pairs.append(Pair(keys.source(other.key), other.key, None, other))
    left.position, right.position = i, j
    return equal, pairs


def _last_key(keys: KeyMap, left: _Side, right: _Side) -> str:
    """The last key of the source that is done with; empty if there is none."""
    done = [side.objects[side.position - 1].key for side in (right,) if side.position]
    last_replica = keys.source(done[0]) if done else ""
    last_source = left.objects[left.position - 1].key if left.position else ""
    return max(last_source, last_replica)


def _without_rewritten(pairs: list[Pair], rewritten: str) -> Iterator[Pair]:
    """The pairs without replicas whose keys are rewritten ones."""
    for pair in pairs:
        if not pair.wanted_key.startswith(rewritten):
            yield pair
        elif pair.source is not None:
            yield pair._replace(replica=None)
