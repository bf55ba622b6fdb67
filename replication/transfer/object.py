"""Make one key at the destination equal to the source, now."""

from collections.abc import Callable
from dataclasses import dataclass

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.mapping.keys import KeyPolicy, PlannedKey, SkippedKey, plan_key
from replication.mapping.parts import check_size, plan_parts
from replication.models import (
    ArchivePolicy,
    DeletePolicy,
    Outcome,
    ReplicationRule,
    SourceKind,
)
from replication.stores.base import DestinationStore, ObjectInfo, SourceObject, SourceStore
from replication.stores.checksums import source_checksum
from replication.transfer.attributes import PlannedAttributes, plan_attributes
from replication.transfer.results import Completion, DeleteWanted, LargeObject
from replication.transfer.verified_body import Allowance, VerifiedBody, check_crc64


@dataclass(frozen=True)
class Transfer:
    """One key under one rule; `may_go_on` raises as soon as the job is not ours any more.

    With `allowance`, no byte is sent before it may be.
    """

    rule: ReplicationRule
    key: str
    source: SourceStore
    destination: DestinationStore
    may_go_on: Callable[[], None]
    threshold_bytes: int  # larger objects go in parts
    part_bytes: int
    allowance: Allowance | None = None
    size_bytes: int | None = None  # as it was last seen; for a large one a HEAD is less than a GET

    def run(self) -> Completion | LargeObject | DeleteWanted:
        """Copy the object as it is now, or take note that there is none.

        A large one is not copied here, and no replica deleted: that is only found out.

        Raises:
            ReplicationError: the try was unsuccessful; the replica is what it was before,
                except after CHECKSUM_MISMATCH.
            TransferStopped: the job is not ours any more, or shall be another's.
        """
        planned_key = plan_key(
            self.rule.destination_key(self.key),
            policy=KeyPolicy(self.rule.key_policy),
            prefix=self.rule.destination_prefix,
        )
        if isinstance(planned_key, SkippedKey):
            return Completion(Outcome.SKIPPED, remarks=planned_key.reason)
        try:
            if (large := self._still_large(planned_key)) is not None:
                return large
            source_object = self.source.open(self.key)
        except ObjectMissing as missing:
            return self._follow_delete(planned_key.key, missing)
        except ReplicationError as error:
            if error.code is ErrorCode.SOURCE_ARCHIVED:
                self._restore_if_the_rule_says_so()
            raise
        with source_object:
            planned = self._plan(source_object.info, planned_key)
            if isinstance(planned, LargeObject):
                return planned
            return self._put(source_object, planned_key.key, planned)

    def _still_large(self, key: PlannedKey) -> LargeObject | None:
        """The object, if it was large when it was last seen, and is."""
        if self.size_bytes is None or self.size_bytes <= self.threshold_bytes:
            return None
        if self.rule.source.kind != SourceKind.S3:
            return None  # only S3 answers HEAD as it answers GET
        info = self.source.head(self.key)
        if info.is_archived:
            return None  # a GET says so
        planned = self._plan(info, key)
        return planned if isinstance(planned, LargeObject) else None

    def _plan(self, info: ObjectInfo, key: PlannedKey) -> PlannedAttributes | LargeObject:
        tags = self.source.tags(self.key, version_id=info.version_id) if info.tag_count else {}
        planned = plan_attributes(self.rule, info, tags=tags, key=key)
        parts = plan_parts(
            info.size_bytes,
            threshold_bytes=self.threshold_bytes,
            preferred_part_bytes=self.part_bytes,
        )
        if parts is not None and info.is_pinnable:
            return LargeObject(info, key.key, parts, planned)
        check_size(info.size_bytes)
        return planned

    def _put(
        self, source_object: SourceObject, destination_key: str, planned: PlannedAttributes
    ) -> Completion:
        self.may_go_on()
        info = source_object.info
        expected = source_checksum(info)
        body = VerifiedBody(
            source_object, before_handing_on=self._before_handing_on, expected=expected
        )
        receipt = self.destination.put(destination_key, body, planned.attributes)
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
        )

    def _before_handing_on(self, size_bytes: int) -> None:
        self.may_go_on()
        if self.allowance is not None:
            self.allowance.spend(size_bytes, may_go_on=self.may_go_on)

    def _follow_delete(
        self, destination_key: str, missing: ObjectMissing
    ) -> Completion | DeleteWanted:
        if self.rule.delete_policy != DeletePolicy.MIRROR:
            return Completion(Outcome.ABSENT, source_request_id=missing.request_id)
        return DeleteWanted(destination_key, missing.request_id)

    def _restore_if_the_rule_says_so(self) -> None:
        """Raises SOURCE_RESTORING, if it does; S3 is asked each time, which it allows."""
        if self.rule.archive_policy != ArchivePolicy.RESTORE:
            return
        days, tier = self.rule.restore_days, self.rule.restore_tier
        try:
            self.source.request_restore(self.key, days=days, tier=tier)
        except ObjectMissing as missing:
            raise ReplicationError(
                ErrorCode.SOURCE_CHANGED, "it was deleted meanwhile", request_id=missing.request_id
            ) from missing
        raise ReplicationError(
            ErrorCode.SOURCE_RESTORING, f"asked for {days} days, by the tier {tier}"
        )
