"""Judges a key by what two listings say of it, and says how good the proof is.

Size and equal MD5 ETags prove that the bytes are equal. Unequal ETags prove nothing: S3's is no MD5
of an object that was uploaded in parts or encrypted with KMS. A replica that is older than the
object is certainly not its copy; a newer one of the same size is plausible, and can't be told from
an object that was overwritten by another of that size before our copy ended.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from replication.errors import ReplicationError
from replication.mapping.keys import KeyPolicy, SkippedKey, plan_key
from replication.models import ArchivePolicy, ReplicationRule
from replication.stores.listing import ListedObject
from replication.sweep.merging import Pair

# The clocks of S3 and OSS may differ by so much.
CLOCK_SKEW = timedelta(seconds=60)

_MD5 = re.compile("[0-9a-f]{32}", re.IGNORECASE)
_ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}


class Verdict(StrEnum):
    """How the two sides of a key compare. The values are printed, and part of the JSON."""

    EQUAL = "equal"
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"  # only the destination has it
    LEFT_OUT = "left out"  # by the rule's filters
    REFUSED = "refused"  # OSS can't have the key, and the rule does not rewrite it
    ARCHIVED = "archived"  # not readable until somebody restores it
    UNKNOWN = "unknown"  # it could not be compared

    @property
    def counter(self) -> str:
        """The sweep's field that counts it."""
        return self.value.replace(" ", "_")


# What a sweep is there to find.
DIFFERENCES = frozenset({Verdict.MISSING, Verdict.DIFFERENT, Verdict.EXTRA})


class Proof(StrEnum):
    """How good the evidence for a verdict is."""

    PROVED = "proved"
    PLAUSIBLE = "plausible"
    DOUBTFUL = "doubtful"  # a look at the objects must decide


@dataclass(frozen=True)
class Judgement:
    """The verdict on a key, what it rests on, and why, in words; empty where that is plain."""

    pair: Pair
    verdict: Verdict
    proof: Proof = Proof.PROVED
    reason: str = ""


def judge(rule: ReplicationRule, pair: Pair) -> Judgement:
    """Judge by the listings alone. A doubtful verdict needs a look at the objects themselves."""
    if not rule.matches(pair.key):
        return Judgement(pair, Verdict.LEFT_OUT)
    if pair.source is None:
        return Judgement(pair, Verdict.EXTRA)
    by_key = _by_key(rule, pair)
    if by_key is not None:
        return by_key
    if pair.replica is not None:
        return _compare(pair.source, pair.replica, pair)
    is_archived = pair.source.storage_class in _ARCHIVED
    fails = is_archived and rule.archive_policy == ArchivePolicy.FAIL
    return Judgement(pair, Verdict.ARCHIVED if fails else Verdict.MISSING)


def _by_key(rule: ReplicationRule, pair: Pair) -> Judgement | None:
    """Judge a key whose replica has another place or none; None if it has its own place."""
    if "\0" in pair.key:
        return Judgement(pair, Verdict.REFUSED, reason="it has a NUL, which no job can have")
    try:
        planned = plan_key(
            pair.wanted_key, policy=KeyPolicy(rule.key_policy), prefix=rule.destination_prefix
        )
    except ReplicationError as error:
        return Judgement(pair, Verdict.REFUSED, reason=error.detail)  # under the policy "fail"
    if isinstance(planned, SkippedKey):
        return Judgement(pair, Verdict.REFUSED, reason=planned.reason)
    if planned.is_rewritten:
        return Judgement(pair, Verdict.MISSING, Proof.DOUBTFUL, "the rule rewrites the key")
    return None


def of_other_size(pair: Pair, source_bytes: int, replica_bytes: int) -> Judgement:
    """The verdict on a key whose sides have different sizes."""
    sizes = f"{source_bytes} bytes at the source, {replica_bytes} at the destination"
    return Judgement(pair, Verdict.DIFFERENT, reason=sizes)


def _compare(source: ListedObject, replica: ListedObject, pair: Pair) -> Judgement:
    if source.size_bytes != replica.size_bytes:
        return of_other_size(pair, source.size_bytes, replica.size_bytes)
    both_md5 = _MD5.fullmatch(source.etag) and _MD5.fullmatch(replica.etag)
    if both_md5 and source.etag.lower() == replica.etag.lower():
        return Judgement(pair, Verdict.EQUAL)
    if _time(replica.modified) < _time(source.modified) - CLOCK_SKEW:
        return Judgement(pair, Verdict.DIFFERENT, reason="the replica is older than the object")
    if both_md5:
        return Judgement(pair, Verdict.DIFFERENT, Proof.DOUBTFUL, "the ETags differ")
    return Judgement(pair, Verdict.EQUAL, Proof.PLAUSIBLE)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
