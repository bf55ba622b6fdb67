"""One run of a lane: claim → transfer → settle, with many transfers in flight.

Only the lane's own thread talks to the database. It claims jobs, starts a transfer for each job in
a fiber, settles finished jobs in batches, and extends all leases at once. It refills as transfers
finish and never waits for the slowest one.
"""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.conf import settings

from replication import jobs
from replication.cluster import loops
from replication.cluster.database import Persistently
from replication.jobs.circuits import PROBE_JOBS
from replication.jobs.listener import NotifyListener
from replication.stores.transport.fibers import Fibers
from replication.worker.in_flight import InFlightLimit
from replication.worker.inbox import Inbox
from replication.worker.leases import Claim
from replication.worker.runner import Runner
from replication.worker.scaling import Scaling
from replication.worker.transfers import LOOK_SECONDS, Transfers

log = structlog.get_logger(__name__)

RESCUE_LIMIT = 100
# How long a lane that is told to stop lets its transfers finish, and waits for those that were
# handed over. Orchestrators often kill after 30 s.
FINISH_SECONDS = 10.0
ABANDON_SECONDS = 20.0


class Lane:
    """A lane on the thread that calls `run`."""

    def __init__(self, loop: loops.Loop, *, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._limits = settings.S3SYNC
        self._scaling = Scaling(loop)
        self._persistently = Persistently(
            give_up_after_seconds=self._limits.lease_seconds, event="lane.database_unavailable"
        )
        self._leases_extended_at = time.monotonic()

    def run(self) -> None:
        """Claim for `seconds`, then finish what is in flight while a successor claims.

        When the cluster stops, claim nothing more, and hand over what does not finish soon.
        """
        inbox = Inbox()
        with (
            NotifyListener(inbox.put),
            # One fiber per transfer in flight, and some more: a probe does not wait for a free
            # place. Jobs that were claimed ahead wait for a free fiber.
            Fibers(self._limits.lane_concurrency + PROBE_JOBS, "transfers") as fibers,
            # Parts spend their time in the kernel, on any processor: each has a thread.
            ThreadPoolExecutor(self._limits.part_concurrency, "part") as threads,
        ):
            self._transfers = Transfers(
                self._loop.id,
                inbox=inbox,
                runner=Runner(inbox, fibers=fibers, threads=threads),
                persistently=self._persistently,
                in_flight_limit=InFlightLimit(
                    most=self._limits.lane_concurrency,
                    found=self._persistently(loops.in_flight_limit_here),
                ),
            )
            self._transfers.begin()
            self._claim_and_transfer()
            self._finish()

    def _claim_and_transfer(self) -> None:
        ends = time.monotonic() + self._seconds
        successor_due = ends - loops.OVERLAP * self._seconds
        # After `ends` the lane still claims while a transfer of before runs, so that a long
        # transfer does not keep this process from other jobs.
        lingering: set[Claim] | None = None
        while not loops.are_told_to_stop():
            now = time.monotonic()
            if now >= successor_due:
                successor_due = math.inf
                self._persistently(self._scaling.ask_for_successor)
            if now >= ends:
                self._transfers.hand_over_led()
                claims = self._transfers.claims
                lingering = claims if lingering is None else lingering & claims
                if not lingering:
                    return
            next_step = min(successor_due, ends if lingering is None else math.inf)
            self._work(wait_at_most_seconds=next_step - now)

    def _work(self, *, wait_at_most_seconds: float) -> None:
        """One round: claim what may be due, and settle what has finished."""
        self._transfers.claim()
        if self._scaling.is_due:
            if self._transfers.are_saturated:
                self._persistently(self._scaling.grow)
            elif self._transfers.are_barred_here:
                self._persistently(self._scaling.leave_to_others)
        self._keep_alive()
        self._transfers.settle_finished(
            wait_seconds=min(self._transfers.may_wait_seconds, wait_at_most_seconds)
        )

    def _keep_alive(self) -> None:
        numbers = {
            "in_flight": self._transfers.in_flight,
            "in_flight_limit": self._transfers.in_flight_limit,
        }
        if self._persistently(lambda: self._loop.beat_if_due(**numbers)):
            self._persistently(lambda: jobs.rescue(limit=RESCUE_LIMIT))
        self._transfers.fill_allowances()
        if time.monotonic() - self._leases_extended_at > self._limits.lease_seconds / 4:
            self._leases_extended_at = time.monotonic()
            self._transfers.extend_leases()

    def _finish(self) -> None:
        began_at = time.monotonic()
        while not self._transfers.are_done:
            self._transfers.hand_over_led()
            self._keep_alive()
            self._transfers.settle_finished(wait_seconds=LOOK_SECONDS)
            took_seconds = time.monotonic() - began_at
            if loops.are_told_to_stop() and took_seconds > FINISH_SECONDS:
                self._transfers.hand_over()
            if loops.are_told_to_stop() and took_seconds > ABANDON_SECONDS:
                self._abandon()

    def _abandon(self) -> None:
        """End the process although transfers still wait for an answer.

        Their writes may still be under way, so the jobs are not handed over: no other lane may
        have them before their leases end.
        """
        job_ids = [job_id for job_id, _ in self._transfers.claims]
        log.warning("lane.transfers_abandoned", jobs=job_ids)
        os._exit(1)
