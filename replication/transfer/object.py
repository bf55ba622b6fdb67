"""Makes one key at the destination equal to the source as it is now, and knows no queue."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.mapping.capabilities import AS_DOCUMENTED, Capabilities, wanted_capabilities
from replication.mapping.keys import KeyPolicy, PlannedKey, SkippedKey, plan_key
from replication.mapping.ownership import mark_of
from replication.mapping.parts import check_size, plan_parts
from replication.models import (
    ArchivePolicy,
    DeletePolicy,
    Outcome,
    ReplicationRule,
    SourceKind,
)
from replication.stores.base import DestinationStore, ObjectInfo, SourceObject, SourceStore
from replication.stores.checksums import SourceChecksum, source_checksum
from replication.transfer.attributes import PlannedAttributes, plan_attributes
from replication.transfer.capabilities import BucketCapabilities
from replication.transfer.results import Completion, DeleteWanted, LargeObject
from replication.transfer.tags import SourceTags, TagsOfCopy, read_tags
from replication.transfer.verified_body import (
    Allowance,
    GuessRefuted,
    VerifiedBody,
    check_crc64,
)


@dataclass(frozen=True)
class Transfer:
    """The transfer of one key under one rule.

    `raise_if_stopped` raises TransferStopped once this lane must not write any more. `allowance`,
    if given, holds the bytes back to the rate limit of the destination. `capabilities` says what
    the bucket takes; without it, the bucket is never asked.
    """

    rule: ReplicationRule
    key: str
    source: SourceStore
    destination: DestinationStore
    raise_if_stopped: Callable[[], None]
    threshold_bytes: int  # larger objects are copied in parts
    part_bytes: int
    allowance: Allowance | None = None
    capabilities: BucketCapabilities | None = None
    size_bytes: int | None = None  # as last seen; if large, a HEAD is cheaper than a GET
    ignores_filters: bool = False  # a person asked for this key
    only_tags: bool = False  # nothing but tags is known to have changed

    def run(self) -> Completion | LargeObject | DeleteWanted:
        """Copy the object as it is now, or find that it is missing.

        With `only_tags`, only set the replica's tags, if it is a copy of the object as it is now.

        This does not copy a large object and does not delete a replica: the result only says that
        this is the next step.

        Raises:
            ReplicationError: the attempt was unsuccessful; the replica is unchanged, except after
                CHECKSUM_MISMATCH.
            TransferStopped: this lane no longer holds the job, or must hand it over.
        """
        if not self.rule.asks_for(self.key, ignoring_filters=self.ignores_filters):
            return Completion(Outcome.UNWANTED)
        planned_key = plan_key(
            self.rule.destination_key(self.key),
            policy=KeyPolicy(self.rule.key_policy),
            prefix=self.rule.destination_prefix,
        )
        if isinstance(planned_key, SkippedKey):
            return Completion(Outcome.SKIPPED, remarks=planned_key.reason)
        try:
            unopened = self._set_tags_of_copy(planned_key.key) or self._head_if_large(planned_key)
            if unopened is not None:
                return unopened
            asked_at = time.monotonic()
            source_object = self.source.open(self.key)
            opened_in = time.monotonic() - asked_at
        except ObjectMissing as missing:
            return self._result_for_missing(planned_key.key, missing)
        except ReplicationError as error:
            if error.code is ErrorCode.SOURCE_ARCHIVED:
                self._request_restore_if_enabled()
            raise
        with source_object:
            planned = self._plan(source_object.info, planned_key)
            if isinstance(planned, LargeObject):
                return planned
            return self._put(source_object, planned_key.key, planned, opened_in)

    def _set_tags_of_copy(self, destination_key: str) -> Completion | None:
        if not self.only_tags or self.rule.source.kind != SourceKind.S3:
            return None
        return TagsOfCopy(
            self.rule,
            self.key,
            destination_key,
            self.source,
            self.destination,
            self.raise_if_stopped,
            self._capabilities,
        ).set()

    def _head_if_large(self, key: PlannedKey) -> LargeObject | None:
        """The object from a HEAD, if it was large when last seen and still is; else None."""
        if self.size_bytes is None or self.size_bytes <= self.threshold_bytes:
            return None
        if self.rule.source.kind != SourceKind.S3:
            return None  # only S3 answers a HEAD like a GET
        info = self.source.head(self.key)
        if info.is_archived:
            return None  # the GET then raises SOURCE_ARCHIVED
        planned = self._plan(info, key)
        return planned if isinstance(planned, LargeObject) else None

    def _plan(self, info: ObjectInfo, key: PlannedKey) -> PlannedAttributes | LargeObject:
        parts = plan_parts(
            info.size_bytes,
            threshold_bytes=self.threshold_bytes,
            preferred_part_bytes=self.part_bytes,
        )
        if parts is not None and info.is_pinnable:
            return LargeObject(info, key.key, parts, self._plan_attributes_of_large(info, key))
        check_size(info.size_bytes)
        tags = self.source.tags(self.key, version_id=info.version_id) if info.tag_count else {}
        return self._plan_attributes(info, key, tags)

    def _plan_attributes_of_large(self, info: ObjectInfo, key: PlannedKey) -> PlannedAttributes:
        found = SourceTags({})
        if self.rule.source.kind == SourceKind.S3:
            found = read_tags(self.source, self.key, info)
        planned = self._plan_attributes(info, key, found.tags)
        remarks = (found.unread,) if found.unread else ()
        return replace(planned, remarks=(*planned.remarks, *remarks))

    def _plan_attributes(
        self, info: ObjectInfo, key: PlannedKey, tags: Mapping[str, str]
    ) -> PlannedAttributes:
        capabilities = self._capabilities(wanted_capabilities(info.user_metadata, tags))
        return plan_attributes(
            self.rule, info, source_key=self.key, tags=tags, key=key, capabilities=capabilities
        )

    def _capabilities(self, wanted: Capabilities) -> Capabilities:
        """What the bucket takes of what an object wants."""
        if wanted == AS_DOCUMENTED:
            return AS_DOCUMENTED
        if self.capabilities is None:
            return self.rule.destination.capabilities
        return self.capabilities.of(self.rule, self.destination, wanted=wanted)

    def _put(
        self,
        source_object: SourceObject,
        destination_key: str,
        planned: PlannedAttributes,
        opened_in_seconds: float,
    ) -> Completion:
        expected = source_checksum(source_object.info)
        try:
            return self._put_verified(
                source_object,
                destination_key,
                planned,
                expected,
                opened_in_seconds=opened_in_seconds,
            )
        except GuessRefuted as refuted:
            return self._put_again(source_object.info, destination_key, planned, refuted.found)

    def _put_again(
        self,
        before: ObjectInfo,
        destination_key: str,
        planned: PlannedAttributes,
        found: SourceChecksum,
    ) -> Completion:
        """Copy the object if a second read gives the bytes of the first one."""
        try:
            with self.source.open(self.key) as again:
                if (again.info.etag, again.info.size_bytes) != (before.etag, before.size_bytes):
                    raise ReplicationError(
                        ErrorCode.SOURCE_CHANGED,
                        f"the ETag was {before.etag}, and is now {again.info.etag}",
                        request_id=again.info.request_id,
                    )
                copied = self._put_verified(again, destination_key, planned, found)
        except ObjectMissing as missing:
            raise ReplicationError(
                ErrorCode.SOURCE_CHANGED,
                "the object was deleted meanwhile",
                request_id=missing.request_id,
            ) from missing
        remark = f"the ETag is no MD5 of the content: two reads gave {found.shown(found.expected)}"
        remarks = "\n".join([*planned.remarks, remark])
        return replace(copied, source_checksum="", remarks=remarks)

    def _put_verified(
        self,
        source_object: SourceObject,
        destination_key: str,
        planned: PlannedAttributes,
        expected: SourceChecksum | None,
        *,
        opened_in_seconds: float | None = None,
    ) -> Completion:
        self.raise_if_stopped()
        info = source_object.info
        body = VerifiedBody(source_object, before_send=self._before_send, expected=expected)
        receipt = self.destination.put(destination_key, body, planned.attributes)
        answered_at = time.monotonic()
        crc64 = body.finish()
        check_crc64(read=crc64, answered=receipt.crc64, request_id=receipt.request_id)
        return Completion(
            Outcome.COPIED,
            size_bytes=info.size_bytes,
            source_etag=info.etag,
            source_version_id=info.version_id,
            source_crc64=crc64,
            source_checksum=expected.shown(expected.expected) if expected else "",
            source_request_id=info.request_id,
            destination_etag=receipt.etag,
            destination_crc64=receipt.crc64,
            destination_request_id=receipt.request_id,
            remarks="\n".join(planned.remarks),
            latency_seconds=(
                None
                if opened_in_seconds is None
                else opened_in_seconds + body.held_back_seconds + answered_at - body.ended_at
            ),
        )

    def _before_send(self, size_bytes: int) -> None:
        self.raise_if_stopped()
        if self.allowance is not None:
            self.allowance.spend(size_bytes, raise_if_stopped=self.raise_if_stopped)

    def _result_for_missing(
        self, destination_key: str, missing: ObjectMissing
    ) -> Completion | DeleteWanted:
        # What a person asks for although the filters exclude it is copied, but never deleted.
        if self.rule.delete_policy != DeletePolicy.MIRROR or not self.rule.matches(self.key):
            return Completion(Outcome.ABSENT, source_request_id=missing.request_id)
        replica = self.destination.head(destination_key)
        if replica is None:
            return Completion(Outcome.ABSENT, source_request_id=missing.request_id)
        mark = mark_of(replica.user_metadata, location=self.rule.source.location, key=self.key)
        return DeleteWanted(destination_key, missing.request_id, mark, replica.etag)

    def _request_restore_if_enabled(self) -> None:
        """Request a restore and raise SOURCE_RESTORING, if the rule restores archived objects.

        S3 allows repeated requests, so each attempt sends one.
        """
        if self.rule.archive_policy != ArchivePolicy.RESTORE:
            return
        days, tier = self.rule.restore_days, self.rule.restore_tier
        try:
            kept_days = self.source.request_restore(self.key, days=days, tier=tier)
        except ObjectMissing as missing:
            raise ReplicationError(
                ErrorCode.SOURCE_CHANGED,
                "the object was deleted meanwhile",
                request_id=missing.request_id,
            ) from missing
        how_long = "for good" if kept_days is None else f"for {kept_days} days"
        raise ReplicationError(
            ErrorCode.SOURCE_RESTORING, f"requested a restore {how_long}, tier {tier}"
        )
