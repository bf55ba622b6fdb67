"""Reads both sides of a key anew, and says whether the replica is what its rule would write."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

from replication.errors import Disposition, ErrorCode, ObjectMissing, ReplicationError
from replication.mapping.keys import KeyPolicy, PlannedKey, SkippedKey, plan_key
from replication.models import DeletePolicy, JobState, ReplicationRule, TransferJob
from replication.stores.base import (
    DestinationStore,
    Encryption,
    ObjectInfo,
    Reader,
    ReplicaAttributes,
    ReplicaInfo,
    SourceObject,
    SourceStore,
)
from replication.stores.checksums import CRC64
from replication.stores.factory import destination_store, source_store
from replication.transfer.attributes import plan_attributes

# What is held of an object at a time, on each thread.
READ_BYTES = 256 * 1024

_UNFINISHED = [JobState.PENDING, JobState.RUNNING]

# What the next key would meet too. A refusal may be of one object alone.
_OF_A_WHOLE_SIDE = {
    ErrorCode.SOURCE_UNREACHABLE,
    ErrorCode.SOURCE_BUCKET_MISSING,
    ErrorCode.SOURCE_CREDENTIALS,
    ErrorCode.SOURCE_WRONG_REGION,
    ErrorCode.SOURCE_CLOCK,
    ErrorCode.SOURCE_ADDRESS_REFUSED,
    ErrorCode.DESTINATION_UNREACHABLE,
    ErrorCode.DESTINATION_BUCKET_MISSING,
    ErrorCode.DESTINATION_CREDENTIALS,
    ErrorCode.DESTINATION_ENDPOINT,
    ErrorCode.DESTINATION_CLOCK,
    ErrorCode.CREDENTIAL_PROFILE,
}


class Verdict(StrEnum):
    """What was found of a key. The values are printed, and part of the JSON."""

    EQUAL = "equal"
    DIFFERS = "differs"
    MISSING = "missing at the destination"
    ABSENT = "absent on both sides"
    EXTRA = "extra"  # a replica of an object that is not there (any more)
    LEFT_OUT = "left out"  # OSS can't have the key, and the rule says to leave it out
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Verified:
    """A key, and what was found of it.

    `reasons` are what differs, or why it was not compared, with the `code` of an error;
    `has_unfinished_job` says that the verdict may be that of a moment.
    """

    key: str
    verdict: Verdict
    destination_key: str = ""  # empty where the rule has no place for it
    reasons: tuple[str, ...] = ()
    code: ErrorCode | None = None
    has_unfinished_job: bool = False


def verify(rule: ReplicationRule, keys: Iterable[str], *, threads: int) -> Iterator[Verified]:
    """Compare each key, `threads` at a time; what was found, in the order of the keys.

    Args:
        rule: with its source and destination, which are not asked for on the threads.
        keys: of the source; read no faster than they are compared.

    Raises:
        ReplicationError: one that the next key would meet too, as a side can't be reached, or
            does not know us.
    """
    comparison = _Comparison(rule, source_store(rule.source), destination_store(rule.destination))
    waiting: deque[Future[Verified]] = deque()
    with ThreadPoolExecutor(threads, "verify") as pool:
        try:
            for key in keys:
                waiting.append(pool.submit(comparison.of, key))
                if len(waiting) >= 2 * threads:
                    yield _with_job(rule, waiting.popleft().result())
            while waiting:
                yield _with_job(rule, waiting.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def would_be_mended(verified: Verified, rule: ReplicationRule) -> bool:
    """Whether another look at the key would change something."""
    if verified.verdict == Verdict.EXTRA:
        return rule.delete_policy == DeletePolicy.MIRROR
    return verified.verdict in {Verdict.DIFFERS, Verdict.MISSING}


@dataclass(frozen=True)
class _Comparison:
    rule: ReplicationRule
    source: SourceStore
    destination: DestinationStore

    def of(self, key: str) -> Verified:
        try:
            return self._of_or_again(key)
        except ReplicationError as error:
            if error.code in _OF_A_WHOLE_SIDE:
                raise
            return Verified(key, Verdict.NOT_COMPARED, reasons=(str(error),), code=error.code)

    def _of_or_again(self, key: str) -> Verified:
        """Once more after a setback that may be of a moment, such as a connection that broke."""
        try:
            return self._of(key)
        except ReplicationError as error:
            if error.disposition not in {Disposition.RETRY, Disposition.SLOW_DOWN}:
                raise
            return self._of(key)

    def _of(self, key: str) -> Verified:
        planned = plan_key(
            self.rule.destination_key(key),
            policy=KeyPolicy(self.rule.key_policy),
            prefix=self.rule.destination_prefix,
        )
        if isinstance(planned, SkippedKey):
            return Verified(key, Verdict.LEFT_OUT, reasons=(planned.reason,))
        try:
            source_object = self.source.open(key)
        except ObjectMissing:
            is_there = self.destination.head(planned.key) is not None
            verdict = Verdict.EXTRA if is_there else Verdict.ABSENT
            return Verified(key, verdict, planned.key)
        with source_object:
            wanted = self._wanted(key, planned, source_object.info)
            # Asked first: a source that has no replica, or one of another length, is not read.
            replica = self.destination.head(planned.key)
            if replica is None:
                return Verified(key, Verdict.MISSING, planned.key)
            differences = self._differences(planned.key, source_object, replica, wanted)
        verdict = Verdict.DIFFERS if differences else Verdict.EQUAL
        return Verified(key, verdict, planned.key, tuple(differences))

    def _wanted(self, key: str, planned: PlannedKey, info: ObjectInfo) -> ReplicaAttributes:
        tags = self.source.tags(key, version_id=info.version_id) if info.tag_count else {}
        return plan_attributes(self.rule, info, tags=tags, key=planned).attributes

    def _differences(
        self,
        destination_key: str,
        source_object: SourceObject,
        replica: ReplicaInfo,
        wanted: ReplicaAttributes,
    ) -> list[str]:
        size_bytes = source_object.info.size_bytes
        if replica.size_bytes != size_bytes:
            found = [f"length is {replica.size_bytes:,} bytes, not {size_bytes:,}"]
            return found + self._other_attributes(destination_key, replica, wanted)
        crc64 = _crc64(source_object, ErrorCode.SOURCE_TRUNCATED)
        replica_object = self.destination.open(destination_key)
        if replica_object is None:
            return ["it was deleted while it was compared"]
        with replica_object:
            replica_crc64 = _crc64(replica_object, ErrorCode.DESTINATION_UNREACHABLE)
            replica = replica_object.info
        found = [] if replica_crc64 == crc64 else [f"CRC-64 is {replica_crc64}, not {crc64}"]
        return found + self._other_attributes(destination_key, replica, wanted)

    def _other_attributes(
        self, destination_key: str, replica: ReplicaInfo, wanted: ReplicaAttributes
    ) -> list[str]:
        headers = replica.content_headers
        if "content-type" not in wanted.content_headers:
            # OSS gives every object one.
            headers = {name: headers[name] for name in headers if name != "content-type"}
        tags = self.destination.tags(destination_key) if replica.tag_count else {}
        found = _other("header", headers, wanted.content_headers)
        found += _other("metadata", replica.user_metadata, wanted.user_metadata)
        found += _other("tag", tags, wanted.tags)
        if wanted.storage_class and replica.storage_class != wanted.storage_class:
            found.append(
                f"storage class is {replica.storage_class or 'unknown'}, not {wanted.storage_class}"
            )
        return found + _other_encryption(replica.encryption, wanted.encryption)


def _with_job(rule: ReplicationRule, verified: Verified) -> Verified:
    if verified.verdict == Verdict.EQUAL:
        return verified
    jobs = TransferJob.objects.filter(rule=rule, key=verified.key, state__in=_UNFINISHED)
    return replace(verified, has_unfinished_job=jobs.exists())


def _crc64(reader: Reader, broke_off: ErrorCode) -> str:
    """Of all bytes, in decimal; `broke_off` is raised if they end early."""
    crc64 = read_bytes = 0
    while data := reader.read(READ_BYTES):
        crc64 = CRC64.calc(data, crc64)
        read_bytes += len(data)
    if read_bytes != reader.length_bytes:
        raise ReplicationError(
            broke_off, f"it ended after {read_bytes:,} of {reader.length_bytes:,} bytes"
        )
    return str(crc64)


def _other(what: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """A line for each name whose value is not the wanted one."""
    lines = []
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            lines.append(f"{what} {name!r} is missing")
        elif name not in wanted:
            lines.append(f"{what} {name!r} should not be there")
        elif found[name] != wanted[name]:
            lines.append(f"{what} {name!r} is {found[name]!r}, not {wanted[name]!r}")
    return lines


def _other_encryption(found: Encryption | None, wanted: Encryption | None) -> list[str]:
    if wanted is None:
        return []  # as the bucket says
    method = found.method if found else "none"
    if method != wanted.method:
        return [f"encryption is {method}, not {wanted.method}"]
    if found and wanted.kms_key_id and found.kms_key_id != wanted.kms_key_id:
        return [f"KMS key is {found.kms_key_id or 'that of OSS'}, not {wanted.kms_key_id}"]
    return []
