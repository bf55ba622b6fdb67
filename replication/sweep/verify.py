"""Reads both sides of a key in full and compares the replica with what the rule would write."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

from replication.errors import Disposition, ErrorCode, ObjectMissing, ReplicationError
from replication.mapping.keys import KeyPolicy, PlannedKey, SkippedKey, plan_key
from replication.mapping.metadata import PROVENANCE_SOURCE
from replication.mapping.ownership import without_mark
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

# How much of an object each thread holds in memory.
READ_BYTES = 256 * 1024

_UNFINISHED = [JobState.PENDING, JobState.RUNNING]

# Errors of a whole side, which the next key would meet too. Other errors may concern one object.
SIDE_ERRORS = {
    ErrorCode.SOURCE_UNREACHABLE,
    ErrorCode.SOURCE_BUCKET_MISSING,
    ErrorCode.SOURCE_CREDENTIALS,
    ErrorCode.SOURCE_WRONG_REGION,
    ErrorCode.SOURCE_CLOCK,
    ErrorCode.SOURCE_ACCOUNT,
    ErrorCode.SOURCE_REQUESTER_PAYS,
    ErrorCode.SOURCE_INVALID_REQUEST,
    ErrorCode.SOURCE_ADDRESS_REFUSED,
    ErrorCode.SOURCE_TOKEN_SERVICE,
    ErrorCode.DESTINATION_UNREACHABLE,
    ErrorCode.DESTINATION_BUCKET_MISSING,
    ErrorCode.DESTINATION_CREDENTIALS,
    ErrorCode.DESTINATION_ENDPOINT,
    ErrorCode.DESTINATION_CLOCK,
    ErrorCode.DESTINATION_ACCOUNT,
    ErrorCode.DESTINATION_TOKEN_SERVICE,
    ErrorCode.CREDENTIAL_PROFILE,
}


class Comparison(StrEnum):
    """How the two sides of a key compare. The values are printed, and part of the JSON."""

    EQUAL = "equal"
    DIFFERS = "differs"
    MISSING = "missing at the destination"
    ABSENT = "absent on both sides"
    EXTRA = "extra"  # a replica without a source object
    LEFT_OUT = "left out"  # OSS can't have the key, and the rule leaves such keys out
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Verified:
    """A key and how its two sides compare.

    `reasons` say what differs, or why the key was not compared; then `code` is the error's code.
    With `has_unfinished_job`, the verdict may change as soon as the job is done.
    """

    key: str
    verdict: Comparison
    destination_key: str = ""  # empty if the rule leaves the key out, or it was not compared
    reasons: tuple[str, ...] = ()
    code: ErrorCode | None = None
    has_unfinished_job: bool = False


def verify(rule: ReplicationRule, keys: Iterable[str], *, threads: int) -> Iterator[Verified]:
    """Compare each key, `threads` at a time, and yield the results in the order of the keys.

    Args:
        rule: with its source and destination loaded, as the threads must not query the database.
        keys: the source's keys; they are read no faster than they are compared.

    Raises:
        ReplicationError: an error that the next key would meet too: a side can't be reached, or
            does not accept the credentials.
    """
    verifier = _Verifier(rule, source_store(rule.source), destination_store(rule.destination))
    waiting: deque[Future[Verified]] = deque()
    with ThreadPoolExecutor(threads, "verify") as pool:
        try:
            for key in keys:
                waiting.append(pool.submit(verifier.verify, key))
                if len(waiting) >= 2 * threads:
                    yield _with_job(rule, waiting.popleft().result())
            while waiting:
                yield _with_job(rule, waiting.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def would_be_repaired(verified: Verified, rule: ReplicationRule) -> bool:
    """Whether looking at the key again would change its replica."""
    if verified.verdict == Comparison.EXTRA:
        return rule.delete_policy == DeletePolicy.MIRROR
    return verified.verdict in {Comparison.DIFFERS, Comparison.MISSING}


@dataclass(frozen=True)
class _Verifier:
    rule: ReplicationRule
    source: SourceStore
    destination: DestinationStore

    def verify(self, key: str) -> Verified:
        try:
            return self._compare_with_retry(key)
        except ReplicationError as error:
            if error.code in SIDE_ERRORS:
                raise
            return Verified(key, Comparison.NOT_COMPARED, reasons=(str(error),), code=error.code)

    def _compare_with_retry(self, key: str) -> Verified:
        """Compare once more after an error that may pass, such as a broken connection."""
        try:
            return self._compare(key)
        except ReplicationError as error:
            if error.disposition in {Disposition.PERSON, Disposition.PERMANENT}:
                raise
            return self._compare(key)

    def _compare(self, key: str) -> Verified:
        planned = plan_key(
            self.rule.destination_key(key),
            policy=KeyPolicy(self.rule.key_policy),
            prefix=self.rule.destination_prefix,
        )
        if isinstance(planned, SkippedKey):
            return Verified(key, Comparison.LEFT_OUT, reasons=(planned.reason,))
        try:
            source_object = self.source.open(key)
        except ObjectMissing:
            has_replica = self.destination.head(planned.key) is not None
            verdict = Comparison.EXTRA if has_replica else Comparison.ABSENT
            return Verified(key, verdict, planned.key)
        with source_object:
            wanted = self._wanted(key, planned, source_object.info)
            # Asked first: without a replica of the same length, the object need not be read.
            replica = self.destination.head(planned.key)
            if replica is None:
                return Verified(key, Comparison.MISSING, planned.key)
            differences = self._differences(planned.key, source_object, replica, wanted)
        verdict = Comparison.DIFFERS if differences else Comparison.EQUAL
        return Verified(key, verdict, planned.key, tuple(differences))

    def _wanted(self, key: str, planned: PlannedKey, info: ObjectInfo) -> ReplicaAttributes:
        tags = self.source.tags(key, version_id=info.version_id) if info.tag_count else {}
        planned_attributes = plan_attributes(
            self.rule,
            info,
            source_key=key,
            tags=tags,
            key=planned,
            capabilities=self.rule.destination.capabilities,
        )
        return planned_attributes.attributes

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
            return found + self._attribute_differences(destination_key, replica, wanted)
        crc64 = _crc64(source_object, ErrorCode.SOURCE_TRUNCATED)
        replica_object = self.destination.open(destination_key)
        if replica_object is None:
            return ["the replica was deleted during the comparison"]
        with replica_object:
            replica_crc64 = _crc64(replica_object, ErrorCode.DESTINATION_UNREACHABLE)
            replica = replica_object.info
        found = [] if replica_crc64 == crc64 else [f"CRC-64 is {replica_crc64}, not {crc64}"]
        return found + self._attribute_differences(destination_key, replica, wanted)

    def _attribute_differences(
        self, destination_key: str, replica: ReplicaInfo, wanted: ReplicaAttributes
    ) -> list[str]:
        headers = replica.content_headers
        if "content-type" not in wanted.content_headers:
            # OSS gives every object a content type.
            headers = {name: headers[name] for name in headers if name != "content-type"}
        tags = self.destination.tags(destination_key) if replica.tag_count else {}
        found = _name_differences("header", headers, wanted.content_headers)
        wanted_metadata = wanted.user_metadata
        if PROVENANCE_SOURCE not in replica.user_metadata:
            wanted_metadata = without_mark(wanted_metadata)  # an earlier version of s3sync wrote it
        found += _name_differences("metadata", replica.user_metadata, wanted_metadata)
        found += _name_differences("tag", tags, wanted.tags)
        if wanted.storage_class and replica.storage_class != wanted.storage_class:
            found.append(
                f"storage class is {replica.storage_class or 'unknown'}, not {wanted.storage_class}"
            )
        return found + _encryption_differences(replica.encryption, wanted.encryption)


def _with_job(rule: ReplicationRule, verified: Verified) -> Verified:
    if verified.verdict == Comparison.EQUAL:
        return verified
    jobs = TransferJob.objects.filter(rule=rule, key=verified.key, state__in=_UNFINISHED)
    return replace(verified, has_unfinished_job=jobs.exists())


def _crc64(reader: Reader, truncated: ErrorCode) -> str:
    """The CRC-64 of all bytes, in decimal.

    Raises:
        ReplicationError: `truncated`, if the bytes end early; or what the reader raises.
    """
    crc64 = read_bytes = 0
    while data := reader.read(READ_BYTES):
        crc64 = CRC64.calc(data, crc64)
        read_bytes += len(data)
    if read_bytes != reader.length_bytes:
        raise ReplicationError(
            truncated, f"the answer ended after {read_bytes:,} of {reader.length_bytes:,} bytes"
        )
    return str(crc64)


def _name_differences(what: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """A line for each name whose value is not the wanted value."""
    lines = []
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            lines.append(f"{what} {name!r} is missing")
        elif name not in wanted:
            lines.append(f"{what} {name!r} should not be there")
        elif found[name] != wanted[name]:
            lines.append(f"{what} {name!r} is {found[name]!r}, not {wanted[name]!r}")
    return lines


def _encryption_differences(found: Encryption | None, wanted: Encryption | None) -> list[str]:
    if wanted is None:
        return []  # the bucket decides
    method = found.method if found else "none"
    if method != wanted.method:
        return [f"encryption is {method}, not {wanted.method}"]
    if found and wanted.kms_key_id and found.kms_key_id != wanted.kms_key_id:
        return [f"KMS key is {found.kms_key_id or 'the one of OSS'}, not {wanted.kms_key_id}"]
    return []
