"""The inputs and results of the steps that make one key equal; the steps know no queue."""

from collections.abc import Callable
from dataclasses import dataclass

from replication.mapping.ownership import Mark
from replication.mapping.parts import PartPlan
from replication.models import HoldReason, Outcome
from replication.stores.base import DestinationStore, ObjectInfo, PartReceipt
from replication.stores.checksums import SourceChecksum
from replication.transfer.attributes import PlannedAttributes


@dataclass(frozen=True)
class Completion:
    """The outcome of a completed job, and its proof of copy."""

    outcome: Outcome
    size_bytes: int | None = None
    source_etag: str = ""
    source_version_id: str = ""
    source_crc64: str = ""
    source_checksum: str = ""  # the checksum from the source, if it was compared
    source_request_id: str = ""
    destination_etag: str = ""
    destination_crc64: str = ""
    destination_request_id: str = ""
    remarks: str = ""  # lines; see TransferJob.remarks
    # How long source and destination took to answer and the destination's rate limit held bytes
    # back; without the time that the bytes took. Of use to the lane only.
    latency_seconds: float | None = None


@dataclass(frozen=True)
class ClaimedPart:
    """A part that a lane claimed; `token` is the fencing token of this claim."""

    id: int
    upload_pk: int
    number: int
    token: int
    failures: int
    rule_id: int
    key: str
    destination_key: str
    upload_id: str
    pin: ObjectInfo
    parts: PartPlan
    checksum: SourceChecksum | None  # of the whole object, to combine from the parts

    @property
    def claim(self) -> tuple[int, int]:
        """The part's id and the fencing token."""
        return self.id, self.token


@dataclass(frozen=True)
class CarriedPart:
    """A part that OSS has: OSS's answer, and its CRC in the source's algorithm."""

    receipt: PartReceipt
    source_crc: int = 0


@dataclass(frozen=True)
class LargeObject:
    """An object to copy in parts: its state at the source, its parts and its attributes."""

    info: ObjectInfo
    destination_key: str
    parts: PartPlan
    planned: PlannedAttributes


@dataclass(frozen=True)
class DeleteWanted:
    """The source clearly has no such object, and the rule says to delete the replica."""

    destination_key: str
    source_request_id: str
    mark: Mark  # whose mark the replica carries
    replica_etag: str

    def carry_out(
        self, destination: DestinationStore, *, raise_if_stopped: Callable[[], None]
    ) -> Completion:
        """Delete the replica.

        Raises:
            ReplicationError: any error of the destination.
            TransferStopped: this lane no longer holds the job, or must hand it over.
        """
        raise_if_stopped()
        receipt = destination.delete(self.destination_key)
        return Completion(
            Outcome.DELETED,
            source_request_id=self.source_request_id,
            destination_request_id=receipt.request_id,
        )


@dataclass(frozen=True)
class DeleteHeld:
    """The replica is not to be deleted before a person confirms it."""

    reason: HoldReason


@dataclass(frozen=True)
class UploadBegun:
    """OSS has begun a multipart upload of the object."""

    large: LargeObject
    upload_id: str
