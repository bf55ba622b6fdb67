"""Jobs and parts that a lane holds under a lease, and how long it may trust the lease."""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from replication.errors import (
    HandOver,
    LeaseLost,
    ReplicationError,
    RuleChanged,
    TransferStopped,
)
from replication.jobs import ClaimedJob
from replication.transfer.results import (
    CarriedPart,
    ClaimedPart,
    Completion,
    DeleteHeld,
    DeleteWanted,
    LargeObject,
    UploadBegun,
)

# A lane stops trusting a lease this share of it before the database does.
LEASE_MARGIN = 0.2

Claim = tuple[int, int]  # id and fencing token


def trusted_until(asked_at: float, *, lease_seconds: float) -> float:
    """How long (time.monotonic()) to trust a lease that was requested at `asked_at`."""
    return asked_at + lease_seconds * (1 - LEASE_MARGIN)


@dataclass
class Held:
    """A job or part that this lane holds, until `held_until` (time.monotonic())."""

    held_until: float
    is_to_be_handed_over: bool = False
    rule_has_changed: bool = False

    def raise_if_stopped(self) -> None:
        """Return if the transfer may go on.

        Raises:
            LeaseLost: another lane may have taken it over.
            RuleChanged: its rule was changed since the transfer began.
            HandOver: this lane ends, and another lane is to have it.
        """
        if time.monotonic() >= self.held_until:
            raise LeaseLost
        if self.rule_has_changed:
            raise RuleChanged
        if self.is_to_be_handed_over:
            raise HandOver


@dataclass(kw_only=True)
class HeldJob(Held):
    job: ClaimedJob


@dataclass(kw_only=True)
class HeldPart(Held):
    part: ClaimedPart


def extend(
    held: Mapping[Claim, Held], request: Callable[[], Set[Claim]], *, lease_seconds: float
) -> None:
    """Extend all leases of `held` at once.

    Args:
        request: extends the leases in the database; returns the claims that are still ours.
    """
    if not held:
        return
    asked_at = time.monotonic()
    ours = request()
    until = trusted_until(asked_at, lease_seconds=lease_seconds)
    for claim, each in held.items():
        each.held_until = until if claim in ours else 0.0


JobResult = (
    Completion
    | LargeObject
    | UploadBegun
    | DeleteWanted
    | DeleteHeld
    | ReplicationError
    | TransferStopped
)
PartResult = CarriedPart | ReplicationError | TransferStopped


@dataclass(frozen=True)
class Finished:
    """The end of a step of a job: its completion, what it needs next, or why it stopped."""

    job: ClaimedJob
    result: JobResult
    size_bytes: int | None = None  # of a large object that is handed over
    took: tuple[float, float] | None = None  # beginning and end of the step, by time.monotonic()


@dataclass(frozen=True)
class FinishedPart:
    """A part that was carried, or why it was not."""

    part: ClaimedPart
    result: PartResult
