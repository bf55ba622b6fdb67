"""What a lane has under a lease, and until when it may be sure of that."""

import time
from dataclasses import dataclass

from replication.errors import (
    HandOver,
    LeaseLost,
    ReplicationError,
    TransferStopped,
)
from replication.jobs import ClaimedJob
from replication.transfer.results import (
    CarriedPart,
    ClaimedPart,
    Completion,
    DeleteWanted,
    LargeObject,
    UploadBegun,
)

# We stop trusting a lease before the database does.
LEASE_MARGIN = 0.2


def trusted_until(asked_at: float, *, lease_seconds: float) -> float:
    """Until when (time.monotonic()) a lease holds that was asked for at that time."""
    return asked_at + lease_seconds * (1 - LEASE_MARGIN)


@dataclass
class Held:
    """Something that this lane has, until then (time.monotonic())."""

    held_until: float
    is_to_be_handed_over: bool = False

    def may_go_on(self) -> None:
        """Raises LeaseLost once another lane may have taken it over, HandOver if one shall."""
        if time.monotonic() >= self.held_until:
            raise LeaseLost
        if self.is_to_be_handed_over:
            raise HandOver


@dataclass(kw_only=True)
class HeldJob(Held):
    job: ClaimedJob


@dataclass(kw_only=True)
class HeldPart(Held):
    part: ClaimedPart


JobResult = (
    Completion | LargeObject | UploadBegun | DeleteWanted | ReplicationError | TransferStopped
)
PartResult = CarriedPart | ReplicationError | TransferStopped


@dataclass(frozen=True)
class Finished:
    """The end of a step of a job: its completion, what it needs next, or why it went no further."""

    job: ClaimedJob
    result: JobResult
    size_bytes: int | None = None  # of a large object that is handed over


@dataclass(frozen=True)
class FinishedPart:
    """A part carried, or why not."""

    part: ClaimedPart
    result: PartResult


Place = tuple[int, int]  # id and attempt


def _place(job: ClaimedJob) -> Place:
    return job.id, job.attempt
