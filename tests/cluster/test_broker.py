"""The broker takes a task as soon as it is committed, and survives an outage of the database."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from django.db import connection

from replication.cluster import broker, loops
from replication.cluster.broker import PatientBroker
from replication.cluster.pooling import ASK_SECONDS
from replication.models import LoopKind
from tests.support.pgbouncer import PgBouncer
from tests.support.processes import eventually
from tests.support.road import Log

pytestmark = pytest.mark.django_db(transaction=True)

TIMEOUT_SECONDS = 20.0
Tasks = list[tuple[int, str]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleQueue[Tasks | None]]:
    """The result of each `dequeue` on a pusher's thread, which waits for a NOTIFY for very long."""
    monkeypatch.setattr(broker, "CHECK_SECONDS", 3 * TIMEOUT_SECONDS)
    monkeypatch.setattr(broker, "RECONNECT_SECONDS", 0.01)
    results: SimpleQueue[Tasks | None] = SimpleQueue()
    is_over = False

    def push() -> None:
        own = PatientBroker(list_key="s3sync")
        try:
            while not is_over:
                tasks = own.dequeue()
                for number, _ in tasks or []:
                    own.acknowledge(number)
                results.put(tasks)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        ended: Future[None] = pool.submit(push)
        yield results
        is_over = True

        def wake_until_ended() -> bool:
            loops.request(LoopKind.LANE, lost_after_seconds=0)
            return ended.done()

        eventually(wake_until_ended)
        ended.result()


def next_of(taken: SimpleQueue[Tasks | None]) -> Tasks:
    """The next tasks; skips the empty result between a NOTIFY and the next check."""
    while not (tasks := taken.get(timeout=TIMEOUT_SECONDS)):
        pass
    return tasks


def listeners() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE '%%django_q_ormq%%'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def test_a_loop_that_is_asked_for_is_taken_at_once(taken: SimpleQueue[Tasks | None]) -> None:
    for _ in range(2):  # the second NOTIFY arrives on a connection that was kept
        eventually(lambda: len(listeners()) == 1)
        assert loops.request(LoopKind.LANE, lost_after_seconds=0)
        assert len(next_of(taken)) == 1


def test_a_lost_connection_is_replaced_by_one_that_listens(
    taken: SimpleQueue[Tasks | None], logged: Log
) -> None:
    eventually(lambda: len(listeners()) == 1)
    [lost] = listeners()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [lost])
    assert taken.get(timeout=TIMEOUT_SECONDS) is None
    assert "cluster.database_unavailable" in logged.text
    eventually(lambda: bool(set(listeners()) - {lost}))
    assert loops.request(LoopKind.LANE, lost_after_seconds=0)
    assert len(next_of(taken)) == 1


def test_a_cluster_with_a_sweeper_leaves_another_one_to_the_others(
    taken: SimpleQueue[Tasks | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: SimpleQueue[float] = SimpleQueue()
    monkeypatch.setattr(broker, "time", SimpleNamespace(sleep=slept.put))
    eventually(lambda: len(listeners()) == 1)
    assert loops.request(LoopKind.SWEEPER)
    assert len(next_of(taken)) == 1
    assert slept.empty()
    with loops.running(LoopKind.SWEEPER):
        eventually(lambda: len(listeners()) == 1)
        assert loops.request(LoopKind.SWEEPER, lost_after_seconds=0)
        assert slept.get(timeout=TIMEOUT_SECONDS) == broker.HEAD_START_SWEEPER_SECONDS
        assert len(next_of(taken)) == 1


def test_behind_a_pooler_a_loop_that_is_asked_for_is_found(
    pooled: PgBouncer, taken: SimpleQueue[Tasks | None]
) -> None:
    for _ in range(2):
        assert loops.request(LoopKind.LANE, lost_after_seconds=0)
        assert len(next_of(taken)) == 1
    assert "not linked" not in pooled.child.log.read_text()  # as a NOTIFY would be


@pytest.mark.usefixtures("pooled")
def test_behind_a_pooler_a_cluster_with_a_sweeper_leaves_another_one_to_the_others(
    taken: SimpleQueue[Tasks | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = time.sleep
    slept: SimpleQueue[float] = SimpleQueue()

    def note(seconds: float) -> None:
        slept.put(seconds)
        sleep(seconds)

    monkeypatch.setattr(broker, "time", SimpleNamespace(sleep=note, monotonic=time.monotonic))
    with loops.running(LoopKind.SWEEPER):
        assert slept.get(timeout=TIMEOUT_SECONDS) == ASK_SECONDS
        assert loops.request(LoopKind.SWEEPER)
        while (seconds := slept.get(timeout=TIMEOUT_SECONDS)) == ASK_SECONDS:
            pass
        assert seconds == broker.HEAD_START_SWEEPER_SECONDS > ASK_SECONDS
        assert len(next_of(taken)) == 1
