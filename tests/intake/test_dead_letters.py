"""A replayed dead letter becomes jobs if it can be parsed now, and stays if not."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import InternalError

from replication.intake import dead_letters
from replication.intake.dead_letters import Replayed, replay
from replication.intake.messages import take_messages
from replication.intake.sqs import Message
from replication.models import DeadLetter, EventQueue, Job, JobOrigin, ReplicationRule, TransferJob
from tests.support.examples import a_rule
from tests.support.failing_database import failing_commits, refusing
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

RECEIVED_AT = datetime.now(UTC) - timedelta(hours=3)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(bucket="photos")


@pytest.fixture
def queue() -> EventQueue:
    return EventQueue.objects.create(
        name="events", url="https://sqs.example.com/queue", region="ap-east-1"
    )


def put_event(*keys: str, bucket: str = "photos") -> str:
    records = [
        {
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
        for key in keys
    ]
    return json.dumps({"Records": records})


def a_letter(queue: EventQueue, body: str) -> DeadLetter:
    return DeadLetter.objects.create(
        queue=queue,
        message_id=str(uuid4()),
        body=body,
        reason="the first reason",
        received_at=RECEIVED_AT,
    )


def replay_all() -> Replayed:
    return replay(DeadLetter.objects.all())


def test_a_letter_that_can_be_parsed_now_becomes_jobs_and_is_deleted(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    a_letter(queue, put_event("a+b.jpg", "c.jpg"))
    assert replay_all() == Replayed(letters=1, jobs=2)
    assert not DeadLetter.objects.exists()
    jobs = Job.objects.order_by("key")
    assert [(job.rule, job.key) for job in jobs] == [(rule, "a b.jpg"), (rule, "c.jpg")]
    assert {(job.origin, job.event_at) for job in jobs} == {(JobOrigin.EVENT, RECEIVED_AT)}


def test_a_letter_that_still_can_not_be_parsed_stays_with_the_current_reason(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    letter = a_letter(queue, '{"Records": 7}')
    assert replay_all() == Replayed(still_unparseable=1)
    letter.refresh_from_db()
    assert (letter.body, letter.reason) == ('{"Records": 7}', "Records is not a list")
    assert letter.received_at == RECEIVED_AT


def test_a_letter_of_one_record_is_replayed_alone(rule: ReplicationRule, queue: EventQueue) -> None:
    """Its neighbours were taken when the message came, and are not looked at again."""
    body = put_event("a", "b%00", "c")
    message = Message("m", receipt_handle="r", body=body, sent_at=RECEIVED_AT)
    take_messages(queue, [message])
    TransferJob.objects.all().delete()
    assert replay_all() == Replayed(still_unparseable=1)
    letter = DeadLetter.objects.get()
    assert (letter.record, letter.body) == (1, put_event("b%00"))
    assert "no retry and no replay can ever succeed" in letter.reason
    assert not Job.objects.exists()

    DeadLetter.objects.update(body=put_event("b"))  # as if a later parser understood it
    assert replay_all() == Replayed(letters=1, jobs=1)
    assert Job.objects.get().key == "b"
    assert not DeadLetter.objects.exists()


def test_a_whole_message_that_was_kept_leaves_only_its_bad_records(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    """An earlier version kept a message with one bad record whole."""
    letter = a_letter(queue, put_event("a", "b%00", "c", "d%00"))
    assert replay_all() == Replayed(letters=1, jobs=2, still_unparseable=2)
    assert sorted(Job.objects.values_list("key", flat=True)) == ["a", "c"]
    second, fourth = DeadLetter.objects.order_by("record")
    assert (second.record, second.body) == (1, put_event("b%00"))
    assert (fourth.record, fourth.body) == (3, put_event("d%00"))
    for left in (second, fourth):
        assert (left.queue, left.message_id) == (queue, letter.message_id)
        assert left.received_at == RECEIVED_AT
        assert "NUL" in left.reason
    assert replay_all() == Replayed(still_unparseable=2)


def test_a_record_that_fails_unexpectedly_does_not_block_its_message(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    a_letter(queue, put_event("a", "poison", "b"))
    with refusing("poison"):
        assert replay_all() == Replayed(letters=2, jobs=2, still_unparseable=1)
    letter = DeadLetter.objects.get()
    assert (letter.record, letter.body) == (1, put_event("poison"))
    assert letter.reason.startswith("it could not be processed: DataError: poison")
    assert letter.received_at == RECEIVED_AT


def test_records_that_match_no_rule_are_counted(rule: ReplicationRule, queue: EventQueue) -> None:
    a_letter(queue, put_event("a.jpg", bucket="unknown"))
    a_letter(queue, put_event("a.jpg"))
    assert replay_all() == Replayed(letters=2, jobs=1, unmatched=1)


def test_only_the_given_letters_are_replayed(rule: ReplicationRule, queue: EventQueue) -> None:
    wanted, other = a_letter(queue, put_event("a")), a_letter(queue, put_event("b"))
    assert replay(DeadLetter.objects.filter(pk=wanted.pk)) == Replayed(letters=1, jobs=1)
    assert DeadLetter.objects.get() == other


def test_replaying_no_letters_does_nothing() -> None:
    assert replay_all() == Replayed()


def test_many_letters_are_replayed_in_batches(
    rule: ReplicationRule, queue: EventQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH", 3)
    for number in range(7):
        a_letter(queue, put_event(f"{number}.jpg"))
        a_letter(queue, "no JSON")
    assert replay_all() == Replayed(letters=7, jobs=7, still_unparseable=7)


def test_a_letter_stays_if_its_jobs_are_not_committed(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    letter = a_letter(queue, put_event("a"))
    with failing_commits(), pytest.raises(InternalError, match="refused"):
        replay_all()
    assert DeadLetter.objects.get() == letter
    assert not Job.objects.exists()


def test_a_letter_that_is_replayed_concurrently_is_replayed_once(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    for number in range(20):
        a_letter(queue, put_event(f"{number}.jpg"))
    counts = at_once(*[replay_all] * 4)
    assert sum(replayed.letters for replayed in counts) == 20
    assert Job.objects.count() == 20


def test_a_replay_and_a_poller_may_handle_the_same_messages_concurrently(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    """SQS delivers the messages of the letters again, among events of the same keys."""
    keys = [f"{number}.jpg" for number in range(10)]

    def message(message_id: str, body: str) -> Message:
        return Message(message_id, receipt_handle="r", body=body, sent_at=RECEIVED_AT)

    for _ in range(10):
        letters = [a_letter(queue, put_event(*keys)) for _ in range(10)]
        polled = [message("fresh", put_event(*keys))]
        polled += [message(letter.message_id, "no JSON") for letter in letters]
        at_once(replay_all, lambda: take_messages(queue, polled), replay_all)  # noqa: B023
        assert Job.objects.count() == len(keys)


def test_a_letter_that_fails_unexpectedly_stays_and_does_not_block_the_others(
    rule: ReplicationRule, queue: EventQueue
) -> None:
    a_letter(queue, put_event("a"))
    poison = a_letter(queue, put_event("poison"))
    a_letter(queue, put_event("b"))
    with refusing("poison"):
        assert replay_all() == Replayed(letters=2, jobs=2, still_unparseable=1)
    poison.refresh_from_db()
    assert poison.reason.startswith("it could not be processed: DataError: poison")
    assert replay_all() == Replayed(letters=1, jobs=1)
