"""Runs steps beside a lane's thread, jobs in fibers and parts on threads."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

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


class Runner:
    """The end of each step comes to `inbox`."""

    def __init__(self, inbox: Inbox, *, fibers: Fibers, threads: ThreadPoolExecutor) -> None:
        self._inbox = inbox
        self._fibers = fibers
        self._threads = threads

    def allow(self, count: int) -> None:
        """Take steps of so many jobs at a time; those of more jobs wait."""
        self._fibers.allow(count)

    def start(self, work: Callable[[], None]) -> None:
        """Do work of the lane itself in a fiber."""
        self._fibers.start(work)

    def start_step(self, held: HeldJob, step: Callable[[], JobResult]) -> None:
        """Take a step of a job in a fiber."""
        self._fibers.start(partial(self._take_step, held, step))

    def _take_step(self, held: HeldJob, step: Callable[[], JobResult]) -> None:
        began_at = time.monotonic()
        result = steps.result_of(step, held.job.key)
        self._inbox.put(Finished(held.job, result, took=(began_at, time.monotonic())))

    def start_part(self, held: HeldPart, step: Callable[[], PartResult]) -> None:
        """Carry a part on a thread."""
        self._threads.submit(self._carry_part, held, step)

    def _carry_part(self, held: HeldPart, step: Callable[[], PartResult]) -> None:
        self._inbox.put(FinishedPart(held.part, steps.result_of(step, held.part.key)))
