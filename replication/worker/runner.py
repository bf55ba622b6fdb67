"""Runs steps beside a lane's thread, jobs in fibers and parts on threads."""

from collections.abc import Callable

from replication.stores.transport.fibers import Fibers
from replication.worker import steps
from replication.worker.inbox import Inbox
from replication.worker.leases import (
    Finished,
    FinishedPart,
    HeldJob,
    HeldPart,
    JobResult,
    PartResult,
)
from replication.worker.threads import Threads


class Runner:
    """The end of each step comes to `inbox`."""

    def __init__(self, inbox: Inbox, *, fibers: Fibers, threads: Threads) -> None:
        self._inbox = inbox
        self._fibers = fibers
        self._threads = threads

    def start(self, work: Callable[[], None]) -> None:
        """Do work of the lane itself in a fiber."""
        self._fibers.start(work)

    def start_step(self, held: HeldJob, step: Callable[[], JobResult]) -> None:
        """Take a step of a job in a fiber."""
        self._fibers.start(
            lambda: self._inbox.put(Finished(held.job, steps.result_of(step, held.job.key)))
        )

    def start_part(self, held: HeldPart, step: Callable[[], PartResult]) -> None:
        """Carry a part on a thread."""
        self._threads.start(
            lambda: self._inbox.put(FinishedPart(held.part, steps.result_of(step, held.part.key)))
        )
