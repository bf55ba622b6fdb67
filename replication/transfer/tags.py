"""Reads the tags of a source object; sets the tags of its replica without copying its bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import Capabilities, wanted_capabilities
from replication.mapping.ownership import Mark, mark_of
from replication.mapping.tags import TagPolicy, plan_tags
from replication.models import Outcome, ReplicationRule
from replication.stores.base import DestinationStore, ObjectInfo, ReplicaInfo, SourceStore
from replication.transfer.attributes import provenance, remark_for_dropped
from replication.transfer.results import Completion

log = structlog.get_logger(__name__)

TAGS_SET = "only the tags were set: the bytes were copied before"

# Why an object is replicated without tags, where the source counts none.
_WITHOUT_TAGS = {
    ErrorCode.SOURCE_ACCESS_DENIED: "the source denies access to them",
    ErrorCode.SOURCE_UNSUPPORTED: "the source does not support them",
}


@dataclass(frozen=True)
class SourceTags:
    """The tags of a source object; `unread` says why they can't be read."""

    tags: Mapping[str, str]
    unread: str = ""


def read_tags(source: SourceStore, key: str, info: ObjectInfo) -> SourceTags:
    """Read the tags whatever `tag_count` says: some servers do not count them in a HEAD.

    Raises:
        ReplicationError: the object has tags that can't be read, or any other failure.
    """
    try:
        return SourceTags(source.tags(key, version_id=info.version_id))
    except ReplicationError as error:
        if info.tag_count or error.code not in _WITHOUT_TAGS:
            raise
        reason = _WITHOUT_TAGS[error.code]
        return SourceTags({}, f"without tags, if the object has any: {reason}")


def set_tags(
    destination: DestinationStore, key: str, tags: Mapping[str, str], *, replica: ReplicaInfo
) -> str | None:
    """Set the replica's tags; returns the id of the request, which is empty if none was needed.

    Returns None if the replica is gone. The tags are set without comparing them first: to read them
    would cost as much, and need one permission more.

    Raises:
        ReplicationError: the request failed.
    """
    if not tags and not replica.tag_count:
        return ""
    receipt = destination.set_tags(key, tags)
    return receipt.request_id if receipt else None


@dataclass(frozen=True)
class TagsOfCopy:
    """Sets the tags of the replica of one key, if the replica is a copy of the object as it is now.

    `raise_if_stopped` raises TransferStopped once this lane must not write any more. `capabilities`
    says what the bucket takes of what an object wants.
    """

    rule: ReplicationRule
    key: str
    destination_key: str
    source: SourceStore
    destination: DestinationStore
    raise_if_stopped: Callable[[], None]
    capabilities: Callable[[Capabilities], Capabilities]

    def set(self) -> Completion | None:
        """Set the tags; None if the object must be copied in full instead.

        It must be if the replica is missing or not known to be such a copy, and if the destination
        denies one of these requests: the permission to write objects is enough for a copy.

        The object is never read, so that an archived one needs no restore. In a bucket with
        versions, the tags are those of the current version, whichever version the event was for.

        Raises:
            ObjectMissing: the source clearly says that there is no such object.
            ReplicationError: METADATA_INCOMPATIBLE, if the rule's policy is to fail; or any error
                of either side.
            TransferStopped: this lane no longer holds the job, or must hand it over.
        """
        info = self.source.head(self.key)
        try:
            replica = self.destination.head(self.destination_key)
            if replica is None or not self._is_copy(replica, info):
                return None
            return self._set_tags(replica, info)
        except ReplicationError as error:
            if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
                raise
            log.info("tags.may_not_set", rule=self.rule.name, key=self.key, detail=error.detail)
            return None

    def _is_copy(self, replica: ReplicaInfo, info: ObjectInfo) -> bool:
        """Whether this rule has copied the replica from exactly this object.

        The time is compared besides the ETag: a new object of the same bytes has the same ETag, but
        may have other metadata. A change of tags leaves the time as it was.
        """
        fields = replica.user_metadata
        location = self.rule.source.location
        return (
            replica.size_bytes == info.size_bytes
            and mark_of(fields, location=location, key=self.key) is Mark.OURS
            and provenance(info).items() <= fields.items()
        )

    def _set_tags(self, replica: ReplicaInfo, info: ObjectInfo) -> Completion | None:
        found = read_tags(self.source, self.key, info)
        if found.unread:
            return _completion(info, replica, remarks=[found.unread])
        capabilities = self.capabilities(wanted_capabilities({}, found.tags))
        policy = TagPolicy(self.rule.tag_policy)
        planned = plan_tags(found.tags, policy=policy, capabilities=capabilities)
        self.raise_if_stopped()
        request_id = set_tags(self.destination, self.destination_key, planned.tags, replica=replica)
        if request_id is None:
            return None
        remarks = [remark_for_dropped(each) for each in planned.dropped]
        if request_id:
            remarks.append(TAGS_SET)
        return _completion(info, replica, remarks=remarks, request_id=request_id)


def _completion(
    info: ObjectInfo, replica: ReplicaInfo, *, remarks: list[str], request_id: str = ""
) -> Completion:
    return Completion(
        Outcome.UNCHANGED,
        size_bytes=info.size_bytes,
        source_etag=info.etag,
        source_version_id=info.version_id,
        source_request_id=info.request_id,
        destination_etag=replica.etag,
        destination_crc64=replica.crc64,
        destination_request_id=request_id or replica.request_id,
        remarks="\n".join(remarks),
    )
