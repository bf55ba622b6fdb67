"""What a step of a transfer works on, and the values that say how it ended."""

from collections.abc import Callable
from dataclasses import dataclass

from replication.mapping.parts import PartPlan
from replication.models import Outcome
from replication.stores.base import DestinationStore, ObjectInfo, PartReceipt
from replication.stores.checksums import SourceChecksum
from replication.transfer.attributes import PlannedAttributes


@dataclass(frozen=True)
class Completion:
    """How a job ended well: the outcome, and the proof of it."""

    outcome: Outcome
    size_bytes: int | None = None
    source_etag: str = ""
    source_version_id: str = ""
    source_crc64: str = ""
    source_checksum: str = ""  # the source's own, if it was compared
    source_request_id: str = ""
    destination_etag: str = ""
    destination_crc64: str = ""
    destination_request_id: str = ""
    remarks: str = ""  # what the replica lacks or has in another form, a line each


@dataclass(frozen=True)
class ClaimedPart:
    """What a lane needs to know of a part that it carries; `attempt` is its fencing token."""

    id: int
    upload_pk: int
    number: int
    attempt: int
    failures: int
    rule_id: int
    key: str
    destination_key: str
    upload_id: str
    pin: ObjectInfo
    parts: PartPlan
    checksum: SourceChecksum | None  # of the whole, to be put together of the parts'


@dataclass(frozen=True)
class CarriedPart:
    """A part that is at OSS: what OSS answered, and its CRC of the source's kind."""

    receipt: PartReceipt
    source_crc: int = 0


@dataclass(frozen=True)
class LargeObject:
    """An object that goes in parts: what it is, how it is cut, and what is written with it."""

    info: ObjectInfo
    destination_key: str
    parts: PartPlan
    planned: PlannedAttributes


@dataclass(frozen=True)
class DeleteWanted:
    """The source has no such object, cleanly, and the rule says to delete the replica."""

    destination_key: str
    source_request_id: str

    def carry_out(
        self, destination: DestinationStore, *, may_go_on: Callable[[], None]
    ) -> Completion:
        """Delete the replica.

        Raises:
            ReplicationError: the destination refuses.
            TransferStopped: the job is not ours any more, or shall be another's.
        """
        may_go_on()
        receipt = destination.delete(self.destination_key)
        return Completion(
            Outcome.DELETED,
            source_request_id=self.source_request_id,
            destination_request_id=receipt.request_id,
        )


@dataclass(frozen=True)
class UploadBegun:
    """OSS has begun an upload of the object."""

    large: LargeObject
    upload_id: str
