"""Measures the statements that lanes and pollers send to the database."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from django.db import connection
from django.db.models import F
from django.utils import timezone

from benchmarks.tables import Scale, refill_pending
from benchmarks.timing import Figure, Stopwatch, percentile
from replication import jobs
from replication.jobs import ClaimedJob, JobOrder
from replication.models import (
    DeletePermit,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    TransferJob,
)
from replication.transfer.results import Completion

BATCH = 64
CLAIMS = 300
LEASE_SECONDS = 60
CLAIM_P99_GOAL_MS = 20
CLAIMERS = 8
# Eight claimers without a pause would measure the cores, not the statement. At this rate they still
# claim more jobs a second than eight lanes copy.
CLAIM_EVERY_SECONDS = 0.25

PROOF = Completion(
    outcome=Outcome.COPIED,
    size_bytes=123_456,
    source_etag="0123456789abcdef0123456789abcdef",
    source_version_id="0123456789abcdef0123456789abcdef",
    source_crc64="11051210869376104954",
    source_request_id="0123456789ABCDEF",
    destination_etag="0123456789ABCDEF0123456789ABCDEF",
    destination_crc64="11051210869376104954",
    destination_request_id="0123456789ABCDEF01234567",
)


def measure_statements(scale: Scale) -> Iterator[Figure]:
    """The figures of the statements in jobs/; the pending jobs are replaced before most claims."""
    refill_pending(scale, share_of_first_rule=0, round_name="even")
    yield from _measure_one_claimer("claim 64", BATCH)
    refill_pending(scale, share_of_first_rule=0, round_name="one")
    yield from _measure_one_claimer("claim 1", 1)
    yield from _measure_many_claimers()

    refill_pending(scale, share_of_first_rule=0.9, round_name="paused")
    first = ReplicationRule.objects.filter(pk=1)
    first.update(paused_at=timezone.now())
    yield from _measure_one_claimer("claim 64, a paused rule has 90 % of the pending jobs", BATCH)
    first.update(paused_at=None)

    refill_pending(scale, share_of_first_rule=0.95, round_name="one rule")
    yield from _measure_one_claimer("claim 64, one rule has 95 % of the pending jobs", BATCH)

    refill_pending(scale, share_of_first_rule=0, round_name="held")
    pending = TransferJob.objects.filter(state=JobState.PENDING)
    pending.alias(digit=F("id") % 10).filter(digit__gt=0).update(delete_permit=DeletePermit.AWAITED)
    yield from _measure_one_claimer("claim 64, 90 % of the pending jobs are held deletes", BATCH)

    yield from _measure_enqueue()
    yield from _measure_leases()


def settle(held: list[ClaimedJob]) -> None:
    """Complete the jobs, each with the proof of a copied object."""
    jobs.complete([(job, PROOF) for job in held])


def _measure_one_claimer(what: str, limit: int) -> Iterator[Figure]:
    claim, complete = Stopwatch(), Stopwatch()
    lane = uuid4()
    while len(claim.times_ms) < CLAIMS:
        held = claim(jobs.claim, lane, limit=limit, lease_seconds=LEASE_SECONDS)
        if not held:
            break
        complete(settle, held)
    yield _claim_figure(what, claim.times_ms)
    if what == "claim 64":
        yield Figure("complete 64", complete.times_ms)


def _claim_figure(what: str, times_ms: list[float], note: str = "") -> Figure:
    is_met = percentile(times_ms, 0.99) < CLAIM_P99_GOAL_MS
    return Figure(what, times_ms, f"p99 < {CLAIM_P99_GOAL_MS}", is_met, note=note)


def _measure_many_claimers() -> Iterator[Figure]:
    together = threading.Barrier(CLAIMERS)

    def claimer(number: int, every_seconds: float) -> tuple[list[float], list[float]]:
        claim, complete, lane = Stopwatch(), Stopwatch(), uuid4()
        connection.ensure_connection()
        try:
            together.wait()
            due = time.monotonic() + every_seconds * number / CLAIMERS
            for _ in range(CLAIMS // CLAIMERS):
                time.sleep(max(0.0, due - time.monotonic()))
                due += every_seconds
                complete(settle, claim(jobs.claim, lane, limit=BATCH, lease_seconds=LEASE_SECONDS))
        finally:
            connection.close()
        return claim.times_ms, complete.times_ms

    for every_seconds in (CLAIM_EVERY_SECONDS, 0.0):
        with ThreadPoolExecutor(CLAIMERS) as pool:
            began = time.monotonic()
            futures = [pool.submit(claimer, number, every_seconds) for number in range(CLAIMERS)]
            runs = [future.result() for future in futures]
            seconds = time.monotonic() - began
        claims_ms = [one for claims, _ in runs for one in claims]
        completes_ms = [one for _, completes in runs for one in completes]
        note = f"{len(claims_ms) * BATCH / seconds:,.0f} jobs/s in all"
        if every_seconds:
            pace = f"{CLAIMERS} lanes, 4 times a second each"
            yield _claim_figure(f"claim 64, {pace}", claims_ms, note)
        else:
            pace = f"{CLAIMERS} lanes without a pause"
            yield Figure(f"claim 64, {pace}", claims_ms, note=note)
        yield Figure(f"complete 64, {pace}", completes_ms)


def _measure_enqueue() -> Iterator[Figure]:
    for batch in (10, 100):
        watch = Stopwatch()
        for number in range(CLAIMS):
            orders = [
                JobOrder(1 + index % 20, f"new/{batch}/{number}/{index:054}.jpg")
                for index in range(batch)
            ]
            watch(jobs.enqueue, orders, origin=JobOrigin.EVENT, priority=jobs.PRIORITY_EVENT)
        yield Figure(f"enqueue {batch}", watch.times_ms)


def _measure_leases() -> Iterator[Figure]:
    extend, rescue = Stopwatch(), Stopwatch()
    lane = uuid4()
    held = jobs.claim(lane, limit=BATCH, lease_seconds=LEASE_SECONDS)
    for _ in range(CLAIMS):
        extend(jobs.extend_leases, lane, held, lease_seconds=LEASE_SECONDS)
        rescue(jobs.rescue, limit=100)
    settle(held)
    yield Figure("extend_leases of 64", extend.times_ms)
    yield Figure("rescue, nothing to do", rescue.times_ms)
