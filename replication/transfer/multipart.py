"""Makes one key equal when its object is large: begin the upload, carry its parts, complete it.

Each function is one step, which runs outside a lane's own thread. Nothing here knows the queue or
accesses the database.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.ownership import without_mark
from replication.models import MultipartUpload, Outcome
from replication.stores.base import DestinationStore, Receipt, ReplicaInfo, SourceStore
from replication.stores.checksums import SourceChecksum, combine_crc64
from replication.transfer.results import (
    CarriedPart,
    ClaimedPart,
    Completion,
    LargeObject,
    UploadBegun,
)
from replication.transfer.tags import set_tags
from replication.transfer.verified_body import Allowance, VerifiedBody, check_crc64

log = structlog.get_logger(__name__)


def begin_upload(
    large: LargeObject, destination: DestinationStore, *, raise_if_stopped: Callable[[], None]
) -> UploadBegun | Completion:
    """Begin the upload, unless the replica is already a copy of exactly this object: then only set
    its tags.

    If the credentials do not permit the check, skip it: only permission to write is required.

    Raises:
        ReplicationError: any error of the destination.
        TransferStopped: this lane no longer holds the job, or must hand it over.
    """
    key, attributes = large.destination_key, large.planned.attributes
    with _ignoring_access_denied():
        replica = destination.head(key)
        if replica is not None and _is_copy(replica, large):
            raise_if_stopped()
            if set_tags(destination, key, attributes.tags, replica=replica) is not None:
                return _completion(large, Outcome.UNCHANGED, crc64=replica.crc64, replica=replica)
    raise_if_stopped()
    return UploadBegun(large, destination.create_upload(key, attributes))


def carry_part(
    part: ClaimedPart,
    source: SourceStore,
    destination: DestinationStore,
    *,
    raise_if_stopped: Callable[[], None],
    allowance: Allowance | None,
) -> CarriedPart:
    """Copy one part from exactly the object that the upload was begun for.

    Raises:
        ReplicationError: SOURCE_CHANGED, UPLOAD_GONE, or any other error of either side.
        TransferStopped: this lane no longer holds the part, or must hand it over.
    """
    first_byte, last_byte = part.parts.part(part.number)
    running = part.checksum.begin() if part.checksum else None

    def before_send(size_bytes: int) -> None:
        raise_if_stopped()
        if allowance is not None:
            allowance.spend(size_bytes, raise_if_stopped=raise_if_stopped)

    raise_if_stopped()
    with source.open_range(
        part.key, first_byte=first_byte, last_byte=last_byte, pin=part.pin
    ) as reader:
        body = VerifiedBody(reader, before_send=before_send, running=running)
        receipt = destination.upload_part(part.destination_key, part.upload_id, part.number, body)
    check_crc64(read=body.finish(), answered=receipt.crc64, request_id=receipt.request_id)
    return CarriedPart(receipt, running.crc if running else 0)


def complete_upload(
    large: LargeObject,
    upload: MultipartUpload,
    parts: Sequence[CarriedPart],
    destination: DestinationStore,
    *,
    raise_if_stopped: Callable[[], None],
) -> Completion:
    """Complete the upload, after the parts together match the source's checksum.

    Raises:
        ReplicationError: SOURCE_CORRUPT, CHECKSUM_MISMATCH, UPLOAD_GONE, or another error of OSS.
        TransferStopped: this lane no longer holds the job, or must hand it over.
    """
    receipts = [part.receipt for part in parts]
    crc64 = combine_crc64((receipt.crc64, receipt.size_bytes) for receipt in receipts)
    checksum = _compare_with_source(upload, parts)
    key = upload.destination_key
    raise_if_stopped()
    try:
        receipt = destination.complete_upload(key, upload.upload_id, receipts)
    except ReplicationError as error:
        if error.code is not ErrorCode.UPLOAD_GONE:
            raise
        # A lane may have completed the upload and died before it could record that.
        replica = None
        with suppress(ReplicationError):
            replica = destination.head(key)
        if replica is None or replica.crc64 != crc64 or not _is_copy(replica, large):
            raise
        return _completion(large, Outcome.COPIED, crc64=crc64, checksum=checksum, replica=replica)
    check_crc64(read=crc64, answered=receipt.crc64, request_id=receipt.request_id)
    return _completion(large, Outcome.COPIED, crc64=crc64, checksum=checksum, replica=receipt)


@contextmanager
def _ignoring_access_denied() -> Iterator[None]:
    try:
        yield
    except ReplicationError as error:
        if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
            raise
        log.info("upload.may_not_look", detail=error.detail)


def _compare_with_source(upload: MultipartUpload, parts: Sequence[CarriedPart]) -> str:
    """Compare the parts with the source's checksum. Returns it; empty if the upload has none."""
    if not upload.checksum_name:
        return ""
    checksum = SourceChecksum(upload.checksum_name, upload.checksum_value)
    found = checksum.combine((part.source_crc, part.receipt.size_bytes) for part in parts)
    if found != checksum.expected:
        raise ReplicationError(
            ErrorCode.SOURCE_CORRUPT,
            f"read {checksum.shown(found)}, the source has {checksum.shown(checksum.expected)}",
        )
    return checksum.shown(found)


def _is_copy(replica: ReplicaInfo, large: LargeObject) -> bool:
    """Whether the replica is a copy of this object, with its attributes except for the tags."""
    wanted = large.planned.attributes
    return (
        replica.size_bytes == large.info.size_bytes
        and bool(large.info.last_modified)
        # A replica of an earlier version of s3sync has no mark, and is a copy all the same.
        and without_mark(replica.user_metadata) == without_mark(wanted.user_metadata)
        and replica.content_headers == dict(wanted.content_headers)
        and replica.storage_class == wanted.storage_class
    )


def _completion(
    large: LargeObject,
    outcome: Outcome,
    *,
    crc64: str,
    replica: ReplicaInfo | Receipt,
    checksum: str = "",
) -> Completion:
    info = large.info
    return Completion(
        outcome,
        size_bytes=info.size_bytes,
        source_etag=info.etag,
        source_version_id=info.version_id,
        source_crc64="" if outcome is Outcome.UNCHANGED else crc64,
        source_checksum=checksum,
        source_request_id=info.request_id,
        destination_etag=replica.etag,
        destination_crc64=replica.crc64,
        destination_request_id=replica.request_id,
        remarks="\n".join(large.planned.remarks),
    )
