"""A lane: claim → transfer → settle, with many transfers in flight.

The lane's own thread alone talks to the database: it claims jobs, starts a transfer for each in
a fiber, settles what has finished, many in one statement, and extends all leases at once. It
refills as transfers finish and never waits for the slowest.
"""

import math
import os
import queue
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import DataError, connection

from replication import jobs
from replication.cluster import loops
from replication.cluster.database import DATABASE_AWAY
from replication.errors import ReplicationError
from replication.jobs import ClaimedJob, delete_brake, parking, rate_limits
from replication.jobs.listener import WakeListener
from replication.jobs.uploads import PARTS
from replication.mapping.parts import MAX_PUT_BYTES
from replication.models import LoopKind
from replication.stores.transport.fibers import Fibers
from replication.transfer.results import DeleteWanted, LargeObject, UploadBegun
from replication.worker import settling
from replication.worker.capacity import Flow, Rulebook
from replication.worker.leases import (
    Finished,
    FinishedPart,
    HeldJob,
    HeldPart,
    JobResult,
    PartResult,
    trusted_until,
)
from replication.worker.steps import _delete, _open_stores, _result_of, _transfer
from replication.worker.threads import Threads
from replication.worker.upload_leader import LargeObjects

log = structlog.get_logger(__name__)

# How often to ask for due jobs without being woken: for retries that come due, and where NOTIFY
# is not passed on (a transaction-pooling proxy).
ASK_SECONDS = 1.0
ASK_FOR_PARTS_SECONDS = 10.0  # those of other lanes' large objects
RESCUE_LIMIT = 100
STOP_CHECK_SECONDS = 0.5
# What ends within it is settled, and what comes next is claimed, by one statement each. It may be
# longer where each place has its next job already, and none stands empty meanwhile.
GATHER_SECONDS = 0.015
GATHER_WHERE_FULL_SECONDS = 0.05
# How often a lane without a free place asks for one more lane; in a cluster that has no place for
# it, whether another host has.
GROW_SECONDS = 1.0
GROW_WHERE_FULL_SECONDS = 2.0
# What a lane that is told to stop may still finish; orchestrators often kill after 30 s.
FINISH_SECONDS = 10.0
ABANDON_SECONDS = 20.0
DATABASE_PAUSE_SECONDS = 0.5

T = TypeVar("T")


class Lane:
    """One run of a lane, on the thread that calls `run`."""

    def __init__(self, loop: loops.Loop, *, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._limits = settings.S3SYNC
        # Text is what a NOTIFY said.
        self._inbox: queue.SimpleQueue[Finished | FinishedPart | str] = queue.SimpleQueue()
        # By id and attempt: a job that was lost may come back while its old transfer still ends.
        self._held: dict[tuple[int, int], HeldJob] = {}
        self._rulebook = Rulebook()
        self._flow = Flow()
        self._leases_extended_at = time.monotonic()
        self._ask_at = 0.0
        self._parts_at = 0.0
        self._more_may_be_due = True
        self._was_saturated = False
        self._grow_at = 0.0
        self._large = LargeObjects(
            loop.id,
            start_step=self._start_step,
            start_part=self._start_part,
            end_step=self._inbox.put,
        )

    def run(self) -> None:
        """Claim for that many seconds, then finish what is in flight while a successor claims.

        Told to stop, claim no more, and hand over what is not finished soon.
        """
        with (
            WakeListener(self._inbox.put),
            # So many that a place is a fiber: what is claimed ahead waits for one.
            Fibers(self._limits.lane_concurrency, "transfers") as self._transfers,
            # Their work is the kernel's, on as many processors as there are: a thread for each.
            Threads(self._limits.lane_concurrency, "part") as self._carriers,
        ):
            self._transfers.start(_open_stores, self._persistently(self._rulebook.begin))
            self._claim_and_transfer()
            self._finish()

    def _claim_and_transfer(self) -> None:
        ends = time.monotonic() + self._seconds
        successor_due = ends - loops.OVERLAP * self._seconds
        # A long transfer keeps this process; meanwhile it must not be lost to other jobs.
        lingering: set[tuple[int, int]] | None = None
        while not loops.are_told_to_stop():
            now = time.monotonic()
            if now >= successor_due:
                successor_due = math.inf
                self._persistently(self._ask_for_successor)
            if now >= ends:
                self._large.hand_over_led()
                lingering = set(self._held) if lingering is None else lingering & self._held.keys()
                if not lingering:
                    return
            next_step = min(successor_due, ends if lingering is None else math.inf)
            self._work(wait_at_most_seconds=next_step - now)

    def _finish(self) -> None:
        began_at = time.monotonic()
        while self._held or self._large.parts_count:
            self._large.hand_over_led()
            self._keep_alive()
            self._settle_what_finished(wait_seconds=STOP_CHECK_SECONDS)
            took_seconds = time.monotonic() - began_at
            if loops.are_told_to_stop() and took_seconds > FINISH_SECONDS:
                self._large.hand_over_parts()
                for held in self._held.values():
                    held.is_to_be_handed_over = True
            if loops.are_told_to_stop() and took_seconds > ABANDON_SECONDS:
                self._abandon()

    def _abandon(self) -> None:
        """End the process with transfers that wait for an answer that does not come.

        Their writes may still be under way, so nobody else may have these jobs before their
        leases end.
        """
        log.warning("lane.transfers_abandoned", jobs=[held.job.id for held in self._held.values()])
        os._exit(1)

    def _work(self, *, wait_at_most_seconds: float) -> None:
        """One round: claim what may be due, and settle what has finished."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._more_may_be_due = True
            self._ask_at = now + ASK_SECONDS
            self._persistently(self._large.look)
        if now >= self._parts_at:
            self._large.more_may_be_due = True
            self._parts_at = now + ASK_FOR_PARTS_SECONDS
        if self._more_may_be_due and self._free:
            self._persistently(self._refill)
        if self._large.more_may_be_due:
            self._persistently(self._carry_parts)
        if now >= self._grow_at:
            self._grow_if_saturated()
        self._keep_alive()
        if self._more_may_be_due and self._free:
            wait_seconds = 0.0
        else:
            wait_seconds = min(
                rate_limits.GRANT_SECONDS if self._rulebook.has_allowances else STOP_CHECK_SECONDS,
                wait_at_most_seconds,
                max(0.0, self._ask_at - now),
            )
        self._settle_what_finished(wait_seconds=wait_seconds)

    @property
    def _places(self) -> int:
        """How many jobs the lane may hold: those in transfer, and a few that are next."""
        places = self._limits.lane_concurrency
        return places + self._flow.ahead()

    @property
    def _free(self) -> int:
        return max(0, self._places - len(self._held))

    def _start_step(self, held: HeldJob, step: Callable[[], JobResult]) -> None:
        self._transfers.start(self._run_step, held, step)

    def _start_part(self, held: HeldPart, step: Callable[[], PartResult]) -> None:
        self._carriers.start(self._run_part, held, step)

    # -- claim and transfer --------------------------------------------------------------------

    def _refill(self) -> None:
        # Before the claim: were it to fail after, nobody would know of the claimed jobs.
        self._rulebook.read_if_old()
        free = self._free
        asked_at = time.monotonic()
        claimed = rate_limits.claim(
            self._loop.id,
            self._rulebook.rules,
            limit=free,
            lease_seconds=self._limits.lease_seconds,
            room=self._rulebook.room(self._held_by_rule(), places=self._places),
            known_bytes_at_most=(
                None if self._large.may_lead_more else self._limits.multipart_threshold_bytes
            ),
        )
        self._more_may_be_due = len(claimed) == free
        self._start(claimed, asked_at=asked_at)

    def _probe(self) -> None:
        """Try a job of a rule that is parked, if it is time to."""
        asked_at = time.monotonic()
        claimed = parking.claim_probe(self._loop.id, lease_seconds=self._limits.lease_seconds)
        self._start(claimed, asked_at=asked_at)

    def _start(self, claimed: list[ClaimedJob], *, asked_at: float) -> None:
        for job in claimed:
            held = HeldJob(self._trusted_until(asked_at), job=job)
            self._held[job.id, job.attempt] = held
            self._start_transfer(held, threshold_bytes=self._limits.multipart_threshold_bytes)

    def _start_transfer(self, held: HeldJob, *, threshold_bytes: int) -> None:
        rule = self._rulebook.of(held.job.rule_id)
        transfer = partial(
            _transfer,
            held,
            rule,
            threshold_bytes=threshold_bytes,
            part_bytes=self._limits.multipart_chunksize_bytes,
            allowance=self._rulebook.allowance(rule),
        )
        self._start_step(held, transfer)

    def _carry_parts(self) -> None:
        """Carry parts of large objects, whoever leads them, on the places that are left."""
        if loops.are_told_to_stop():
            self._large.more_may_be_due = False
            return
        active = len(self._held) - self._large.led_count + self._large.parts_count
        free = self._limits.lane_concurrency - active
        self._large.claim_parts(self._rulebook.of, free=free, allowance=self._rulebook.allowance)

    def _held_by_rule(self) -> Counter[int]:
        return Counter(held.job.rule_id for held in self._held.values())

    def _trusted_until(self, asked_at: float) -> float:
        return trusted_until(asked_at, lease_seconds=self._limits.lease_seconds)

    def _run_step(self, held: HeldJob, step: Callable[[], JobResult]) -> None:
        """In a fiber: take a step of a job, and put its end into the inbox."""
        self._inbox.put(Finished(held.job, _result_of(step, held.job.key)))

    def _run_part(self, held: HeldPart, step: Callable[[], PartResult]) -> None:
        """On a thread of its own: carry a part, and put its end into the inbox."""
        self._inbox.put(FinishedPart(held.part, _result_of(step, held.part.key)))

    # -- settle --------------------------------------------------------------------------------

    def _settle_what_finished(self, *, wait_seconds: float) -> None:
        """Wait for the first message, take all that are there, settle what has finished."""
        messages = self._receive(wait_seconds)
        if parts := [one for one in messages if isinstance(one, FinishedPart)]:
            self._persistently(lambda: self._large.settle_parts(parts, self._rulebook.of))
        finished = []
        for end in messages:
            if isinstance(end, Finished) and not self._goes_on(end):
                finished.append(end)
        self._flow.note(len(finished))
        if finished := self._begin_deletes(finished):
            self._settle_jobs(finished)

    def _begin_deletes(self, finished: list[Finished]) -> list[Finished]:
        """Delete the replicas that may be deleted; returns the rest, with those that may not."""
        wanting = [end.job for end in finished if isinstance(end.result, DeleteWanted)]
        if not wanting:
            return finished
        permitted = self._persistently(
            lambda: delete_brake.ask([(job, self._rulebook.of(job.rule_id)) for job in wanting])
        )
        rest = []
        for end in finished:
            if isinstance(end.result, DeleteWanted) and end.job.id in permitted:
                held = self._held[end.job.id, end.job.attempt]
                rule = self._rulebook.of(end.job.rule_id)
                self._start_step(held, partial(_delete, held, rule, end.result))
            else:
                rest.append(end)
        return rest

    def _goes_on(self, end: Finished) -> bool:
        """Whether the job has another step to come, of a large object; that is seen to here."""
        held = self._held[end.job.id, end.job.attempt]
        if isinstance(end.result, UploadBegun):
            begun = end.result
            self._persistently(lambda: self._large.take_begun(end.job, begun))
            return True
        if isinstance(end.result, LargeObject) and self._large.may_lead_more:
            large = end.result
            try:
                self._persistently(
                    lambda: self._large.lead(held, self._rulebook.of(end.job.rule_id), large)
                )
            except ReplicationError as error:
                self._inbox.put(Finished(end.job, error))
            return True
        if self._large.must_be_in_one_piece(end):
            self._persistently(partial(self._large.forget, end.job, end.result))
            self._start_transfer(held, threshold_bytes=MAX_PUT_BYTES)
            return True
        return False

    def _settle_jobs(self, finished: list[Finished]) -> None:
        try:
            self._persistently(lambda: settling.settle(finished, self._rulebook))
        except DataError:
            # One of them can't be recorded as it is; it must not take the others with it.
            for end in finished:
                self._persistently(partial(settling.settle_alone, end, self._rulebook))
        for end in finished:
            if self._large.leads(end.job):
                self._persistently(partial(self._large.forget, end.job, end.result))
            del self._held[end.job.id, end.job.attempt]
        # A settled job may be what a pending one of its key was waiting for.
        self._more_may_be_due = True

    def _receive(self, wait_seconds: float) -> list[Finished | FinishedPart]:
        messages: list[Finished | FinishedPart | str] = []
        with suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=wait_seconds))
            settle_at = time.monotonic() + GATHER_SECONDS
            if len(self._held) > self._limits.lane_concurrency:
                # Asleep, for each message that woke us would take the interpreter from a transfer.
                time.sleep(GATHER_WHERE_FULL_SECONDS)
            while True:
                # A wake is not to wait, and nothing waits for what can't come.
                gathers = len(messages) < len(self._held) and not isinstance(messages[-1], str)
                left_seconds = settle_at - time.monotonic() if gathers else 0.0
                messages.append(self._inbox.get(timeout=max(0.0, left_seconds)))
        if PARTS in messages:
            self._large.more_may_be_due = True
            self._persistently(self._large.look)
        if any(isinstance(message, str) and message != PARTS for message in messages):
            self._more_may_be_due = True
        return [message for message in messages if not isinstance(message, str)]

    # -- stay alive ----------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        if self._persistently(lambda: self._loop.beat_if_due(in_flight=len(self._held))):
            self._persistently(lambda: jobs.rescue(limit=RESCUE_LIMIT))
            if self._free and not loops.are_told_to_stop():
                self._persistently(self._probe)
        if self._rulebook.has_allowances:
            self._persistently(self._rulebook.fill_allowances)
        if time.monotonic() - self._leases_extended_at > self._limits.lease_seconds / 4:
            self._persistently(self._extend_leases)
            self._persistently(self._large.extend_leases)

    def _extend_leases(self) -> None:
        asked_at = self._leases_extended_at = time.monotonic()
        if not self._held:
            return
        ours = jobs.extend_leases(
            self._loop.id,
            [held.job for held in self._held.values()],
            lease_seconds=self._limits.lease_seconds,
        )
        for place, held in self._held.items():
            held.held_until = self._trusted_until(asked_at) if place in ours else 0.0

    def _grow_if_saturated(self) -> None:
        places = self._limits.lane_concurrency
        fullest = max(self._held_by_rule().values(), default=0)
        if (
            self._large.is_saturated
            or fullest >= self._rulebook.places_of_a_rule(places)
            or len(self._held) >= places
        ):
            self._was_saturated = True
            is_full = self._persistently(self._summon_another)
            self._grow_at = time.monotonic() + (
                GROW_WHERE_FULL_SECONDS if is_full else GROW_SECONDS
            )

    def _ask_for_successor(self) -> None:
        """Renew this lane, unless it was idle and another is there to watch."""
        if self._was_saturated or not self._loop.has_younger_peer():
            self._loop.renew()

    def _summon_another(self) -> bool:
        """Ask for one more lane; returns whether this cluster is full, and another must have it."""
        is_full = loops.is_full_here()
        loops.summon(LoopKind.LANE)
        return is_full

    def _persistently(self, statement: Callable[[], T]) -> T:
        """Run a statement through restarts of the database, for as long as a lease may last.

        Every statement here may be run twice: a claim whose answer was lost is rescued, a
        settled job is not settled again.
        """
        give_up_at = time.monotonic() + self._limits.lease_seconds
        while True:
            try:
                return statement()
            except DATABASE_AWAY as error:
                if time.monotonic() > give_up_at:
                    raise
                log.warning("lane.database_unavailable", reason=str(error))
                connection.close()
                time.sleep(DATABASE_PAUSE_SECONDS)
