"""A poller turns each message into jobs, counts or a dead letter, and then deletes it."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, astuple
from operator import sub

import pytest

from replication.intake.messages import Polled, take_messages
from replication.intake.sqs import Queue
from replication.models import DeadLetter, EventQueue, Job, ReplicationRule
from tests.support import sqs
from tests.support.failing_database import refusing
from tests.support.paths import DATA
from tests.support.pollers import poll_until_empty
from tests.support.road import Log, Road
from tests.support.sqs import by_sns, messages_left, put_event, put_events, send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty; a received message stays hidden unless it is given back."""
    sqs.empty(road, visibility_timeout_seconds=600)
    return road


def poll(road: Road) -> Polled:
    """Poll until the queue is empty; returns what that has added to the database."""
    before = in_the_database(road)
    received = poll_until_empty(road.queue)
    polled = Polled(*map(sub, astuple(in_the_database(road)), astuple(before)))
    assert polled.messages == received
    return polled


def in_the_database(road: Road) -> Polled:
    queue = EventQueue.objects.get(pk=road.queue.pk)
    return Polled(
        messages=queue.messages_received,
        jobs=Job.objects.count(),
        unmatched=queue.records_unmatched,
        dead_letters=DeadLetter.objects.count(),
    )


def test_an_empty_queue_yields_nothing(road: Road) -> None:
    assert poll(road) == Polled(messages=0, jobs=0, unmatched=0, dead_letters=0)
    road.queue.refresh_from_db()
    assert road.queue.last_message_at is None
    assert road.queue.last_polled_at is not None


def test_messages_become_jobs_and_are_deleted(road: Road, logged: Log) -> None:
    road.put("a b+c.txt")
    before = time.time()
    polled = poll(road)
    assert polled == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
    job = Job.objects.get()
    assert (job.key, job.rule) == ("a b+c.txt", road.rule)
    assert abs(job.event_at.timestamp() - before) < 30
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)
    assert road.queue.last_message_at is not None
    [line] = [json.loads(line) for line in logged.lines if "queue.polled" in line]
    assert line.items() >= {"queue": road.queue.name, **asdict(polled)}.items()


def test_a_message_delivered_twice_is_harmless(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"), put_event(road.source.bucket, "a"), "no JSON")
    messages = Queue(road.queue).receive(wait_seconds=1)
    assert len(messages) == 3
    # As a poller that ends after the commit and before the delete.
    take_messages(road.queue, messages)
    assert Queue(road.queue).change_visibility(messages, seconds=0) == []
    assert poll(road) == Polled(messages=3, jobs=0, unmatched=0, dead_letters=0)
    assert Job.objects.count() == 1
    assert DeadLetter.objects.count() == 1
    assert messages_left(road) == 0


@pytest.mark.parametrize(
    ("body", "record"),
    [("no JSON", None), ("图\n片", None), ("{}", None), ('{"Records":  [{}]}', 0)],
)
def test_a_message_that_can_not_be_parsed_is_kept_whole_and_deleted(
    road: Road, body: str, record: int | None
) -> None:
    send(road, body)
    assert poll(road) == Polled(messages=1, jobs=0, unmatched=0, dead_letters=1)
    letter = DeadLetter.objects.get()
    assert (letter.body, letter.record, letter.queue) == (body, record, road.queue)
    assert letter.reason
    assert messages_left(road) == 0


def test_a_dead_letter_does_not_block_the_messages_beside_it(road: Road) -> None:
    send(road, "no JSON", put_event(road.source.bucket, "a"), put_event("a\0b", "a"))
    assert poll(road) == Polled(messages=3, jobs=1, unmatched=0, dead_letters=2)


@pytest.mark.parametrize("wrap", [str, by_sns], ids=["direct", "by SNS"])
def test_of_ten_records_nine_become_jobs_and_the_bad_one_a_dead_letter(
    road: Road, logged: Log, wrap: Callable[[str], str]
) -> None:
    keys = [f"{number}.jpg" for number in range(10)]
    keys[6] = "图%00片"
    send(road, wrap(put_events(road.source.bucket, *keys)))
    assert poll(road) == Polled(messages=1, jobs=9, unmatched=0, dead_letters=1)
    assert sorted(job.key for job in Job.objects.all()) == sorted(keys[:6] + keys[7:])
    letter = DeadLetter.objects.get()
    assert letter.record == 6
    assert "NUL" in letter.reason
    assert "no retry and no replay can ever succeed" in letter.reason
    assert letter.body == put_events(road.source.bucket, keys[6])  # the record, and no other
    assert messages_left(road) == 0
    [line] = [json.loads(line) for line in logged.lines if "queue.dead_letter" in line]
    assert line["record"] == 6


def test_the_message_of_a_report_from_the_field_loses_no_good_record(road: Road) -> None:
    body = (DATA / "two-records-second-key-has-nul.json").read_text()
    send(road, body.replace('"photos"', json.dumps(road.source.bucket)))
    assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=1)
    assert Job.objects.get().key == "good.jpg"
    assert DeadLetter.objects.get().record == 1


def test_bad_records_of_a_message_delivered_twice_are_kept_once(road: Road) -> None:
    send(road, put_events(road.source.bucket, "a", "b%00", "c%00"))
    messages = Queue(road.queue).receive(wait_seconds=1)
    for _ in range(2):
        polled = Polled(messages=1, jobs=1, unmatched=0, dead_letters=2)
        assert take_messages(road.queue, messages) == polled
    letters = DeadLetter.objects.order_by("record").values_list("record", flat=True)
    assert list(letters) == [1, 2]


def test_a_record_that_fails_unexpectedly_takes_no_other_with_it(road: Road, logged: Log) -> None:
    bucket = road.source.bucket
    send(road, put_events(bucket, "a", "poison", "b", "c%00"))
    with refusing("poison"):
        assert poll(road) == Polled(messages=1, jobs=2, unmatched=0, dead_letters=2)
    assert {job.key for job in Job.objects.all()} == {"a", "b"}
    poison, bad = DeadLetter.objects.order_by("record")
    assert (poison.record, poison.body) == (1, put_events(bucket, "poison"))
    assert poison.reason.startswith("it could not be processed: DataError: poison")
    assert (bad.record, bad.body) == (3, put_events(bucket, "c%00"))


def test_a_message_that_fails_unexpectedly_becomes_a_dead_letter_and_the_others_jobs(
    road: Road, logged: Log
) -> None:
    bucket = road.source.bucket
    send(road, *(put_event(bucket, key) for key in ("a", "poison", "b")), "no JSON")
    with refusing("poison"):
        assert poll(road) == Polled(messages=4, jobs=2, unmatched=0, dead_letters=2)
    assert {job.key for job in Job.objects.all()} == {"a", "b"}
    letter = DeadLetter.objects.get(body=put_event(bucket, "poison"))
    assert letter.reason.startswith("it could not be processed: DataError: poison")
    assert "queue.messages_taken_by_halves" in logged.text  # all were in one transaction first
    assert "Traceback" in logged.text
    assert messages_left(road) == 0
    road.queue.refresh_from_db()
    assert road.queue.messages_received == 4


# -- which rules match -------------------------------------------------------------------------


def test_records_that_match_no_rule_are_counted(road: Road) -> None:
    ReplicationRule.objects.update(source_prefix="in/", source_suffix=".jpg")
    bucket = road.source.bucket
    send(
        road,
        put_event(bucket, "in/a.jpg"),
        put_event(bucket, "in/a.png"),
        put_event(bucket, "out/a.jpg"),
        put_event("another-bucket", "in/a.jpg"),
        put_event(bucket, "in/b.jpg", "ObjectAcl:Put"),
    )
    assert poll(road) == Polled(messages=5, jobs=1, unmatched=4, dead_letters=0)
    assert [job.key for job in Job.objects.all()] == ["in/a.jpg"]
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (5, 4)


def test_an_event_of_tags_makes_a_job_for_tags_only(road: Road) -> None:
    bucket = road.source.bucket
    send(road, put_event(bucket, "a", "ObjectTagging:Put"), put_event(bucket, "b"))
    assert poll(road) == Polled(messages=2, jobs=2, unmatched=0, dead_letters=0)
    assert dict(Job.objects.values_list("key", "only_tags")) == {"a": True, "b": False}


def test_a_disabled_rule_gets_no_jobs_and_a_paused_rule_does(road: Road) -> None:
    ReplicationRule.objects.update(enabled=False)
    send(road, put_event(road.source.bucket, "a"))
    assert poll(road) == Polled(messages=1, jobs=0, unmatched=1, dead_letters=0)
    ReplicationRule.objects.update(enabled=True)
    ReplicationRule.pause(ReplicationRule.objects.all())
    send(road, put_event(road.source.bucket, "a"))
    assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)


def test_every_rule_of_the_bucket_that_matches_gets_a_job(road: Road) -> None:
    ReplicationRule.objects.create(
        name="second", source=road.source, destination=road.destination, destination_prefix="2/"
    )
    send(road, put_event(road.source.bucket, "a"))
    assert poll(road) == Polled(messages=1, jobs=2, unmatched=0, dead_letters=0)
