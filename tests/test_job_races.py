"""The transitions of jobs under real concurrency: threads with connections of their own."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django import Settings

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import Completion, JobOrder
from replication.models import JobOrigin, JobState, Outcome, ReplicationRule, TransferJob
from tests.examples import a_job, a_rule

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = 250
CLAIMERS = 8


def at_once(*calls: Callable[[], None]) -> None:
    """Run each on a thread, from the same moment on; raises what they raise."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        try:
            barrier.wait()
            call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(run, call) for call in calls]:
            future.result()


def enqueue(rule: ReplicationRule, keys: list[str]) -> None:
    orders = [JobOrder(rule.pk, key) for key in keys]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)


class Writers:
    """Notes who works on which key, and complains of two at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing: set[str] = set()
        self.overlaps: list[str] = []

    def begin(self, key: str) -> None:
        with self._lock:
            if key in self._writing:
                self.overlaps.append(key)
            self._writing.add(key)

    def end(self, key: str) -> None:
        with self._lock:
            self._writing.discard(key)


@pytest.fixture
def quick_retries(settings: Settings) -> None:
    limits = {"retry_base_seconds": 0.001, "retry_cap_seconds": 0.01}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=limits)


def test_a_key_never_has_two_writers_and_every_job_ends(quick_retries: None) -> None:
    rules = [a_rule("one"), a_rule("two")]
    keys = [f"key/{number}" for number in range(KEYS)]
    writers = Writers()
    produced = threading.Event()
    error = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)

    def produce() -> None:
        rng = random.Random(5)
        for _ in range(80):
            enqueue(rng.choice(rules), rng.choices(keys, k=50))
        produced.set()

    def work() -> None:
        rng = random.Random()
        lane = uuid4()
        while True:
            last = produced.is_set()
            held = jobs.claim(lane, limit=10, lease_seconds=60)
            if not held and last and not unfinished():
                return
            done = []
            for job in held:
                writers.begin(f"{job.rule_id} {job.key}")
            jobs.extend_leases(lane, held, lease_seconds=60)
            for job in held:
                # The database may hand the key on as soon as the job is settled.
                writers.end(f"{job.rule_id} {job.key}")
                if rng.random() < 0.2:
                    assert jobs.retry_later(job, error) is not None
                else:
                    done.append((job, Completion(Outcome.COPIED)))
            assert jobs.complete(done) == {job.id for job, _ in done}

    def unfinished() -> bool:
        return TransferJob.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING]).exists()

    at_once(produce, *[work] * CLAIMERS)
    assert writers.overlaps == []
    states = set(TransferJob.objects.values_list("state", flat=True))
    assert states <= {JobState.COMPLETED, JobState.SUPERSEDED, JobState.FAILED}
    seen = set(TransferJob.objects.filter(state=JobState.COMPLETED).values_list("key", flat=True))
    assert seen == set(keys)


def test_many_who_enqueue_the_same_keys_make_one_job_of_each() -> None:
    rule = a_rule()
    keys = [f"key/{number}" for number in range(100)]

    def produce() -> None:
        for _ in range(10):
            enqueue(rule, random.sample(keys, k=len(keys)))

    at_once(*[produce] * 6)
    assert TransferJob.objects.count() == len(keys)


def test_enqueueing_while_lanes_claim_and_settle_loses_no_key() -> None:
    rule = a_rule()
    looked = threading.Lock()
    latest: dict[str, int] = {}  # the version of each key's last event
    copied: dict[str, int] = {}  # the version that the last look saw
    produced = threading.Event()

    def produce() -> None:
        for version in range(60):
            keys = [f"key/{number}" for number in random.sample(range(20), k=10)]
            with looked:
                latest.update(dict.fromkeys(keys, version))
            enqueue(rule, keys)
        produced.set()

    def work() -> None:
        lane = uuid4()
        while True:
            last = produced.is_set()
            held = jobs.claim(lane, limit=4, lease_seconds=60)
            if not held and last:
                if not TransferJob.objects.filter(state__in=["pending", "running"]).exists():
                    return
                time.sleep(0.001)
            with looked:
                copied.update({job.key: latest[job.key] for job in held})
            jobs.complete([(job, Completion(Outcome.COPIED)) for job in held])

    at_once(produce, *[work] * 4)
    assert copied == latest


def test_retrying_and_enqueueing_the_same_keys_at_once_agree_on_one_job() -> None:
    rule = a_rule()
    keys = [f"key/{number}" for number in range(60)]
    for _ in range(6):
        TransferJob.objects.all().delete()
        for key in random.sample(keys, k=len(keys)):
            a_job(rule, key, state=JobState.FAILED)
            a_job(rule, key, state=JobState.FAILED)

        def retry() -> None:
            jobs.retry(TransferJob.objects.filter(rule=rule))

        at_once(retry, retry, lambda: enqueue(rule, keys), lambda: enqueue(rule, keys))
        pending = TransferJob.objects.filter(state=JobState.PENDING)
        assert sorted(pending.values_list("key", flat=True)) == sorted(keys)
        assert not TransferJob.objects.filter(state=JobState.FAILED).exists()


def test_only_one_of_many_settles_a_job() -> None:
    rule = a_rule()
    outcomes: list[object] = []
    for _ in range(10):
        enqueue(rule, ["a"])
        [held] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
        outcomes.clear()

        def complete() -> None:
            outcomes.extend(jobs.complete([(held, Completion(Outcome.COPIED))]))  # noqa: B023

        def fail() -> None:
            state = jobs.fail(held, ReplicationError(ErrorCode.UNEXPECTED))  # noqa: B023
            outcomes.extend([state] if state else [])

        at_once(complete, fail, complete, fail)
        assert len(outcomes) == 1


def test_many_rescuers_rescue_a_job_once() -> None:
    rule = a_rule()
    enqueue(rule, [f"key/{number}" for number in range(50)])
    jobs.claim(uuid4(), limit=100, lease_seconds=0)
    rescued: list[int] = []
    at_once(*[lambda: rescued.append(jobs.rescue(limit=100))] * 4)
    assert sum(rescued) == 50
    assert set(TransferJob.objects.values_list("attempt", flat=True)) == {1}
