"""The jobs and parts that a lane has in flight: claimed, started, settled."""

import math
import time
from collections import Counter
from functools import partial
from uuid import UUID

from django.conf import settings

from replication import jobs
from replication.cluster.database import Persistently
from replication.jobs import ClaimedJob, circuits, rate_limits
from replication.mapping.parts import MAX_PUT_BYTES
from replication.transfer.capabilities import BucketCapabilities, LearnedOf
from replication.worker import deletes, leases, settling, steps
from replication.worker.capacity import Rulebook, Throughput
from replication.worker.in_flight import InFlightLimit
from replication.worker.inbox import Inbox
from replication.worker.leases import Claim, Finished, HeldJob
from replication.worker.part_carrier import PartCarrier
from replication.worker.runner import Runner
from replication.worker.upload_leader import UploadLeader

# How often a lane asks for due jobs without a NOTIFY: retries become due without one, and one may
# be lost.
ASK_SECONDS = 1.0
ASK_FOR_PARTS_SECONDS = 10.0  # parts of large objects that other lanes lead
LOOK_SECONDS = 0.5  # the longest wait for a result, so that a stop is noticed
PARTS_SHARE = 0.25  # of a lane's places for parts, which small objects never take
CHECK_RULES_SECONDS = 0.5  # while jobs are in flight: a NOTIFY of a change may have been lost


class Transfers:
    """Used on the lane's own thread. `runner` takes steps beside it; their ends come to `inbox`."""

    def __init__(
        self,
        lane: UUID,
        *,
        inbox: Inbox,
        runner: Runner,
        persistently: Persistently,
        in_flight_limit: InFlightLimit,
    ) -> None:
        self._lane = lane
        self._inbox = inbox
        self._runner = runner
        self._persistently = persistently
        self._limits = settings.S3SYNC
        # By claim: a job that was lost may be claimed again while its old transfer ends.
        self._held: dict[Claim, HeldJob] = {}
        self._rulebook = Rulebook()
        self._capabilities = BucketCapabilities(tell=inbox.put)
        self._throughput = Throughput()
        self._turns = jobs.Turns()
        self._in_flight_limit = in_flight_limit
        self._apply_limit()
        self._carrier = PartCarrier(lane, self._rulebook, runner)
        self._leader = UploadLeader(
            self._rulebook, runner, inbox, offer_parts=self._carrier.expect_parts
        )
        self._ask_at = 0.0
        self._ask_for_parts_at = 0.0
        self._check_rules_at = 0.0
        self._more_may_be_due = True

    def begin(self) -> None:
        """Read the rules, and have their stores opened."""
        self._runner.start(partial(steps.open_stores, self._persistently(self._rulebook.begin)))

    @property
    def in_flight(self) -> int:
        """How many jobs the lane holds."""
        return len(self._held)

    @property
    def in_flight_limit(self) -> int:
        """How many transfers the lane has found to be of use."""
        return self._in_flight_limit.found

    @property
    def claims(self) -> set[Claim]:
        """The ids and fencing tokens of the jobs in flight."""
        return set(self._held)

    @property
    def are_done(self) -> bool:
        """Whether no job and no part is in flight."""
        return not self._held and not self._carrier.count

    @property
    def may_wait_seconds(self) -> float:
        """How long to wait for a result before the next claim."""
        if self._more_may_be_due and self._free:
            return 0.0
        return min(
            rate_limits.GRANT_SECONDS if self._rulebook.has_allowances else LOOK_SECONDS,
            max(0.0, self._ask_at - time.monotonic()),
        )

    @property
    def are_saturated(self) -> bool:
        """Whether another lane would help."""
        places = self._in_flight_limit.value
        fullest = max(self._held_by_rule().values(), default=0)
        return (
            self._carrier.is_saturated
            or fullest >= self._rulebook.places_of_a_rule(places)
            or len(self._held) >= places
        )

    @property
    def are_barred_here(self) -> bool:
        """Whether credentials of this host are refused."""
        return self._rulebook.is_barred_here

    @property
    def _places(self) -> int:
        """How many jobs the lane may hold: those in transfer, and a few that are next."""
        return self._in_flight_limit.value + self._throughput.expected()

    @property
    def _free(self) -> int:
        return max(0, self._places - len(self._held))

    def _held_by_rule(self) -> Counter[int]:
        return Counter(held.job.rule_id for held in self._held.values())

    # -- claim and start -----------------------------------------------------------------------

    def claim(self) -> None:
        """Claim jobs and parts that may be due, for the places that are free, and start them."""
        now = time.monotonic()
        if self._held and now >= self._check_rules_at:
            self._persistently(self._stop_what_an_old_rule_started)
        if now >= self._ask_at:
            self._more_may_be_due = True
            self._ask_at = now + ASK_SECONDS
            self._persistently(self._leader.look)
            if self._rulebook.has_open_circuits:
                self._persistently(self._probe)
        if now >= self._ask_for_parts_at:
            self._carrier.expect_parts()
            self._ask_for_parts_at = now + ASK_FOR_PARTS_SECONDS
        if self._more_may_be_due and self._free:
            self._persistently(self._refill)
        if self._carrier.more_may_be_due:
            self._persistently(self._carry_parts)

    def _refill(self) -> None:
        # Before the claim: if this failed after it, no lane would know of the claimed jobs.
        self._rulebook.read_if_old()
        free = self._free
        asked_at = time.monotonic()
        claimed = rate_limits.claim(
            self._lane,
            self._rulebook.rules,
            limit=free,
            lease_seconds=self._limits.lease_seconds,
            room=self._rulebook.room(self._held_by_rule(), places=self._places),
            known_bytes_at_most=(
                None if self._leader.may_lead_more else self._limits.multipart_threshold_bytes
            ),
            turns=self._turns,
        )
        self._more_may_be_due = len(claimed) == free or self._turns.may_have_missed
        self._start(claimed, asked_at=asked_at)

    def _probe(self) -> None:
        """Try a few jobs behind an open circuit, if its probe is due. They need no free place."""
        asked_at = time.monotonic()
        claimed = circuits.claim_probes(self._lane, lease_seconds=self._limits.lease_seconds)
        self._start(claimed, asked_at=asked_at)

    def _start(self, claimed: list[ClaimedJob], *, asked_at: float) -> None:
        until = leases.trusted_until(asked_at, lease_seconds=self._limits.lease_seconds)
        # Before any is held: a held job without a step would never end.
        for job in [self._rulebook.apply_to(job) for job in claimed]:
            held = self._held[job.claim] = HeldJob(until, job=job)
            self._start_transfer(held, threshold_bytes=self._limits.multipart_threshold_bytes)

    def _start_transfer(self, held: HeldJob, *, threshold_bytes: int) -> None:
        rule = self._rulebook.of(held.job.rule_id)
        step = partial(
            steps.transfer,
            held,
            rule,
            threshold_bytes=threshold_bytes,
            part_bytes=self._limits.multipart_chunksize_bytes,
            allowance=self._rulebook.allowance(rule),
            capabilities=self._capabilities,
        )
        self._runner.start_step(held, step)

    def _stop_what_an_old_rule_started(self) -> None:
        self._check_rules_at = time.monotonic() + CHECK_RULES_SECONDS
        self._rulebook.read_if_changed()
        for held in self._held.values():
            if self._rulebook.of(held.job.rule_id).version != held.job.rule_version:
                held.rule_has_changed = True

    def _carry_parts(self) -> None:
        """Carry parts of large objects, of any lane, on the places that are free.

        A share of places is for parts alone: small objects that keep coming must not hold up a
        large one.
        """
        places, carried = self._limits.part_concurrency, self._carrier.count
        active = len(self._held) - self._leader.count + carried
        of_parts_alone = math.ceil(places * PARTS_SHARE)
        self._carrier.claim(free=max(places - active, of_parts_alone - carried))

    # -- settle --------------------------------------------------------------------------------

    def settle_finished(self, *, wait_seconds: float) -> None:
        """Wait for the first message, take all that have come, and settle what has finished."""
        received = self._inbox.receive(
            wait_seconds=wait_seconds,
            in_flight=len(self._held),
            is_full=len(self._held) > self._in_flight_limit.value,
        )
        if received.parts_may_be_due:
            self._carrier.expect_parts()
            self._persistently(self._leader.look)
        if received.rules_have_changed:
            self._persistently(self._stop_what_an_old_rule_started)
        if received.jobs_may_be_due:
            self._more_may_be_due = True
        for learned in received.learned:
            self._persistently(partial(self._record, learned))
        if received.parts:
            self._persistently(partial(self._carrier.settle, received.parts))
        # A large object that is led takes no fiber.
        in_flight = len(self._held) - self._leader.count
        if self._in_flight_limit.note(received.jobs, in_flight=in_flight):
            self._apply_limit()
        finished = [end for end in received.jobs if not self._goes_on(end)]
        self._throughput.record(len(finished))
        if finished := self._begin_deletes(finished):
            self._settle_jobs(finished)

    def _apply_limit(self) -> None:
        # A probe does not wait for a place.
        self._runner.allow(self._in_flight_limit.value + circuits.PROBE_JOBS)

    def _record(self, learned: LearnedOf) -> None:
        learned.record()
        self._rulebook.expire()

    def _goes_on(self, end: Finished) -> bool:
        """Start the next step of a large object; returns whether it has one."""
        held = self._held[end.job.claim]
        if self._leader.must_be_in_one_piece(end):
            self._persistently(partial(self._leader.forget, end.job, end.result))
            self._start_transfer(held, threshold_bytes=MAX_PUT_BYTES)
            return True
        return self._persistently(partial(self._leader.go_on, held, end))

    def _begin_deletes(self, finished: list[Finished]) -> list[Finished]:
        """Start the deletes that the brake permits; returns all other ends."""
        permitted, rest = self._persistently(partial(deletes.select, finished, self._rulebook))
        for job, wanted in permitted:
            rule = self._rulebook.of(job.rule_id)
            held = self._held[job.claim]
            self._runner.start_step(held, partial(steps.delete, held, rule, wanted))
        return rest

    def _settle_jobs(self, finished: list[Finished]) -> None:
        settling.settle_all(finished, self._rulebook, self._persistently)
        for end in finished:
            if self._leader.leads(end.job):
                self._persistently(partial(self._leader.forget, end.job, end.result))
            del self._held[end.job.claim]
        # A pending job of the same key may have waited for one of these.
        self._more_may_be_due = True

    # -- leases --------------------------------------------------------------------------------

    def extend_leases(self) -> None:
        """Extend the leases of all jobs and parts in flight."""
        self._persistently(self._extend_leases_of_jobs)
        self._persistently(self._carrier.extend_leases)

    def _extend_leases_of_jobs(self) -> None:
        lease_seconds = self._limits.lease_seconds
        held_jobs = [held.job for held in self._held.values()]
        leases.extend(
            self._held,
            lambda: jobs.extend_leases(self._lane, held_jobs, lease_seconds=lease_seconds),
            lease_seconds=lease_seconds,
        )

    def fill_allowances(self) -> None:
        """Fetch the bytes that may be sent in the next moment, where a destination has a limit."""
        if self._rulebook.has_allowances:
            self._persistently(self._rulebook.fill_allowances)

    def hand_over_led(self) -> None:
        """Let other lanes lead the large objects whose uploads are not being completed."""
        self._leader.hand_over()

    def hand_over(self) -> None:
        """Let other lanes have all jobs and parts that have not finished."""
        self._carrier.hand_over()
        for held in self._held.values():
            held.is_to_be_handed_over = True
