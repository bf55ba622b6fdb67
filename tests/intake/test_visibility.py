"""A message in hand is delivered to nobody else, however slow the database is."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import connection

from replication.intake.messages import Polled, poll_once
from replication.intake.sqs import Message, Queue, QueueError
from replication.intake.visibility import InFlight
from replication.models import TransferJob
from tests.intake.test_messages import hide_for, left_in, put_event, send
from tests.support import processes
from tests.support.http_origin import http_origin
from tests.support.processes import eventually
from tests.support.road import Log, Road

pytestmark = pytest.mark.django_db(transaction=True)

VISIBILITY_SECONDS = 2  # the queue's own


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty, and delivers a message again after VISIBILITY_SECONDS."""
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    hide_for(road, seconds=VISIBILITY_SECONDS)
    return road


@contextmanager
def held_up_commits() -> Iterator[None]:
    """Whoever wants to write a job waits."""
    with psycopg.connect(processes.test_database_url()) as other:
        other.execute("LOCK TABLE replication_transferjob IN SHARE MODE")
        yield


def commit_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def delivered_again(road: Road, *, within_seconds: int) -> list[Message]:
    """What another receiver gets."""
    return Queue(road.queue).receive(wait_seconds=within_seconds)


def poll_on_a_thread(
    pool: ThreadPoolExecutor, road: Road, in_flight: InFlight
) -> Future[Polled | None]:
    def poll() -> Polled | None:
        try:
            return poll_once(road.queue, wait_seconds=1, in_flight=in_flight)
        finally:
            connection.close()

    return pool.submit(poll)


def test_a_message_whose_commit_is_slow_is_not_delivered_again(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    in_flight = InFlight(
        road.queue, extend_after_seconds=0.5, visibility_seconds=VISIBILITY_SECONDS
    )
    with ThreadPoolExecutor(1) as pool, in_flight:
        with held_up_commits():
            polling = poll_on_a_thread(pool, road, in_flight)
            eventually(commit_waits)
            # Three times as long as the queue itself would hide it.
            assert delivered_again(road, within_seconds=3 * VISIBILITY_SECONDS) == []
            assert not polling.done()
        assert polling.result(10) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
    assert TransferJob.objects.count() == 1
    assert delivered_again(road, within_seconds=VISIBILITY_SECONDS + 1) == []


def test_without_that_it_would_be_delivered_again(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    in_flight = InFlight(road.queue)
    with ThreadPoolExecutor(1) as pool, held_up_commits():
        poll_on_a_thread(pool, road, in_flight)
        eventually(commit_waits)
        assert delivered_again(road, within_seconds=3 * VISIBILITY_SECONDS)


def test_what_is_still_in_hand_at_the_end_is_given_back_at_once(road: Road) -> None:
    hide_for(road, seconds=600)
    send(road, put_event(road.source.bucket, "a"))
    with InFlight(road.queue) as in_flight:
        in_flight.add(Queue(road.queue).receive(wait_seconds=1))
        assert in_flight.messages
        assert left_in(road) == 0
    assert delivered_again(road, within_seconds=1)


def test_where_nothing_is_in_hand_sqs_is_not_asked(road: Road, logged: Log) -> None:
    with InFlight(road.queue, extend_after_seconds=0.1) as in_flight:
        for _ in range(2):
            assert poll_once(road.queue, wait_seconds=1, in_flight=in_flight) is None
    assert "visibility" not in logged.text  # SQS refuses an empty batch


def test_a_batch_is_taken_or_deleted_while_its_visibility_is_extended_all_the_time(
    road: Road,
) -> None:
    in_flight = InFlight(road.queue, extend_after_seconds=0, visibility_seconds=VISIBILITY_SECONDS)
    keys = [f"{number}" for number in range(30)]
    send(road, *(put_event(road.source.bucket, key) for key in keys))
    with in_flight:
        while poll_once(road.queue, wait_seconds=1, in_flight=in_flight):
            pass
    assert {job.key for job in TransferJob.objects.all()} == set(keys)
    assert delivered_again(road, within_seconds=VISIBILITY_SECONDS + 1) == []


def test_a_refusal_is_logged_and_asked_again_and_ends_nothing(road: Road, logged: Log) -> None:
    failed = '{"Successful": [], "Failed": [{"Id": "0", "Code": "Gone", "Message": "no such one"}]}'
    with http_origin() as sqs:
        sqs.answers(failed.encode(), Content_Type="application/x-amz-json-1.0")
        road.queue.url = f"{sqs.url}/queue"
        in_flight = InFlight(road.queue, extend_after_seconds=0.1, visibility_seconds=600)
        with in_flight:
            in_flight.add([_a_message()])
            eventually(lambda: len(sqs.targets) >= 2)
            in_flight.remove(in_flight.messages)
            asked = len(sqs.targets)
    assert "Gone: no such one" in logged.text
    assert len(sqs.targets) == asked  # nothing was left to be given back


def test_sqs_out_of_reach_ends_nothing(road: Road, logged: Log) -> None:
    road.queue.url = "http://127.0.0.1:9/123456789012/queue"
    with pytest.raises(QueueError):
        Queue(road.queue).change_visibility([_a_message()], seconds=1)
    with InFlight(road.queue, extend_after_seconds=0.1) as in_flight:
        in_flight.add([_a_message()])
        eventually(lambda: logged.text.count("queue.visibility_not_changed") >= 2)
        assert any(thread.name == f"extend-{road.queue.name}" for thread in threading.enumerate())


def _a_message() -> Message:
    return Message(id="m", receipt_handle="r", body="", sent_at=datetime.now(UTC))
