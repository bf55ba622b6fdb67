"""Concurrent receives, commits and deletes lose no message, and a failure blocks no others."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from pytest_django import Settings

from replication.intake.queue_poller import QueuePoller
from replication.intake.sqs import Queue
from replication.intake.visibility import InFlight
from replication.models import DeadLetter, EventQueue, Job
from tests.support import sqs
from tests.support.failing_database import failing_commits, refusing
from tests.support.http_origin import HttpOrigin, http_origin
from tests.support.pollers import poll_until_empty, polling
from tests.support.processes import eventually
from tests.support.road import Log, Road
from tests.support.sqs import messages_left, put_event, send
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 200


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty; a received message stays hidden unless it is given back."""
    sqs.empty(road, visibility_timeout_seconds=600)
    return road


def send_many(road: Road, count: int = MANY) -> set[str]:
    """Send one event for each of `count` keys; returns the keys."""
    keys = [f"key/{number}" for number in range(count)]
    send(road, *(put_event(road.source.bucket, key) for key in keys))
    return set(keys)


def jobs() -> set[str]:
    return {job.key for job in Job.objects.all()}


# -- receives ----------------------------------------------------------------------------------


def test_a_long_poll_may_outlast_the_read_timeout(road: Road, settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"read_timeout_seconds": 0.5})
    # A second name for the address: clients are cached, with their timeouts.
    road.queue.url = road.queue.url.replace("127.0.0.1", "localhost")
    queue = Queue(road.queue)
    started_at = time.monotonic()
    # A long poll of 2 s.
    QueuePoller(road.queue, sqs=queue, in_flight=InFlight(queue), until=started_at + 2.9).run()
    assert time.monotonic() - started_at >= 2
    road.queue.refresh_from_db()
    assert road.queue.last_polled_at is not None
    assert (road.queue.last_error, road.queue.last_error_at) == ("", None)


def test_two_pollers_of_one_queue_take_each_message_once(road: Road) -> None:
    keys = send_many(road)
    received = at_once(*[lambda: poll_until_empty(road.queue)] * 2)
    assert min(received) > 0
    assert sum(received) == MANY
    assert jobs() == keys
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert road.queue.messages_received == MANY


def test_a_stop_under_load_loses_nothing_and_leaves_nothing_hidden(road: Road) -> None:
    keys = send_many(road)
    with polling(road.queue, sqs=Queue(road.queue)):
        eventually(Job.objects.exists)
    taken = jobs()
    road.queue.refresh_from_db()
    assert road.queue.messages_received == len(taken)  # every received message was committed
    left = set()
    while messages := Queue(road.queue).receive(wait_seconds=0):
        left |= {json.loads(one.body)["Records"][0]["s3"]["object"]["key"] for one in messages}
    assert not taken & left  # every committed message was deleted
    assert taken | left == keys


# -- commits -----------------------------------------------------------------------------------


def test_a_backlog_is_committed_in_groups_and_deleted_to_the_last_message(road: Road) -> None:
    keys = send_many(road)
    with polling(road.queue):
        eventually(lambda: len(jobs()) == MANY)
    assert jobs() == keys
    commits = Job.objects.values("enqueued_at").distinct().count()
    assert commits < MANY / 10  # without groups there is one commit for each receive
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert road.queue.messages_received == MANY
    assert road.queue.last_error == ""
    assert road.queue.last_polled_at is not None


def test_a_message_stays_in_the_queue_until_its_jobs_are_committed(road: Road) -> None:
    road.put("a")
    with failing_commits(), polling(road.queue):
        eventually(lambda: "refused" in EventQueue.objects.get().last_error)
    assert not Job.objects.exists()
    assert messages_left(road) == 1
    road.queue.refresh_from_db()
    assert road.queue.messages_received == 0
    assert poll_until_empty(road.queue) == 1
    assert jobs() == {"a"}
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)
    assert not DeadLetter.objects.exists()


def test_messages_in_flight_while_the_database_is_away_are_committed_when_it_is_back(
    road: Road, logged: Log
) -> None:
    send(road, put_event(road.source.bucket, "a"))
    with polling(road.queue):
        with failing_commits():
            # Once more, so that no receive is in flight from before the first failure.
            eventually(lambda: logged.text.count("queue.database_unavailable") >= 2)
            send(road, put_event(road.source.bucket, "b"))
            eventually(lambda: logged.text.count("queue.database_unavailable") >= 3)
            assert Queue(road.queue).depth() == 1
            assert not Job.objects.exists()
        eventually(lambda: jobs() == {"a", "b"})
        eventually(lambda: EventQueue.objects.get().last_error == "")
    # Two commits: "b" was not received before "a" could be committed.
    commits = [json.loads(line) for line in logged.lines if "queue.polled" in line]
    assert [commit["messages"] for commit in commits] == [1, 1]
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (2, 0)
    assert not DeadLetter.objects.exists()


def test_a_database_that_is_away_during_several_receives_loses_nothing(road: Road) -> None:
    with failing_commits(), polling(road.queue):
        keys = send_many(road)
        eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        waiting = Queue(road.queue).depth()
    # The poller received no more than it could commit, and gave back what it had received.
    assert waiting is not None
    assert waiting > 0
    assert Queue(road.queue).depth() == MANY
    assert not Job.objects.exists()
    with polling(road.queue):
        with failing_commits():
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(lambda: len(jobs()) == MANY)
        eventually(lambda: EventQueue.objects.get().last_error == "")
    assert jobs() == keys
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert road.queue.messages_received == MANY


@contextmanager
def another_schema() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE replication_transferjob RENAME COLUMN event_at TO announced_at")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE replication_transferjob RENAME COLUMN announced_at TO event_at"
            )


def test_a_database_of_another_version_makes_no_dead_letters(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    with another_schema(), polling(road.queue):
        eventually(lambda: "event_at" in EventQueue.objects.get().last_error)
    assert not DeadLetter.objects.exists()
    assert messages_left(road) == 1
    assert poll_until_empty(road.queue) == 1
    assert jobs() == {"a"}
    assert not DeadLetter.objects.exists()
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)


def test_one_bad_message_of_many_becomes_a_dead_letter_and_the_others_jobs(
    road: Road, logged: Log
) -> None:
    keys = send_many(road)
    with refusing("key/77"), polling(road.queue):
        eventually(lambda: len(jobs()) == MANY - 1)
        eventually(DeadLetter.objects.exists)
    assert jobs() == keys - {"key/77"}
    assert DeadLetter.objects.get().body == put_event(road.source.bucket, "key/77")
    # A group of n messages is halved at most log2(n) times until the bad one is alone.
    assert logged.text.count("queue.messages_taken_by_halves") <= 10
    assert messages_left(road) == 0


# -- deletes -----------------------------------------------------------------------------------


def test_a_message_that_can_not_be_deleted_is_logged_and_harmless(road: Road, logged: Log) -> None:
    failed = {"Id": "0", "Code": "InternalError", "SenderFault": False, "Message": "try again"}
    with http_origin() as origin:
        waiting = [sqs_message(road.source.bucket, 1)]

        def answer(_target: str) -> bytes:
            if b"AmazonSQS.DeleteMessageBatch" in origin.request:
                return _answered({"Successful": [], "Failed": [failed]})
            batch = list(waiting)
            waiting.clear()
            return _answered({"Messages": batch})

        origin.answer = answer
        road.queue.url = f"{origin.url}/queue"
        assert poll_until_empty(road.queue) == 1
    assert "InternalError: try again" in logged.text
    assert Job.objects.get().event_at.timestamp() == 1_700_000_000
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)
    assert not DeadLetter.objects.exists()


def sqs_message(bucket: str, number: int) -> dict[str, object]:
    """A message as SQS delivers it."""
    return {
        "MessageId": f"m{number}",
        "ReceiptHandle": f"r{number}",
        "Body": put_event(bucket, f"key/{number}"),
        "Attributes": {"SentTimestamp": "1700000000000"},
    }


class ForgetfulSqs:
    """An SQS with 30 messages whose second delete fails as a whole; it delivers those again."""

    def __init__(self, origin: HttpOrigin, bucket: str) -> None:
        self._origin = origin
        self._waiting = [sqs_message(bucket, number) for number in range(30)]
        self._received: dict[str, dict[str, object]] = {}
        self._deletes = 0
        self.refused: list[str] = []
        self.may_deliver_again = threading.Event()
        origin.answer = self._answer

    @property
    def is_empty(self) -> bool:
        return not self._waiting and not self._received

    def _answer(self, _target: str) -> bytes:
        head, _, body = self._origin.request.partition(b"\r\n\r\n")
        if b"AmazonSQS.ReceiveMessage" in head:
            batch, self._waiting = self._waiting[:10], self._waiting[10:]
            if self.refused and self.may_deliver_again.is_set():
                batch += [self._received[receipt] for receipt in self.refused]
                self.refused = []
            self._received |= {str(one["ReceiptHandle"]): one for one in batch}
            return _answered({"Messages": batch})
        if b"AmazonSQS.DeleteMessageBatch" in head:
            self._deletes += 1
            receipts = [entry["ReceiptHandle"] for entry in json.loads(body)["Entries"]]
            if self._deletes == 2:
                self.refused = receipts
                return _answered({"message": "out of order"}, status="503 Service Unavailable")
            for receipt in receipts:
                del self._received[receipt]
        return _answered({"Successful": [], "Failed": []})


def _answered(answer: dict[str, object], *, status: str = "200 OK") -> bytes:
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/x-amz-json-1.0\r\n\r\n".encode() + body


def test_a_failed_delete_is_reported_and_its_messages_are_deleted_when_they_come_again(
    road: Road, logged: Log
) -> None:
    with http_origin() as origin:
        forgetful = ForgetfulSqs(origin, road.source.bucket)
        EventQueue.objects.update(url=f"{origin.url}/queue")
        with polling(EventQueue.objects.get()):
            eventually(lambda: forgetful.refused and len(jobs()) == 30)
            eventually(lambda: EventQueue.objects.get().last_error_at)
            assert logged.text.count("queue.messages_not_deleted") == 1
            forgetful.may_deliver_again.set()
            eventually(lambda: forgetful.is_empty)
            eventually(lambda: EventQueue.objects.get().last_error == "")
    assert "503: out of order" in logged.text
    assert len(jobs()) == 30
    assert not DeadLetter.objects.exists()
    assert EventQueue.objects.get().messages_received == 40
