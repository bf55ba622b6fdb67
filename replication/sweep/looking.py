"""Looks at the objects themselves where listings can't tell, and once more at what differed.

A replica of ours carries the ETag that its object had at the source. So one HEAD at the destination
tells whether it is a copy of the object that the source lists.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime

from replication.errors import Disposition, ObjectMissing, ReplicationError
from replication.mapping.keys import KeyPolicy, PlannedKey, original_key, plan_key
from replication.mapping.metadata import PROVENANCE_ETAG
from replication.mapping.ownership import Mark, mark_of
from replication.models import ReplicationRule
from replication.stores.base import DestinationStore, ReplicaInfo, SourceStore
from replication.stores.listing import ListedObject
from replication.sweep.judging import Judgement, Proof, Verdict, judge, of_other_size
from replication.sweep.merging import KeyMap, Pair
from replication.sweep.verify import SIDE_ERRORS

LOOKS_AT_ONCE = 16

_TRANSIENT = {Disposition.RETRY, Disposition.SLOW_DOWN}


class Looker:
    """Looks at objects of a rule, several at a time. Counts its requests.

    Args:
        rule: with its source and destination loaded, as threads must not query the database.
    """

    def __init__(
        self,
        rule: ReplicationRule,
        source: SourceStore,
        destination: DestinationStore,
        executor: Executor,
    ) -> None:
        self._rule = rule
        self._source = source
        self._destination = destination
        self._executor = executor
        self._keys = KeyMap(rule)
        self.source_requests = 0
        self.destination_requests = 0

    def resolve(self, doubtful: Iterable[Judgement]) -> list[Judgement]:
        """Judge pairs by the provenance of the replica, in their order.

        Raises:
            ReplicationError: a side fails in a way that the next key would meet too.
        """
        doubtful = list(doubtful)
        self.destination_requests += len(doubtful)
        return list(self._executor.map(self._resolve, doubtful))

    def look(self, keys: Iterable[str]) -> Iterator[Judgement]:
        """Judge keys of the source by a HEAD of both sides, in their order. A key that is on
        neither side is equal.

        Raises:
            ReplicationError: see `resolve`.
        """
        keys = list(keys)
        self.source_requests += len(keys)
        self.destination_requests += len(keys)
        return self._executor.map(self._look, keys)

    def owners(self, rewritten: Iterable[ListedObject]) -> Iterator[Judgement]:
        """Judge replicas with rewritten keys: one whose object is gone is extra. The others are
        judged with their objects, and not yielded.

        Raises:
            ReplicationError: see `resolve`.
        """
        rewritten = list(rewritten)
        self.source_requests += len(rewritten)
        self.destination_requests += len(rewritten)
        return (one for one in self._executor.map(self._owner, rewritten) if one is not None)

    def ours(self, keys: Sequence[str]) -> set[str]:
        """Those keys whose replica is marked as a copy of the key's object.

        Raises:
            ReplicationError: see `resolve`.
        """
        self.destination_requests += len(keys)
        marked = self._executor.map(self._is_ours, keys)
        return {key for key, is_ours in zip(keys, marked, strict=True) if is_ours}

    def _is_ours(self, key: str) -> bool:
        replica = self._replica(self._place(key))
        return replica is not None and Mark.OURS is mark_of(
            replica.user_metadata, location=self._rule.source.location, key=key
        )

    def _place(self, key: str) -> str:
        """Where the replica of a key is; empty if it has no place."""
        try:
            planned = plan_key(
                self._rule.destination_key(key),
                policy=KeyPolicy(self._rule.key_policy),
                prefix=self._rule.destination_prefix,
            )
        except ReplicationError:
            return ""
        return planned.key if isinstance(planned, PlannedKey) else ""

    def _replica(self, place: str) -> ReplicaInfo | None:
        if not place:
            return None
        return self._destination.head(place)

    def _object(self, key: str) -> ListedObject | None:
        try:
            info = self._source.head(key)
        except ObjectMissing:
            return None
        archived = "GLACIER" if info.is_archived else info.storage_class
        return ListedObject(key, info.size_bytes, info.etag, _text(info.last_modified), archived)

    def _resolve(self, doubted: Judgement) -> Judgement:
        pair = doubted.pair
        assert pair.source is not None
        try:
            replica = self._replica(self._place(pair.key))
        except ReplicationError as error:
            return _unknown(pair, error)
        if replica is None:
            return Judgement(pair, Verdict.MISSING)
        return _by_provenance(pair, pair.source, replica)

    def _look(self, key: str) -> Judgement:
        wanted = self._rule.destination_key(key)
        pair = Pair(key, wanted, None, None)
        try:
            found = self._object(key)
            replica = self._replica(self._place(key))
        except ReplicationError as error:
            return _unknown(pair, error)
        listed = None if replica is None else _as_listed(wanted, replica)
        pair = Pair(key, wanted, found, listed)
        if found is None and replica is None:
            return Judgement(pair, Verdict.EQUAL)
        if found is not None and replica is not None and self._rule.matches(key):
            by_listing = judge(self._rule, pair)
            if by_listing.verdict is Verdict.EQUAL and by_listing.proof is Proof.PROVED:
                return by_listing
            return _by_provenance(pair, found, replica)
        return judge(self._rule, pair)

    def _owner(self, replica: ListedObject) -> Judgement | None:
        try:
            found = self._replica(replica.key)
            if found is None:
                return None
            key = self._keys.source(original_key(replica.key, found.user_metadata))
            if self._object(key) is not None:
                return None
        except ReplicationError as error:
            return _unknown(Pair(replica.key, replica.key, None, replica), error)
        return Judgement(Pair(key, replica.key, None, replica), Verdict.EXTRA)


def _by_provenance(pair: Pair, source: ListedObject, replica: ReplicaInfo) -> Judgement:
    pair = pair._replace(replica=_as_listed(pair.wanted_key, replica))
    if source.size_bytes != replica.size_bytes:
        return of_other_size(pair, source.size_bytes, replica.size_bytes)
    if replica.user_metadata.get(PROVENANCE_ETAG) == source.etag:
        return Judgement(pair, Verdict.EQUAL)
    return Judgement(pair, Verdict.DIFFERENT, reason="the replica is no copy of this object")


def _unknown(pair: Pair, error: ReplicationError) -> Judgement:
    """
    Raises:
        ReplicationError: `error`, if the next key would meet it too.
    """
    if error.code in SIDE_ERRORS or error.disposition in _TRANSIENT:
        raise error
    return Judgement(pair, Verdict.UNKNOWN, reason=str(error))


def _as_listed(key: str, replica: ReplicaInfo) -> ListedObject:
    modified = _text(replica.last_modified)
    return ListedObject(key, replica.size_bytes, replica.etag, modified, replica.storage_class)


def _text(moment: datetime | None) -> str:
    return (moment or datetime.fromtimestamp(0, UTC)).isoformat()
