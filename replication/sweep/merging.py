"""Merges the listing of a rule's source with that of its destination, in the order of their keys.

The rule maps keys by prefixes alone, which keeps their order, except for keys that it rewrites.
Replicas of those are listed under one prefix, far from their place in the order.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replication.mapping.keys import rewritten_prefix
from replication.models import ReplicationRule
from replication.stores.listing import Listable, ListedObject, ListedPage


@dataclass(frozen=True)
class Pair:
    """The two sides of a key, as the listings have them.

    `wanted_key` is where the replica belongs. `key` is the source's key; it is derived from the
    replica's where the source has none.
    """

    key: str
    wanted_key: str
    source: ListedObject | None
    replica: ListedObject | None


def list_all(
    store: Listable, *, prefix: str, on_page: Callable[[ListedPage], None], after: str = ""
) -> Iterator[ListedObject]:
    """All objects with the prefix after a key. The next page is asked for while one is read.

    Raises:
        Unlistable, ReplicationError: see `list_page` of the stores.
    """
    with ThreadPoolExecutor(1, "listing") as pool:
        next_page = pool.submit(store.list_page, prefix=prefix, after=after)
        while True:
            page = next_page.result()
            if page.is_truncated:
                last = page.objects[-1].key
                next_page = pool.submit(store.list_page, prefix=prefix, after=last)
            on_page(page)
            yield from page.objects
            if not page.is_truncated:
                return


def replica_prefix(rule: ReplicationRule, prefix: str) -> str:
    """What the replicas of keys with this prefix begin with, but for rewritten ones."""
    return rule.destination_key(prefix)


def merge(
    rule: ReplicationRule, source: Iterable[ListedObject], replicas: Iterable[ListedObject]
) -> Iterator[Pair]:
    """Pair the two sides. Replicas with rewritten keys are left out: see `original_key`."""
    rewritten = rewritten_prefix(rule.destination_prefix)
    ours = (replica for replica in replicas if not replica.key.startswith(rewritten))
    waiting = next(ours, None)
    for one in source:
        wanted_key = rule.destination_key(one.key)
        while waiting is not None and waiting.key < wanted_key:
            yield _extra(rule, waiting)
            waiting = next(ours, None)
        if waiting is not None and waiting.key == wanted_key:
            yield Pair(one.key, wanted_key, one, waiting)
            waiting = next(ours, None)
        else:
            yield Pair(one.key, wanted_key, one, None)
    while waiting is not None:
        yield _extra(rule, waiting)
        waiting = next(ours, None)


def _extra(rule: ReplicationRule, replica: ListedObject) -> Pair:
    rest = replica.key.removeprefix(rule.destination_prefix)
    key = rule.source_prefix + rest if rule.strip_source_prefix else rest
    return Pair(key, replica.key, None, replica)
