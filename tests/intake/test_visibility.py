"""SQS delivers a message in flight to no other receiver, however slow the database is."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import connection

from replication.intake.queue_poller import QueuePoller
from replication.intake.sqs import Message, Queue, QueueError
from replication.intake.visibility import InFlight
from replication.models import DeadLetter, EventQueue, Job
from tests.support import processes, sqs
from tests.support.http_origin import http_origin
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually
from tests.support.road import Log, Road
from tests.support.sqs import messages_left, put_event, send, set_visibility_timeout

pytestmark = pytest.mark.django_db(transaction=True)

VISIBILITY_SECONDS = 2  # the queue's own timeout


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty, and delivers a message again after VISIBILITY_SECONDS."""
    sqs.empty(road, visibility_timeout_seconds=VISIBILITY_SECONDS)
    return road


@contextmanager
def blocked_commits() -> Iterator[None]:
    """A lock blocks every write of a job."""
    with psycopg.connect(processes.test_database_url()) as other:
        other.execute("LOCK TABLE replication_transferjob IN SHARE MODE")
        yield


def is_commit_blocked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM pg_locks
                JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE NOT granted AND datname = current_database())
            """
        )
        return bool(cursor.fetchone()[0])


def delivered_again(road: Road, *, within_seconds: int) -> list[Message]:
    """The messages that another receiver gets."""
    return Queue(road.queue).receive(wait_seconds=within_seconds)


def poll_on_a_thread(pool: ThreadPoolExecutor, road: Road, in_flight: InFlight) -> Future[int]:
    def poll() -> int:
        try:
            return poll_until_empty(road.queue, in_flight=in_flight)
        finally:
            connection.close()

    return pool.submit(poll)


def test_a_message_whose_commit_is_slow_is_not_delivered_again(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    in_flight = InFlight(
        Queue(road.queue), extend_after_seconds=0.5, visibility_seconds=VISIBILITY_SECONDS
    )
    with ThreadPoolExecutor(1) as pool:
        with blocked_commits():
            polling = poll_on_a_thread(pool, road, in_flight)
            eventually(is_commit_blocked)
            # Three times as long as the queue itself hides it.
            assert delivered_again(road, within_seconds=3 * VISIBILITY_SECONDS) == []
            assert not polling.done()
        assert polling.result(90) == 1
    assert Job.objects.count() == 1
    assert delivered_again(road, within_seconds=VISIBILITY_SECONDS + 1) == []
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)
    assert not DeadLetter.objects.exists()


def test_without_an_extension_a_message_is_delivered_again(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    in_flight = InFlight(Queue(road.queue), extend_after_seconds=60)
    with ThreadPoolExecutor(1) as pool:
        with blocked_commits():
            polling = poll_on_a_thread(pool, road, in_flight)
            eventually(is_commit_blocked)
            assert delivered_again(road, within_seconds=3 * VISIBILITY_SECONDS)
        assert polling.result(90)


def test_messages_in_flight_at_the_end_are_given_back_at_once(road: Road) -> None:
    set_visibility_timeout(road, seconds=600)
    send(road, put_event(road.source.bucket, "a"))
    with InFlight(Queue(road.queue)) as in_flight:
        in_flight.add(Queue(road.queue).receive(wait_seconds=1))
        assert in_flight.messages
        assert delivered_again(road, within_seconds=0) == []
    assert delivered_again(road, within_seconds=1)


def test_without_messages_in_flight_no_visibility_is_changed(road: Road, logged: Log) -> None:
    queue = Queue(road.queue)
    in_flight = InFlight(queue, extend_after_seconds=0.1)
    QueuePoller(road.queue, sqs=queue, in_flight=in_flight, until=time.monotonic() + 1.5).run()
    assert EventQueue.objects.get().last_polled_at is not None
    assert "visibility" not in logged.text  # SQS refuses an empty batch, which would be logged


def test_a_batch_may_be_committed_and_deleted_while_its_visibility_is_extended(road: Road) -> None:
    in_flight = InFlight(
        Queue(road.queue), extend_after_seconds=0, visibility_seconds=VISIBILITY_SECONDS
    )
    keys = [f"{number}" for number in range(30)]
    send(road, *(put_event(road.source.bucket, key) for key in keys))
    assert poll_until_empty(road.queue, in_flight=in_flight) == len(keys)
    assert {job.key for job in Job.objects.all()} == set(keys)
    assert delivered_again(road, within_seconds=VISIBILITY_SECONDS + 1) == []
    assert messages_left(road) == 0


def test_a_refusal_to_extend_is_logged_and_retried(road: Road, logged: Log) -> None:
    failed = '{"Successful": [], "Failed": [{"Id": "0", "Code": "Gone", "Message": "no such one"}]}'
    with http_origin() as origin:
        origin.answers(failed.encode(), Content_Type="application/x-amz-json-1.0")
        road.queue.url = f"{origin.url}/queue"
        in_flight = InFlight(Queue(road.queue), extend_after_seconds=0.1, visibility_seconds=600)
        with in_flight:
            in_flight.add([_a_message()])
            eventually(lambda: len(origin.targets) >= 2)
            in_flight.remove(in_flight.messages)
            requests = len(origin.targets)
    assert "Gone: no such one" in logged.text
    assert len(origin.targets) == requests  # nothing was left to give back


def test_while_sqs_is_out_of_reach_extensions_are_retried(road: Road, logged: Log) -> None:
    road.queue.url = "http://127.0.0.1:9/123456789012/queue"
    with pytest.raises(QueueError):
        Queue(road.queue).change_visibility([_a_message()], seconds=1)
    with InFlight(Queue(road.queue), extend_after_seconds=0.1) as in_flight:
        in_flight.add([_a_message()])
        eventually(lambda: logged.text.count("queue.visibility_not_changed") >= 2)
        assert any(thread.name == f"extend-{road.queue.name}" for thread in threading.enumerate())


def _a_message() -> Message:
    return Message(id="m", receipt_handle="r", body="", sent_at=datetime.now(UTC))
