"""The transitions of jobs under real concurrency: of threads with their own connections, and of
processes with several such threads."""

import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.jobs import JobOrder, circuits, delete_brake
from replication.jobs.circuits import OPEN_AFTER_KEYS
from replication.jobs.held_deletes import Place
from replication.models import (
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    TransferJob,
)
from replication.transfer.results import Completion
from sandbox.child import Child
from tests.support import processes
from tests.support.claimers import Look, VersionedKeys, overlaps, read_looks
from tests.support.examples import a_job, a_rule
from tests.support.processes import REPOSITORY, eventually
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = 5_000
KEYS = 600  # for each of two rules; few, so that many are announced again during a look
CLAIMING_PROCESSES = 2


def enqueue(rule: ReplicationRule, keys: list[str]) -> None:
    orders = [JobOrder(rule.pk, key) for key in keys]
    jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)


@dataclass(frozen=True)
class Announcement:
    """A key was changed to this version and enqueued, from `began_ns` to `ended_ns`."""

    rule_id: int
    key: str
    version: int
    began_ns: int
    ended_ns: int


def announce_until_jobs_created(
    number: int, rules: list[ReplicationRule], source: VersionedKeys
) -> list[Announcement]:
    """Change keys and enqueue them, again and again, until `number` jobs have been created."""
    rng = random.Random(5)
    announced: list[Announcement] = []
    created: set[int] = set()
    for version in itertools.count(1):
        if len(created) >= number:
            break
        rule = rng.choice(rules)
        keys = rng.sample([f"{key}" for key in range(KEYS)], k=150)
        began_ns = time.monotonic_ns()
        for key in keys:
            source.change(key, version)
        orders = [JobOrder(rule.pk, key) for key in keys]
        created.update(jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0))
        ended_ns = time.monotonic_ns()
        announced += [
            Announcement(order.rule_id, order.key, version, began_ns, ended_ns) for order in orders
        ]
    return announced


@contextmanager
def claiming(folder: Path) -> Iterator[list[Child]]:
    """Processes with four claimers each, ready to work."""
    children = []
    try:
        for number in range(CLAIMING_PROCESSES):
            children.append(
                Child(
                    [sys.executable, "-m", "tests.support.claimers", folder, f"{number}"],
                    log=folder / f"{number}.log",
                    env={
                        **os.environ,
                        "DATABASE_URL": processes.test_database_url(),
                        "S3SYNC_RETRY_BASE_SECONDS": "0.001",
                        "S3SYNC_RETRY_CAP_SECONDS": "0.01",
                    },
                    cwd=REPOSITORY,
                )
            )
        for number, child in enumerate(children):
            eventually((folder / f"{number}.ready").exists, unless_ended=child)
        yield children
    finally:
        for child in children:
            child.stop()


def test_eight_claimers_of_five_thousand_jobs_give_no_key_two_writers_and_miss_no_change(
    tmp_path: Path,
) -> None:
    rules = [a_rule("one"), a_rule("two")]
    with claiming(tmp_path) as claimers, closing(VersionedKeys(tmp_path / "versions")) as source:
        announced = announce_until_jobs_created(JOBS, rules, source)
        (tmp_path / "produced").touch()
        looks: list[Look] = []
        for number, process in enumerate(claimers):
            # A process writes this file only if all its statements succeeded.
            results = tmp_path / f"{number}.json"
            eventually(results.exists, unless_ended=process)
            looks += read_looks(results)

    assert overlaps(looks) == []
    finished = dict(Job.objects.values_list("id", "state"))
    assert len(finished) >= JOBS
    assert set(finished.values()) <= {JobState.COMPLETED, JobState.SUPERSEDED}
    completed = {id for id, state in finished.items() if state == JobState.COMPLETED}
    assert completed <= {look.job_id for look in looks}

    of_key: dict[tuple[int, str], list[Look]] = {}
    for look in sorted(looks, key=attrgetter("began_ns")):
        of_key.setdefault((look.rule_id, look.key), []).append(look)
    announced_during_a_look = 0
    for announcement in announced:
        key_looks = of_key[announcement.rule_id, announcement.key]
        assert any(look.version >= announcement.version for look in key_looks), announcement
        # A look that began before the announcement may not have seen it: another look must follow.
        earlier = [look for look in key_looks if look.began_ns < announcement.began_ns]
        if earlier and announcement.ended_ns < earlier[-1].ended_ns:
            announced_during_a_look += 1
            assert key_looks[-1].began_ns >= earlier[-1].ended_ns, announcement
    assert announced_during_a_look > JOBS / 200  # otherwise the test shows nothing


def test_overlapping_looks_are_detected() -> None:
    first = Look(1, "a", job_id=1, version=1, began_ns=10, ended_ns=50)
    within = Look(1, "a", job_id=2, version=1, began_ns=20, ended_ns=30)
    later = Look(1, "a", job_id=3, version=1, began_ns=40, ended_ns=60)
    assert overlaps([later, first, within]) == [(first, within), (first, later)]
    elsewhere = [Look(2, "a", 4, 1, 20, 30), Look(1, "b", 5, 1, 20, 30), Look(1, "a", 6, 1, 50, 60)]
    assert overlaps([first, *elsewhere]) == []


def test_many_producers_of_the_same_keys_create_one_job_for_each() -> None:
    rule = a_rule()
    keys = [f"key/{number}" for number in range(100)]

    def produce() -> None:
        for _ in range(10):
            enqueue(rule, random.sample(keys, k=len(keys)))

    at_once(*[produce] * 6)
    assert Job.objects.count() == len(keys)


def test_enqueueing_while_lanes_claim_and_settle_loses_no_key() -> None:
    rule = a_rule()
    looked = threading.Lock()
    latest: dict[str, int] = {}  # the version of each key's latest event
    copied: dict[str, int] = {}  # the version that each key's last look saw
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
                if not Job.objects.filter(state__in=["pending", "running"]).exists():
                    return
                time.sleep(0.001)
            with looked:
                copied.update({job.key: latest[job.key] for job in held})
            jobs.complete([(job, Completion(Outcome.COPIED)) for job in held])

    at_once(produce, *[work] * 4)
    assert copied == latest


def test_retrying_and_enqueueing_the_same_keys_at_once_leaves_one_job_for_each() -> None:
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
        pending = Job.objects.filter(state=JobState.PENDING)
        assert sorted(pending.values_list("key", flat=True)) == sorted(keys)
        assert not Job.objects.filter(state=JobState.FAILED).exists()


def test_whatever_touches_many_pending_jobs_at_once_never_deadlocks() -> None:
    rule = a_rule(max_deletes_per_hour=1)
    keys = [f"key/{number}" for number in range(200)]
    failure = ReplicationError(ErrorCode.DESTINATION_UNREACHABLE)
    for key in keys:
        a_job(rule, key, state=JobState.FAILED, error_code=failure.code, finalized_at=Now())
    all_jobs = TransferJob.objects.filter(rule=rule)

    def settle_in_doubt() -> None:
        held = jobs.claim(uuid4(), limit=50, lease_seconds=60)
        doubtful = [replace(job, write_in_doubt_until=now) for job in held[::2]]
        jobs.complete([(job, Completion(Outcome.COPIED)) for job in doubtful])
        jobs.await_confirmation(held[1::2])

    def confirm() -> None:
        for at in (datetime.now(UTC), now):
            jobs.confirm_deletes(rule.pk, last=Place(at, 0), limit=100)
        delete_brake.end(rule.pk)

    def close_circuit() -> None:
        for number in range(OPEN_AFTER_KEYS):
            circuits.note_error(rule, f"{number}", failure)
        for job in jobs.claim(uuid4(), limit=100, lease_seconds=60):
            jobs.retry_later(job, failure, uses_up_a_try=False)
        circuits.resume(ReplicationRule.objects.all())

    now = datetime.now(UTC)
    calls = [
        lambda: enqueue(rule, random.sample(keys, k=150)),
        settle_in_doubt,
        lambda: jobs.cancel(all_jobs.filter(key__endswith="7")),
        lambda: jobs.retry(all_jobs),
        confirm,
        close_circuit,
    ]

    def repeat(call: Callable[[], object]) -> None:
        for _ in range(15):
            call()

    at_once(*[partial(repeat, call) for call in [*calls, *calls]])  # a deadlock raises


def test_the_end_of_a_brake_and_completions_in_doubt_never_deadlock() -> None:
    """Both touch the minute's count of deletes, and the pending jobs."""
    rule = a_rule(max_deletes_per_hour=1)
    braked = ReplicationRule.objects.filter(pk=rule.pk)
    completed = threading.Event()

    def complete_in_doubt() -> None:
        for number in range(100):
            enqueue(rule, [f"{number}"])
            held = jobs.claim(uuid4(), limit=1, lease_seconds=60)
            doubtful = [replace(job, write_in_doubt_until=datetime.now(UTC)) for job in held]
            jobs.complete([(job, Completion(Outcome.DELETED)) for job in doubtful])
        completed.set()

    def end_brakes() -> None:
        while not completed.is_set():
            braked.update(braked_at=Now())
            delete_brake.end(rule.pk)

    at_once(complete_in_doubt, complete_in_doubt, end_brakes)  # a deadlock raises


def test_only_one_of_many_callers_settles_a_job() -> None:
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


def test_many_rescuers_rescue_each_job_once() -> None:
    rule = a_rule()
    enqueue(rule, [f"key/{number}" for number in range(50)])
    jobs.claim(uuid4(), limit=100, lease_seconds=0)
    rescued: list[int] = []
    at_once(*[lambda: rescued.append(jobs.rescue(limit=100))] * 4)
    assert sum(rescued) == 50
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


@pytest.mark.parametrize("is_same_lane", [False, True], ids=["another lane", "the same lane"])
def test_a_zombies_heartbeats_and_completions_change_nothing(is_same_lane: bool) -> None:
    rule = a_rule()
    keys = [f"key/{number}" for number in range(20)]
    enqueue(rule, keys)
    zombie = uuid4()
    successor = zombie if is_same_lane else uuid4()
    lost = jobs.claim(zombie, limit=20, lease_seconds=0)
    assert jobs.rescue(limit=20) == 20
    TransferJob.objects.update(available_at=Now())
    held = jobs.claim(successor, limit=20, lease_seconds=60)
    assert {job.id for job in held} == {job.id for job in lost}
    before = list(Job.objects.order_by("id").values())

    def heartbeat() -> None:
        for _ in range(20):
            assert jobs.extend_leases(zombie, lost, lease_seconds=600) == set()

    def complete() -> None:
        for _ in range(20):
            assert jobs.complete([(job, Completion(Outcome.DELETED)) for job in lost]) == set()

    at_once(heartbeat, complete, heartbeat, complete)
    assert list(Job.objects.order_by("id").values()) == before
    assert jobs.complete([(job, Completion(Outcome.COPIED)) for job in held]) == {
        job.claim for job in held
    }
