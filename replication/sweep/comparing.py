"""Lists the two buckets of a rule, judges each key, and looks where listings can't tell."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice

from replication.mapping.keys import KeyPolicy, PlannedKey, plan_key
from replication.mapping.metadata import PROVENANCE_ETAG
from replication.models import ReplicationRule
from replication.stores.base import DestinationStore
from replication.stores.factory import destination_store, source_store
from replication.stores.listing import Listable, ListedPage, Unlistable
from replication.sweep.judging import Judgement, Proof, Verdict, judge
from replication.sweep.merging import list_all, merge, replica_prefix

# So many keys are judged together: their doubts are resolved side by side, and in one statement.
BATCH = 1000
LOOKS_AT_ONCE = 16


class Level(StrEnum):
    """How far a comparison goes to prove that a key is equal. The values are options."""

    LISTING = "listing"  # a newer replica of the same size is taken for a copy
    HEAD = "head"  # where the listings prove nothing, the replica's provenance must


class CantCompare(Exception):
    """The buckets can't be compared; the text says why, and what to do."""


@dataclass
class Tally:
    """What a comparison has seen, and what it has cost so far. Grows while it runs."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    plausible: int = 0  # of the equal ones
    source_keys: int = 0
    source_bytes: int = 0
    replica_keys: int = 0
    source_requests: int = 0
    destination_requests: int = 0

    @property
    def differ(self) -> int:
        """How many keys are missing, different or extra."""
        found = (Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA)
        return sum(self.verdicts[verdict] for verdict in found)


def compare(
    rule: ReplicationRule,
    tally: Tally,
    *,
    level: Level = Level.LISTING,
    prefix: str = "",
    after: str = "",
) -> Iterator[list[Judgement]]:
    """Compare all keys of the rule that begin with `prefix`, in the order of their keys.

    With `after`, begin behind this key of the source.

    Yields the judgements of BATCH keys at a time, those of equal and left-out keys too.

    Args:
        rule: with its source and destination loaded, as threads must not query the database.

    Raises:
        CantCompare: a side can't be listed in the order of its keys.
        ReplicationError: a side refuses, or can't be reached.
    """
    source, destination = source_store(rule.source), destination_store(rule.destination)
    if not isinstance(source, Listable) or not isinstance(destination, Listable):
        raise CantCompare("A web server has no listing: compare a list of keys with `verify`.")
    if not prefix.startswith(rule.source_prefix):
        prefix = rule.source_prefix

    def note_source(page: ListedPage) -> None:
        tally.source_requests += 1
        tally.source_keys += len(page.objects)
        tally.source_bytes += sum(one.size_bytes for one in page.objects)

    def note_replicas(page: ListedPage) -> None:
        tally.destination_requests += 1
        tally.replica_keys += len(page.objects)

    pairs = merge(
        rule,
        list_all(source, prefix=prefix, after=after, on_page=note_source),
        list_all(
            destination,
            prefix=replica_prefix(rule, prefix),
            after=rule.destination_key(after) if after else "",
            on_page=note_replicas,
        ),
    )
    try:
        with ThreadPoolExecutor(LOOKS_AT_ONCE, "look") as pool:
            while batch := [judge(rule, pair) for pair in islice(pairs, BATCH)]:
                doubtful = {one.pair.key: one for one in batch if _needs_a_look(one, level)}
                looks = pool.map(partial(_look, rule, destination), doubtful.values())
                tally.destination_requests += len(doubtful)
                doubtful = dict(zip(doubtful, looks, strict=True))
                judged = [doubtful.get(one.pair.key, one) for one in batch]
                tally.verdicts.update(one.verdict for one in judged)
                tally.plausible += sum(one.proof is Proof.PLAUSIBLE for one in judged)
                yield judged
    except Unlistable as error:
        raise CantCompare(f"A listing can't be followed: {error}.") from error


def _needs_a_look(judgement: Judgement, level: Level) -> bool:
    return judgement.proof is Proof.DOUBTFUL or (
        level is Level.HEAD and judgement.proof is Proof.PLAUSIBLE
    )


def _look(rule: ReplicationRule, destination: DestinationStore, doubted: Judgement) -> Judgement:
    """Judge by the replica's provenance: the size and the ETag that its copy had at the source."""
    pair = doubted.pair
    assert pair.source is not None
    planned = plan_key(
        pair.wanted_key, policy=KeyPolicy(rule.key_policy), prefix=rule.destination_prefix
    )
    assert isinstance(planned, PlannedKey)
    replica = destination.head(planned.key)
    if replica is None:
        return Judgement(pair, Verdict.MISSING)
    is_copy = (
        replica.size_bytes == pair.source.size_bytes
        and replica.user_metadata.get(PROVENANCE_ETAG) == pair.source.etag
    )
    if is_copy:
        return Judgement(pair, Verdict.EQUAL)
    return Judgement(pair, Verdict.DIFFERENT, reason="the replica is a copy of another object")
