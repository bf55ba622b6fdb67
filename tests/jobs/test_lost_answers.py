"""Lanes whose statements are committed but get no answer repeat them, and no job has two lanes."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import uuid4

import pytest
from django.db.models import Sum
from django.db.models.functions import Now

from replication import jobs
from replication.cluster import database
from replication.cluster.database import Persistently
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import ClaimedJob, JobOrder
from replication.models import CompletedMinute, Job, JobOrigin, JobState, Outcome, TransferJob
from replication.transfer.results import Completion
from tests.support.claimers import Look, overlaps
from tests.support.examples import a_rule
from tests.support.lossy_database import losing_answers
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = 1000
LANES = 4
BATCH = 8
SHARE_OF_LOST_ANSWERS = 0.08
SHARE_OF_HAND_OVERS = 0.3
SHARE_OF_ERRORS = 0.15
LEASE_SECONDS = 600  # longer than the test: no lane loses a job that it knows of
ERROR = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)

T = TypeVar("T")


def unfinished() -> bool:
    states = [JobState.PENDING, JobState.RUNNING]
    return Job.objects.filter(state__in=states).exists()


@dataclass
class Lane:
    """Claims and settles jobs until none is left, and repeats each statement without an answer.

    `holds` has each claim that it knows of, from the claim's answer until it begins to settle.
    """

    seed: int
    stop: threading.Event
    holds: list[Look] = field(default_factory=list)
    settlements: Counter[str] = field(default_factory=Counter)
    lost_answers: int = 0
    _runs: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._id = uuid4()

    def work(self) -> None:
        try:
            self._work()
        except BaseException:
            self.stop.set()  # the others would wait for ever for this lane's jobs
            raise

    def _work(self) -> None:
        with losing_answers(share=SHARE_OF_LOST_ANSWERS, seed=self.seed) as proxy:
            while self._persistently(unfinished) and not self.stop.is_set():
                claim = partial(jobs.claim, self._id, limit=BATCH, lease_seconds=LEASE_SECONDS)
                held = self._persistently(claim)
                is_repeated = self._runs > 1
                self._settle(held)
                if is_repeated:
                    self._rescue_unknown_claims()
            self.lost_answers = proxy.losses

    def _settle(self, held: list[ClaimedJob]) -> None:
        began_ns = time.monotonic_ns()
        extend = partial(jobs.extend_leases, self._id, held, lease_seconds=LEASE_SECONDS)
        assert self._persistently(extend) == {job.claim for job in held}
        completed = []
        for job in held:
            ended_ns = time.monotonic_ns()
            number = self._chance.random()
            if number < SHARE_OF_HAND_OVERS:
                self._move("hand_over", partial(jobs.hand_over, job))
            elif number < SHARE_OF_HAND_OVERS + SHARE_OF_ERRORS:
                self._move("retry_later", partial(jobs.retry_later, job, ERROR))
            else:
                completed.append(job)
                continue
            self._note(job, began_ns, ended_ns)
        ended_ns = time.monotonic_ns()
        completions = [(job, Completion(Outcome.COPIED)) for job in completed]
        self._move("complete", partial(jobs.complete, completions), count=len(completed))
        for job in completed:
            self._note(job, began_ns, ended_ns)

    def _move(self, name: str, transition: Callable[[], object], *, count: int = 1) -> None:
        """A transition that gets its answer at once has moved the jobs: nobody else had."""
        moved = self._persistently(transition)
        assert moved or self._runs > 1 or not count, f"{name} moved nothing"
        self.settlements[name] += count

    def _note(self, job: ClaimedJob, began_ns: int, ended_ns: int) -> None:
        self.holds.append(Look(job.rule_id, job.key, job.id, job.token, began_ns, ended_ns))

    def _rescue_unknown_claims(self) -> None:
        """Let time pass for what a claim without an answer took: this lane holds nothing now."""
        unknown = TransferJob.objects.filter(claimed_by=self._id, state=JobState.RUNNING)
        self._persistently(lambda: unknown.update(lease_expires_at=Now()))
        self._persistently(partial(jobs.rescue, limit=BATCH))

    def _persistently(self, statement: Callable[[], T]) -> T:
        self._runs = 0

        def run() -> T:
            self._runs += 1
            return statement()

        return Persistently(give_up_after_seconds=30, event="test.database_away")(run)


def test_statements_repeated_without_an_answer_give_no_claim_two_holders_and_lose_no_job(
    limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a lane waits to repeat a statement, the others claim what it has given back."""
    monkeypatch.setattr(database, "REPEAT_SECONDS", 0.02)
    # A rescued job leaves its write in doubt for the read timeout, and then makes one more job.
    limits(retry_base_seconds=0.001, read_timeout_seconds=0.1, max_attempts=1000)
    rule = a_rule()
    orders = [JobOrder(rule.pk, f"key/{number}") for number in range(JOBS)]
    created = jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
    stop = threading.Event()
    lanes = [Lane(seed, stop) for seed in range(LANES)]
    at_once(*[lane.work for lane in lanes])

    holds = [hold for lane in lanes for hold in lane.holds]
    claims = Counter((hold.job_id, hold.version) for hold in holds)
    assert [claim for claim, holders in claims.items() if holders > 1] == []
    assert overlaps(holds) == []
    ended = dict(Job.objects.values_list("id", "state"))
    assert set(created) <= ended.keys()
    assert set(ended.values()) == {JobState.COMPLETED}
    # No job was completed twice: each counts once.
    assert CompletedMinute.objects.aggregate(jobs=Sum("jobs"))["jobs"] == len(ended)
    # Otherwise the test shows nothing.
    settlements = sum((lane.settlements for lane in lanes), Counter[str]())
    assert settlements.total() >= JOBS
    assert settlements["hand_over"] > JOBS / 5
    assert all(lane.lost_answers > 10 for lane in lanes)
