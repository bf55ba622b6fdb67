"""Polling: nothing leaves a queue before its jobs are committed, and nothing stops it for good."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection
from pytest_django import Settings

from replication.cluster import loops
from replication.intake.messages import Polled, poll_once
from replication.intake.poll_loop import poll_until
from replication.intake.receive_rate import FIRST_BACKOFF_SECONDS
from replication.intake.sqs import Queue, QueueError
from replication.intake.visibility import InFlight
from replication.models import DeadLetter, EventQueue, LoopKind, ReplicationRule, TransferJob
from tests.support.http_origin import http_origin
from tests.support.policies import a_user_who_may
from tests.support.processes import eventually
from tests.support.road import Log, Road
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty, and hands a message out again at once unless it is deleted."""
    sqs = road.aws.client("sqs")
    sqs.purge_queue(QueueUrl=road.queue.url)
    hide_for(road, seconds=0)
    return road


def hide_for(road: Road, *, seconds: int) -> None:
    """How long a message that was received is handed out to nobody else."""
    road.aws.client("sqs").set_queue_attributes(
        QueueUrl=road.queue.url, Attributes={"VisibilityTimeout": f"{seconds}"}
    )


def send(road: Road, *bodies: str) -> None:
    for body in bodies:
        road.aws.client("sqs").send_message(QueueUrl=road.queue.url, MessageBody=body)


def put_event(bucket: str, key: str, name: str = "ObjectCreated:Put") -> str:
    s3 = {"bucket": {"name": bucket}, "object": {"key": key}}
    return json.dumps({"Records": [{"eventVersion": "2.1", "eventName": name, "s3": s3}]})


def left_in(road: Road) -> int:
    answer = road.aws.client("sqs").receive_message(
        QueueUrl=road.queue.url, MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return len(answer.get("Messages", []))


def poll(road: Road) -> Polled | None:
    return poll_once(road.queue, wait_seconds=1)


@contextmanager
def polling(road: Road) -> Iterator[None]:
    """A poll loop on a thread, as `pollsqs` runs it."""
    stop = threading.Event()

    def run() -> None:
        try:
            with loops.running(LoopKind.POLLER) as loop:
                assert loop is not None
                poll_until(loop, stop)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(0.3)
        if thread.is_alive():
            # It waits for the end of its long poll: this is one.
            road.queue.refresh_from_db()
            send(road, put_event("another-bucket", "end"))
        thread.join(30)
        assert not thread.is_alive()


# -- once --------------------------------------------------------------------------------------


def test_an_empty_queue_brings_nothing(road: Road) -> None:
    assert poll_once(road.queue, wait_seconds=0) is None


def test_a_long_poll_may_last_longer_than_any_other_answer(road: Road, settings: Settings) -> None:
    impatient = settings.S3SYNC.model_copy(update={"read_timeout_seconds": 0.5})
    settings.S3SYNC = impatient
    # Another address, for clients are kept, with their timeouts.
    road.queue.url = road.queue.url.replace("127.0.0.1", "localhost")
    assert poll_once(road.queue, wait_seconds=2) is None


def test_messages_become_jobs_and_are_deleted(road: Road) -> None:
    road.put("a b+c.txt")
    before = time.time()
    assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
    job = TransferJob.objects.get()
    assert (job.key, job.rule) == ("a b+c.txt", road.rule)
    assert abs(job.event_at.timestamp() - before) < 30
    assert left_in(road) == 0
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (1, 0)
    assert road.queue.last_message_at is not None


@contextmanager
def failing_commits() -> Iterator[None]:
    """The database takes jobs, and then refuses to commit them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'refused'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON replication_transferjob
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")


def test_a_message_stays_in_the_queue_until_its_jobs_are_committed(road: Road) -> None:
    road.put("a")
    with failing_commits(), pytest.raises(InternalError, match="refused"):
        poll(road)
    assert not TransferJob.objects.exists()
    road.queue.refresh_from_db()
    assert road.queue.messages_received == 0
    assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
    assert left_in(road) == 0


def test_messages_in_hand_while_the_database_is_away_are_taken_when_it_is_back(road: Road) -> None:
    hide_for(road, seconds=600)
    send(road, put_event(road.source.bucket, "a"))
    in_flight = InFlight(road.queue)
    with failing_commits():
        for _ in range(2):
            with pytest.raises(InternalError, match="refused"):
                poll_once(road.queue, wait_seconds=1, in_flight=in_flight)
        send(road, put_event(road.source.bucket, "b"))
    assert Queue(road.queue).depth() == 1  # no more is received than can be taken
    for key in ("a", "b"):
        polled = poll_once(road.queue, wait_seconds=1, in_flight=in_flight)
        assert polled == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
        assert TransferJob.objects.filter(key=key).exists()
    assert in_flight.messages == ()
    hide_for(road, seconds=0)
    assert left_in(road) == 0


def test_the_loop_does_not_wait_for_sqs_to_deliver_again_what_it_has_in_hand(road: Road) -> None:
    hide_for(road, seconds=600)
    with polling(road):
        with failing_commits():
            road.put("a")
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(TransferJob.objects.exists)


def test_a_message_delivered_twice_is_harmless(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"), put_event(road.source.bucket, "a"), "what?")
    messages = Queue(road.queue).receive(wait_seconds=1)
    assert len(messages) == 3
    poll(road)
    assert TransferJob.objects.count() == 1
    assert DeadLetter.objects.count() == 1


def test_a_message_that_can_not_be_deleted_is_logged_and_harmless(road: Road, logged: Log) -> None:
    message = {
        "MessageId": "m1",
        "ReceiptHandle": "r1",
        "Body": put_event(road.source.bucket, "a"),
        "Attributes": {"SentTimestamp": "1700000000000"},
    }
    failed = {"Id": "0", "Code": "InternalError", "SenderFault": False, "Message": "try again"}
    with http_origin() as sqs:
        sqs.answers_in_turn(
            json.dumps({"Messages": [message]}), json.dumps({"Successful": [], "Failed": [failed]})
        )
        road.queue.url = f"{sqs.url}/queue"
        assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)
    assert "InternalError: try again" in logged.text
    assert TransferJob.objects.get().event_at.timestamp() == 1_700_000_000


@pytest.mark.parametrize("body", ["what?", "图\n片", "{}", '{"Records": [{}]}'])
def test_what_nobody_understands_is_kept_whole_and_deleted(road: Road, body: str) -> None:
    send(road, body)
    assert poll(road) == Polled(messages=1, jobs=0, unmatched=0, dead_letters=1)
    letter = DeadLetter.objects.get()
    assert (letter.body, letter.queue) == (body, road.queue)
    assert letter.reason
    assert left_in(road) == 0


def test_a_dead_letter_does_not_hold_up_the_messages_beside_it(road: Road) -> None:
    send(road, "what?", put_event(road.source.bucket, "a"), put_event("a\0b", "a"))
    polled = [poll(road), poll_once(road.queue, wait_seconds=0)]
    assert sum(found.dead_letters for found in polled if found) == 2
    assert TransferJob.objects.count() == 1


@contextmanager
def refusing(key: str) -> Iterator[None]:
    """The database refuses a job for this key, as something that nobody thought of would."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = 'poison'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON replication_transferjob
                FOR EACH ROW WHEN (NEW.key = '{key}') EXECUTE FUNCTION refuse();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")


def test_a_message_that_fails_unexpectedly_becomes_a_dead_letter_and_the_others_jobs(
    road: Road, logged: Log
) -> None:
    bucket = road.source.bucket
    send(road, *(put_event(bucket, key) for key in ("a", "poison", "b")), "what?")
    messages = Queue(road.queue).receive(wait_seconds=1)
    assert len(messages) == 4
    in_flight = InFlight(road.queue)
    in_flight.add(messages)
    with refusing("poison"):
        polled = poll_once(road.queue, wait_seconds=0, in_flight=in_flight)
    assert polled == Polled(messages=4, jobs=2, unmatched=0, dead_letters=2)
    assert {job.key for job in TransferJob.objects.all()} == {"a", "b"}
    letter = DeadLetter.objects.get(body=put_event(bucket, "poison"))
    assert letter.reason.startswith("it could not be processed: DataError: poison")
    assert "Traceback" in logged.text
    assert left_in(road) == 0
    road.queue.refresh_from_db()
    assert road.queue.messages_received == 4


def test_a_database_of_another_version_makes_no_dead_letters(road: Road) -> None:
    send(road, put_event(road.source.bucket, "a"))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE replication_transferjob RENAME COLUMN event_at TO announced_at")
    try:
        with pytest.raises(ProgrammingError):
            poll(road)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE replication_transferjob RENAME COLUMN announced_at TO event_at"
            )
    assert not DeadLetter.objects.exists()
    assert poll(road) == Polled(messages=1, jobs=1, unmatched=0, dead_letters=0)


# -- which rule asks ---------------------------------------------------------------------------


def test_records_that_no_rule_asks_for_are_counted(road: Road) -> None:
    ReplicationRule.objects.update(source_prefix="in/", source_suffix=".jpg")
    bucket = road.source.bucket
    send(
        road,
        put_event(bucket, "in/a.jpg"),
        put_event(bucket, "in/a.png"),
        put_event(bucket, "out/a.jpg"),
        put_event("another-bucket", "in/a.jpg"),
        put_event(bucket, "in/b.jpg", "ObjectTagging:Put"),
    )
    while poll_once(road.queue, wait_seconds=0):
        pass
    assert [job.key for job in TransferJob.objects.all()] == ["in/a.jpg"]
    road.queue.refresh_from_db()
    assert (road.queue.messages_received, road.queue.records_unmatched) == (5, 4)


def test_a_disabled_rule_asks_for_nothing_and_a_paused_one_does(road: Road) -> None:
    ReplicationRule.objects.update(enabled=False)
    send(road, put_event(road.source.bucket, "a"))
    polled = poll(road)
    assert polled is not None
    assert (polled.jobs, polled.unmatched) == (0, 1)
    ReplicationRule.objects.update(enabled=True)
    ReplicationRule.pause(ReplicationRule.objects.all())
    send(road, put_event(road.source.bucket, "a"))
    polled = poll(road)
    assert polled is not None
    assert (polled.jobs, polled.unmatched) == (1, 0)


def test_every_rule_of_the_bucket_that_matches_gets_a_job(road: Road) -> None:
    ReplicationRule.objects.create(
        name="second", source=road.source, destination=road.destination, destination_prefix="2/"
    )
    send(road, put_event(road.source.bucket, "a"))
    polled = poll(road)
    assert polled is not None
    assert polled.jobs == 2


# -- permissions -------------------------------------------------------------------------------


def test_three_permissions_are_enough_and_the_depth_is_unknown(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.queue.credential_profile = a_user_who_may(
        road.aws,
        [
            *["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
            # The stand-in's alone: in AWS, those without Batch cover them.
            *["sqs:DeleteMessageBatch", "sqs:ChangeMessageVisibilityBatch"],
        ],
        monkeypatch,
    )
    road.queue.save()
    send(road, put_event("another-bucket", "a"))
    (message,) = Queue(road.queue).receive(wait_seconds=1)
    assert Queue(road.queue).change_visibility([message], seconds=0) == []
    road.put("a")
    with polling(road):
        eventually(TransferJob.objects.exists)
        eventually(lambda: EventQueue.objects.filter(last_polled_at__isnull=False).exists())
    road.queue.refresh_from_db()
    assert road.queue.last_error == ""
    assert road.queue.depth is None
    assert left_in(road) == 0


def test_the_depth_is_known_where_it_may_be_read(road: Road) -> None:
    send(road, "a", "b")
    assert Queue(road.queue).depth() == 2


# -- the loop ----------------------------------------------------------------------------------


def wrong_name(road: Road) -> None:
    road.queue.url += "-missing"


def not_there(road: Road) -> None:
    road.queue.url = "http://127.0.0.1:9/123456789012/queue"


def no_profile(road: Road) -> None:
    road.queue.credential_profile = "nowhere"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (wrong_name, "NonExistentQueue"),
        (not_there, "127.0.0.1:9"),
        (no_profile, "S3SYNC_PROFILE_NOWHERE_ACCESS_KEY_ID"),
    ],
)
def test_a_queue_that_can_not_be_polled_says_why_and_goes_on_when_mended(
    road: Road, trouble: Any, words: str
) -> None:
    right = (road.queue.url, road.queue.credential_profile)
    trouble(road)
    road.queue.save()
    with polling(road):
        eventually(lambda: words in EventQueue.objects.get().last_error)
        assert EventQueue.objects.get().last_error_at is not None
        road.put("a")
        EventQueue.objects.update(url=right[0], credential_profile=right[1])
        eventually(TransferJob.objects.exists)
        eventually(lambda: EventQueue.objects.get().last_error == "")


def test_a_queue_that_may_not_be_polled_says_so(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.queue.credential_profile = a_user_who_may(road.aws, ["sqs:SendMessage"], monkeypatch)
    with pytest.raises(QueueError, match="AccessDenied"):
        poll(road)


def test_a_queue_in_trouble_does_not_hold_up_another(road: Road) -> None:
    EventQueue.objects.create(
        name="broken", url="http://127.0.0.1:9/123456789012/q", region=road.aws.region
    )
    with polling(road):
        eventually(lambda: EventQueue.objects.get(name="broken").last_error)
        road.put("a")
        eventually(TransferJob.objects.exists)


def test_a_database_that_refuses_commits_for_a_while_loses_nothing(road: Road) -> None:
    with polling(road):
        with failing_commits():
            road.put("a")
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(TransferJob.objects.exists)
    assert left_in(road) == 0


def test_sqs_that_throttles_is_asked_less_and_less_often(road: Road) -> None:
    asked_at: list[float] = []

    def throttle(_target: str) -> bytes:
        asked_at.append(time.monotonic())
        body = b'{"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}'
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\n"
        return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    with http_origin() as sqs:
        sqs.answer = throttle
        right = road.queue.url
        EventQueue.objects.update(url=f"{sqs.url}/queue")
        with polling(road):
            eventually(lambda: len(asked_at) >= 4)
            assert "RequestThrottled" in EventQueue.objects.get().last_error
            send(road, put_event(road.source.bucket, "a"))
            EventQueue.objects.update(url=right)
            eventually(TransferJob.objects.exists)
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[0] >= FIRST_BACKOFF_SECONDS
    assert pauses[1] >= 2 * FIRST_BACKOFF_SECONDS
    assert pauses[2] >= 4 * FIRST_BACKOFF_SECONDS


def test_two_pollers_of_one_queue_take_each_message_once(road: Road) -> None:
    hide_for(road, seconds=600)
    keys = [f"key/{number}" for number in range(60)]
    send(road, *(put_event(road.source.bucket, key) for key in keys))

    def poll_until_empty() -> int:
        taken = 0
        while (polled := poll_once(road.queue, wait_seconds=1)) is not None:
            taken += polled.messages
        return taken

    taken = at_once(poll_until_empty, poll_until_empty)
    assert min(taken) > 0
    assert sum(taken) == len(keys)
    assert {job.key for job in TransferJob.objects.all()} == set(keys)
    road.queue.refresh_from_db()
    assert road.queue.messages_received == len(keys)
