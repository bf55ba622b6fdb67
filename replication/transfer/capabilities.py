"""What the destinations' buckets take: by their rows, or by asking a bucket once.

A bucket is asked when the first object needs the answer, and never again once the answer is on the
destination's row.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import structlog

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import Capabilities
from replication.mapping.keys import REWRITTEN_MARK
from replication.models import Destination, ReplicationRule, Takes
from replication.stores.base import DestinationStore, ReplicaAttributes
from replication.stores.probe import Learned, ask_bucket
from replication.stores.transport.fibers import run_blocking
from replication.transfer.attributes import encryption_of

log = structlog.get_logger(__name__)

_UNKNOWN = Learned(Takes.UNKNOWN, Takes.UNKNOWN)


@dataclass(frozen=True)
class LearnedOf:
    """What a destination's bucket takes, to be recorded."""

    destination: Destination
    learned: Learned

    def record(self) -> None:
        """Keep it on the destination's row."""
        self.destination.record_capabilities(
            non_ascii_metadata=self.learned.non_ascii_metadata,
            non_ascii_tags=self.learned.non_ascii_tags,
        )


class BucketCapabilities:
    """Used by many transfers at the same time. `tell` is called with each answer of a bucket."""

    def __init__(self, tell: Callable[[LearnedOf], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], Future[Learned]] = {}  # by endpoint and bucket

    def of(
        self, rule: ReplicationRule, store: DestinationStore, *, wanted: Capabilities
    ) -> Capabilities:
        """What the rule's bucket takes of what an object wants; it is asked if that is unknown.

        Raises:
            ReplicationError: the bucket does not answer.
        """
        destination = rule.destination
        if not destination.lacks_answer_for(wanted):
            return destination.capabilities
        learned = run_blocking(partial(self._ask_once, rule, store))
        return Capabilities(
            non_ascii_metadata=learned.non_ascii_metadata == Takes.YES,
            non_ascii_tags=learned.non_ascii_tags == Takes.YES,
        )

    def _ask_once(self, rule: ReplicationRule, store: DestinationStore) -> Learned:
        """The bucket's answer; transfers that want it at the same time share it, or its failure."""
        destination = rule.destination
        place = (destination.endpoint, destination.bucket)
        with self._lock:
            answer = self._answers.get(place)
            is_ours = answer is None
            if answer is None:
                answer = self._answers[place] = Future()
        if is_ours:
            try:
                learned = _ask(rule, store)
            except BaseException as error:
                with self._lock:
                    del self._answers[place]
                answer.set_exception(error)
            else:
                self._tell(LearnedOf(destination, learned))
                answer.set_result(learned)
        return answer.result()


def plain_attributes(rule: ReplicationRule) -> ReplicaAttributes:
    """The attributes with which a bucket is asked, so that it takes the object itself."""
    return ReplicaAttributes(storage_class="Standard", encryption=encryption_of(rule))


def _ask(rule: ReplicationRule, store: DestinationStore) -> Learned:
    """Ask with an object below the rule's own prefix, behind the mark of keys of s3sync's own."""
    start = rule.destination_key(rule.source_prefix)
    key = f"{start}{REWRITTEN_MARK}probe/{uuid4()}"
    try:
        learned = ask_bucket(store, key, plain_attributes(rule))
    except ReplicationError as error:
        if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
            raise
        learned = _UNKNOWN
    log.info(
        "destination.learned",
        destination=rule.destination.name,
        non_ascii_metadata=learned.non_ascii_metadata.value,
        non_ascii_tags=learned.non_ascii_tags.value,
    )
    return learned
