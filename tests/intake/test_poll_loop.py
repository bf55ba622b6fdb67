"""The poll loop outlives every failure of SQS, the database or one queue, and loses no message."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from django.db import connection

from replication.cluster import loops
from replication.intake import poll_loop
from replication.intake.poll_loop import poll_until
from replication.intake.receive_rate import FIRST_BACKOFF_SECONDS
from replication.intake.sqs import Queue
from replication.models import EventQueue, Job, LoopKind
from tests.support import sqs
from tests.support.failing_database import failing_commits
from tests.support.http_origin import http_origin
from tests.support.policies import a_user_who_may
from tests.support.processes import eventually
from tests.support.road import Road
from tests.support.sqs import messages_left, put_event, send, set_visibility_timeout

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_loop, "LOOK_FOR_QUEUES_SECONDS", 0.5)


@pytest.fixture
def road(road: Road) -> Road:
    """Its queue is empty; a received message stays hidden unless it is given back."""
    sqs.empty(road, visibility_timeout_seconds=600)
    return road


@contextmanager
def polling(road: Road) -> Iterator[None]:
    """Run a poll loop on a thread, as `pollsqs` does."""
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
            # It waits for the end of its long poll: this message ends it.
            road.queue.refresh_from_db()
            send(road, put_event("another-bucket", "end"))
        thread.join(90)
        assert not thread.is_alive()


# -- permissions -------------------------------------------------------------------------------


def test_three_permissions_are_enough_and_the_depth_is_unknown(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.queue.credential_profile = a_user_who_may(
        road.aws,
        [
            *["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
            # Only the stand-in needs these: in AWS the permissions without Batch cover them.
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
        eventually(Job.objects.exists)
        eventually(lambda: EventQueue.objects.filter(last_polled_at__isnull=False).exists())
    road.queue.refresh_from_db()
    assert road.queue.last_error == ""
    assert road.queue.depth is None
    assert messages_left(road) == 0


def test_the_depth_is_known_with_the_permission_to_read_it(road: Road) -> None:
    send(road, "a", "b")
    assert Queue(road.queue).depth() == 2


def test_a_queue_without_permissions_says_so(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.queue.credential_profile = a_user_who_may(road.aws, ["sqs:SendMessage"], monkeypatch)
    road.queue.save()
    with polling(road):
        eventually(lambda: "AccessDenied" in EventQueue.objects.get().last_error)


# -- failures ----------------------------------------------------------------------------------


def use_a_missing_queue(road: Road) -> None:
    road.queue.url += "-missing"


def use_a_closed_port(road: Road) -> None:
    road.queue.url = "http://127.0.0.1:9/123456789012/queue"


def use_an_invalid_address(road: Road) -> None:
    road.queue.url = "http://[::1/123456789012/queue"


def use_an_unknown_profile(road: Road) -> None:
    road.queue.credential_profile = "nowhere"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (use_a_missing_queue, "NonExistentQueue"),
        (use_a_closed_port, "127.0.0.1:9"),
        (use_an_invalid_address, "Invalid IPv6 URL"),
        (use_an_unknown_profile, "S3SYNC_PROFILE_NOWHERE_ACCESS_KEY_ID"),
    ],
)
def test_a_queue_that_can_not_be_polled_says_why_and_goes_on_when_it_is_repaired(
    road: Road, damage: Callable[[Road], None], words: str
) -> None:
    right = (road.queue.url, road.queue.credential_profile)
    damage(road)
    road.queue.save()
    with polling(road):
        eventually(lambda: words in EventQueue.objects.get().last_error)
        assert EventQueue.objects.get().last_error_at is not None
        road.put("a")
        EventQueue.objects.update(url=right[0], credential_profile=right[1])
        eventually(Job.objects.exists)
        eventually(lambda: EventQueue.objects.get().last_error == "")


def test_a_queue_that_can_not_be_polled_does_not_block_another(road: Road) -> None:
    EventQueue.objects.create(
        name="broken", url="http://127.0.0.1:9/123456789012/q", region=road.aws.region
    )
    with polling(road):
        eventually(lambda: EventQueue.objects.get(name="broken").last_error)
        road.put("a")
        eventually(Job.objects.exists)


def test_messages_in_flight_are_committed_when_the_database_is_back(road: Road) -> None:
    """The loop does not wait until SQS delivers them again."""
    with polling(road):
        with failing_commits():
            road.put("a")
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(Job.objects.exists)
    assert messages_left(road) == 0


def test_failing_commits_lose_no_message_that_sqs_delivers_again_at_once(road: Road) -> None:
    set_visibility_timeout(road, seconds=0)
    with polling(road):
        with failing_commits():
            road.put("a")
            eventually(lambda: "refused" in EventQueue.objects.get().last_error)
        eventually(Job.objects.exists)
    assert messages_left(road) == 0


def test_sqs_that_throttles_is_polled_less_and_less_often(road: Road) -> None:
    polled_at: list[float] = []

    def throttle(_target: str) -> bytes:
        polled_at.append(time.monotonic())
        body = b'{"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}'
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\n"
        return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    with http_origin() as origin:
        origin.answer = throttle
        right = road.queue.url
        EventQueue.objects.update(url=f"{origin.url}/queue")
        with polling(road):
            eventually(lambda: len(polled_at) >= 4)
            assert "RequestThrottled" in EventQueue.objects.get().last_error
            send(road, put_event(road.source.bucket, "a"))
            EventQueue.objects.update(url=right)
            eventually(Job.objects.exists)
    pauses = [later - earlier for earlier, later in pairwise(polled_at)]
    assert pauses[0] >= FIRST_BACKOFF_SECONDS
    assert pauses[1] >= 2 * FIRST_BACKOFF_SECONDS
    assert pauses[2] >= 4 * FIRST_BACKOFF_SECONDS
