"""What moves a large object: an upload begun, each of its parts carried, the whole completed.

Each is one step beside a lane's thread; nothing here talks to the database.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from replication.errors import ErrorCode, ReplicationError
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
from replication.transfer.verified_body import Allowance, VerifiedBody, check_crc64

log = structlog.get_logger(__name__)


def begin_upload(
    large: LargeObject, destination: DestinationStore, *, may_go_on: Callable[[], None]
) -> UploadBegun | Completion:
    """Begin the upload, unless the replica is a copy of exactly this object already.

    Uploads of the same key that were left behind are aborted: we are its only writer. Neither is
    done where the credentials may not look: they must be able to write, no more.

    Raises:
        ReplicationError: whatever the destination refuses.
        TransferStopped: the job is not ours any more.
    """
    key, attributes = large.destination_key, large.planned.attributes
    with _whatever_is_denied():
        there = destination.head(key)
        if there is not None and _is_copy(there, large):
            return _completion(large, Outcome.UNCHANGED, crc64=there.crc64, replica=there)
    may_go_on()
    with _whatever_is_denied():
        for unfinished in list(destination.list_uploads(key)):
            if unfinished.key == key:
                destination.abort_upload(key, unfinished.upload_id)
    return UploadBegun(large, destination.create_upload(key, attributes))


def carry_part(
    part: ClaimedPart,
    source: SourceStore,
    destination: DestinationStore,
    *,
    may_go_on: Callable[[], None],
    allowance: Allowance | None,
) -> CarriedPart:
    """Copy one part, from exactly the object that the upload was begun for.

    Raises:
        ReplicationError: SOURCE_CHANGED, UPLOAD_GONE, or whatever else either side refuses.
        TransferStopped: the part is not ours any more, or shall be another's.
    """
    first_byte, last_byte = part.parts.part(part.number)
    running = part.checksum.begin() if part.checksum else None

    def before_handing_on(size_bytes: int) -> None:
        may_go_on()
        if allowance is not None:
            allowance.spend(size_bytes, may_go_on=may_go_on)

    may_go_on()
    with source.open_range(
        part.key, first_byte=first_byte, last_byte=last_byte, pin=part.pin
    ) as reader:
        body = VerifiedBody(reader, before_handing_on=before_handing_on, running=running)
        receipt = destination.upload_part(part.destination_key, part.upload_id, part.number, body)
    check_crc64(read=body.finish(), answered=receipt.crc64, request_id=receipt.request_id)
    return CarriedPart(receipt, running.crc if running else 0)


def complete_upload(
    large: LargeObject,
    upload: MultipartUpload,
    parts: Sequence[CarriedPart],
    destination: DestinationStore,
    *,
    may_go_on: Callable[[], None],
) -> Completion:
    """Make the parts the object, if together they are what the source says.

    Raises:
        ReplicationError: SOURCE_CORRUPT, CHECKSUM_MISMATCH, UPLOAD_GONE, or what OSS refuses.
        TransferStopped: the job is not ours any more.
    """
    receipts = [part.receipt for part in parts]
    crc64 = combine_crc64((receipt.crc64, receipt.size_bytes) for receipt in receipts)
    checksum = _compare_with_source(upload, parts)
    key = upload.destination_key
    may_go_on()
    try:
        receipt = destination.complete_upload(key, upload.upload_id, receipts)
    except ReplicationError as error:
        if error.code is not ErrorCode.UPLOAD_GONE:
            raise
        # Completed by one who died before it could say so?
        there = None
        with suppress(ReplicationError):
            there = destination.head(key)
        if there is None or there.crc64 != crc64 or not _is_copy(there, large):
            raise
        return _completion(large, Outcome.COPIED, crc64=crc64, checksum=checksum, replica=there)
    check_crc64(read=crc64, answered=receipt.crc64, request_id=receipt.request_id)
    return _completion(large, Outcome.COPIED, crc64=crc64, checksum=checksum, replica=receipt)


@contextmanager
def _whatever_is_denied() -> Iterator[None]:
    try:
        yield
    except ReplicationError as error:
        if error.code is not ErrorCode.DESTINATION_ACCESS_DENIED:
            raise
        log.info("upload.may_not_look", detail=error.detail)


def _compare_with_source(upload: MultipartUpload, parts: Sequence[CarriedPart]) -> str:
    """The source's checksum, after it was compared; empty if it has none for this."""
    if not upload.checksum_name:
        return ""
    checksum = SourceChecksum(upload.checksum_name, upload.checksum_value)
    found = checksum.combine((part.source_crc, part.receipt.size_bytes) for part in parts)
    if found != checksum.expected:
        raise ReplicationError(
            ErrorCode.SOURCE_CORRUPT,
            f"read {checksum.shown(found)}, the source's is {checksum.shown(checksum.expected)}",
        )
    return checksum.shown(found)


def _is_copy(there: ReplicaInfo, large: LargeObject) -> bool:
    """Whether the replica says that it is of this object, with these attributes."""
    wanted = large.planned.attributes
    return (
        there.size_bytes == large.info.size_bytes
        and bool(large.info.last_modified)
        and there.user_metadata == dict(wanted.user_metadata)
        and there.content_headers == dict(wanted.content_headers)
        and there.tag_count == len(wanted.tags)
        and there.storage_class == wanted.storage_class
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
