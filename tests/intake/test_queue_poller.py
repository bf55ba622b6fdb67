"""Many receives, commits and deletes at once: nothing is lost, and nobody holds up others."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from replication.intake.queue_poller import QueuePoller
from replication.intake.sqs import Queue
from replication.models import DeadLetter, EventQueue, TransferJob
from tests.intake.test_messages import failing_commits, hide_for, left_in, put_event, refusing
from tests.support.http_origin import HttpOrigin, http_origin
from tests.support.processes import eventually
from tests.support.road import Log, Road

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 200


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty; a message that was received stays hidden unless it is given back."""
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    hide_for(road, seconds=600)
    return road


def send_many(road: Road, count: int = MANY) -> set[str]:
    """Ten in each request; returns the keys."""
    keys = [f"key/{number}" for number in range(count)]
    for start in range(0, count, 10):
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": put_event(road.source.bucket, key)}
            for number, key in enumerate(keys[start : start + 10])
        ]
        road.aws.client("sqs").send_message_batch(QueueUrl=road.queue.url, Entries=entries)
    return set(keys)


@contextmanager
def polling(queue: EventQueue) -> Iterator[QueuePoller]:
    """A poller on a thread, which is stopped and ends with its long poll."""
    poller = QueuePoller(queue, until=float("inf"))
    thread = threading.Thread(target=poller.run)
    thread.start()
    try:
        yield poller
    finally:
        poller.stop()
        thread.join(25)
        assert not thread.is_alive()


def jobs() -> set[str]:
    return {job.key for job in TransferJob.objects.all()}


def end_the_long_poll(road: Road) -> None:
    """Give it something to bring; without a rule, so that nothing comes of it."""
    road.aws.client("sqs").send_message(
        QueueUrl=road.queue.url, MessageBody=put_event("another-bucket", "end")
    )


def test_a_backlog_is_committed_in_groups_and_deleted_to_the_last_message(road: Road) -> None:
    keys = send_many(road)
    with polling(road.queue) as poller:
        eventually(lambda: len(jobs()) == MANY)
        poller.stop()
        end_the_long_poll(road)
    assert jobs() == keys
    commits = TransferJob.objects.values("enqueued_at").distinct().count()
    assert commits < MANY / 10  # one for each receive, as it would be without groups
    hide_for(road, seconds=0)
    assert left_in(road) == 0
    road.queue.refresh_from_db()
    assert MANY <= road.queue.messages_received <= MANY + 1  # each of them once, and the end
    assert road.queue.last_error == ""
    assert road.queue.last_polled_at is not None


def test_a_stop_under_load_loses_nothing_and_leaves_nothing_hidden(road: Road) -> None:
    keys = send_many(road)
    with polling(road.queue) as poller:
        eventually(TransferJob.objects.exists)
        poller.stop()
    taken = jobs()
    road.queue.refresh_from_db()
    assert road.queue.messages_received == len(taken)  # what was received was committed
    left = set()
    while messages := Queue(road.queue).receive(wait_seconds=0):
        left |= {json.loads(one.body)["Records"][0]["s3"]["object"]["key"] for one in messages}
    assert not taken & left  # what was committed was deleted
    assert taken | left == keys


def test_a_database_away_with_several_receives_in_hand_loses_nothing(road: Road) -> None:
    with failing_commits(), polling(road.queue) as poller:
        keys = send_many(road)
        eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        waiting = Queue(road.queue).depth()
        poller.stop()
    # It did not go on receiving what it could not take, and gave back what it had.
    assert waiting is not None
    assert waiting > 0
    assert Queue(road.queue).depth() == MANY
    assert not TransferJob.objects.exists()
    with polling(road.queue) as poller:
        with failing_commits():
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(lambda: len(jobs()) == MANY)
        eventually(lambda: EventQueue.objects.get().last_error == "")
        poller.stop()
        end_the_long_poll(road)
    assert jobs() == keys
    road.queue.refresh_from_db()
    assert MANY <= road.queue.messages_received <= MANY + 1


def test_one_bad_message_of_many_becomes_a_dead_letter_and_the_others_jobs(
    road: Road, logged: Log
) -> None:
    keys = send_many(road)
    with refusing("key/77"), polling(road.queue) as poller:
        eventually(lambda: len(jobs()) == MANY - 1)
        eventually(DeadLetter.objects.exists)
        poller.stop()
        end_the_long_poll(road)
    assert jobs() == keys - {"key/77"}
    assert DeadLetter.objects.get().body == put_event(road.source.bucket, "key/77")
    # A group of n is halved log2(n) times at most, until the bad one is alone.
    assert logged.text.count("queue.messages_taken_by_halves") <= 10
    hide_for(road, seconds=0)
    assert left_in(road) == 0


class ForgetfulSqs:
    """An SQS with 30 messages, whose second delete fails as a whole; it delivers those again."""

    def __init__(self, origin: HttpOrigin, bucket: str) -> None:
        self._origin = origin
        self._waiting: list[dict[str, object]] = [
            {
                "MessageId": f"m{number}",
                "ReceiptHandle": f"r{number}",
                "Body": put_event(bucket, f"key/{number}"),
                "Attributes": {"SentTimestamp": "1700000000000"},
            }
            for number in range(30)
        ]
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


def test_a_delete_that_fails_is_reported_and_its_messages_are_deleted_when_they_come_again(
    road: Road, logged: Log
) -> None:
    with http_origin() as origin:
        sqs = ForgetfulSqs(origin, road.source.bucket)
        EventQueue.objects.update(url=f"{origin.url}/queue")
        with polling(EventQueue.objects.get()):
            eventually(lambda: sqs.refused and len(jobs()) == 30)
            eventually(lambda: EventQueue.objects.get().last_error_at)
            assert logged.text.count("queue.messages_not_deleted") == 1
            sqs.may_deliver_again.set()
            eventually(lambda: sqs.is_empty)
            eventually(lambda: EventQueue.objects.get().last_error == "")
    assert "503: out of order" in logged.text
    assert len(jobs()) == 30
    assert not DeadLetter.objects.exists()
    assert EventQueue.objects.get().messages_received == 40
