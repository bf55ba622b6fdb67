"""Lanes are woken after the commit of what they are to do, and no commit waits for it."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from replication import jobs
from replication.jobs import JobOrder, waking
from replication.jobs.waking import JOBS_CHANNEL, wake_lanes
from replication.models import Job, JobOrigin, TransferJob
from tests.support.examples import a_rule
from tests.support.processes import eventually
from tests.support.processes import test_database_url as database_url
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

Heard = Callable[[], list[str]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A function that returns the payloads that have come since its last call."""
    with psycopg.connect(database_url(), autocommit=True) as listening:
        listening.execute(f"LISTEN {JOBS_CHANNEL}")

        def hear() -> list[str]:
            listening.execute("SELECT 1")  # what was sent before arrives with this answer
            return [notify.payload for notify in listening.notifies(timeout=0)]

        yield hear


def test_lanes_are_woken_after_the_commit_and_not_before(heard: Heard) -> None:
    with transaction.atomic():
        wake_lanes()
        assert heard() == []
    assert heard() == [""]


def test_the_transaction_that_makes_jobs_has_no_notify_in_it() -> None:
    """PostgreSQL commits transactions that NOTIFY one after the other."""
    orders = [JobOrder(a_rule().pk, "a")]
    with transaction.atomic(), CaptureQueriesContext(connection) as before_the_commit:
        jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)
        jobs.cancel(TransferJob.objects.all())
    statements = [query["sql"].lower() for query in before_the_commit]
    assert len(statements) > 1
    assert not any("notify" in statement for statement in statements)


def test_lanes_are_not_woken_by_what_is_rolled_back(heard: Heard) -> None:
    with transaction.atomic():
        wake_lanes()
        transaction.set_rollback(True)
    assert heard() == []


def test_a_notify_that_fails_does_not_make_the_commit_fail(heard: Heard) -> None:
    """The lanes look for due work by themselves, a little later."""
    with transaction.atomic():
        wake_lanes("too long for a payload" * 1000)
        wake_lanes()
    assert heard() == [""]


def test_the_last_commit_of_many_threads_is_followed_by_a_notify(heard: Heard) -> None:
    rule = a_rule()
    seen = 0

    def commit() -> None:
        for _ in range(40):
            orders = [JobOrder(rule.pk, uuid4().hex)]
            jobs.enqueue(orders, origin=JobOrigin.EVENT, priority=0)

    def all_are_seen() -> bool:
        nonlocal seen
        if heard():
            seen = Job.objects.count()
        return seen == 8 * 40

    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(at_once, *[commit] * 8)
        eventually(all_are_seen)
        committing.result()


def test_no_thread_sends_for_others_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others commit all the time, each of them gets back to its own work."""
    monkeypatch.setattr(waking, "GATHER_SECONDS", 0)
    monkeypatch.setattr(waking, "SEND_SECONDS", 0)
    threads, commits, enough = 4, 50, threading.Semaphore(0)
    deadline = time.monotonic() + 60

    def commit() -> None:
        for number in itertools.count(1):
            wake_lanes()
            if number == commits:
                enough.release()
            # The others need this one's commits, to find out whether they are kept by them.
            if all_have_enough.is_set() or time.monotonic() > deadline:
                return

    def wait() -> None:
        have = sum(enough.acquire(timeout=deadline - time.monotonic()) for _ in range(threads))
        all_have_enough.set()
        assert have == threads

    all_have_enough = threading.Event()
    at_once(wait, *[commit] * threads)
