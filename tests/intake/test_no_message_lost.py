"""Each record of messages of any content becomes jobs, a counted record or a dead letter."""

import json
import re
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from replication.intake.messages import Polled, take_messages
from replication.intake.sqs import MAX_BATCH, Message
from replication.models import DeadLetter, EventQueue, Job
from tests.support.examples import a_rule
from tests.support.messages import BUCKET, DAMAGE, RULES, Sent, sent_messages

pytestmark = pytest.mark.django_db(transaction=True)

BATCHES = 500
PARTS = 2  # 10,000 messages in all

# PostgreSQL stores neither NUL nor lone surrogates; a dead letter has a replacement for them.
NOT_STORABLE = re.compile("[\0\ud800-\udfff]+")


@pytest.fixture
def queue() -> EventQueue:
    """A queue, and the rules that the generated messages may match."""
    source = a_rule("another", bucket="another-bucket").source
    source.pk, source.name, source.bucket = None, BUCKET, BUCKET
    source.save()
    for name, fields in RULES.items():
        a_rule(name, source=source, **fields)
    return EventQueue.objects.create(name="events", url="http://127.0.0.1:9/q", region="ap-east-1")


def delete_all_results() -> None:
    """Reset the database, as if no message had come before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_transferjob; DELETE FROM replication_deadletter;"
            "UPDATE replication_eventqueue SET messages_received = 0, records_unmatched = 0"
        )


def dead_letters_of(sent: Sent) -> dict[int | None, str]:
    """The bodies of the dead letters that the message makes, by the number of the record."""
    if sent.records is None:
        return {None: sent.body}
    bad = [number for number, record in enumerate(sent.records) if record is None]
    return {number: sent.body if len(sent.records) == 1 else sent.alone(number) for number in bad}


def check_balance(queue: EventQueue, batch: list[Sent], *, deliveries: int) -> Polled:
    """Deliver the messages `deliveries` times, and compare the database with the sent messages.

    Returns the result of one delivery.
    """
    messages = [
        Message(id=f"{number}", receipt_handle="r", body=sent.body, sent_at=datetime.now(UTC))
        for number, sent in enumerate(batch)
    ]
    records = [record for sent in batch for record in sent.records or () if record]
    jobs = {(rule, record.key) for record in records for rule in record.rules}
    unmatched = sum(not record.rules for record in records)
    dead = {
        (f"{number}", record): body
        for number, sent in enumerate(batch)
        for record, body in dead_letters_of(sent).items()
    }

    expected = Polled(len(batch), len(jobs), unmatched, len(dead))
    for _ in range(deliveries):
        assert take_messages(queue, messages) == expected

    found = Job.objects.values_list("rule__name", "key")
    assert sorted(found) == sorted(jobs)
    letters = {
        (letter.message_id, letter.record): letter.body
        for letter in DeadLetter.objects.filter(queue=queue)
    }
    assert letters.keys() == dead.keys()
    for number, body in dead.items():
        if NOT_STORABLE.search(body):
            assert all(part in letters[number] for part in NOT_STORABLE.split(body))
        elif letters[number] != body:  # a record alone is written anew
            assert json.dumps(json.loads(letters[number])) == body
    queue.refresh_from_db()
    assert queue.messages_received == len(batch) * deliveries
    assert queue.records_unmatched == unmatched * deliveries
    return expected


@pytest.mark.timeout(600)  # about 8 s on an idle machine
@pytest.mark.parametrize("part", range(PARTS))
def test_none_of_ten_thousand_messages_is_lost(queue: EventQueue, part: int) -> None:
    taken: Counter[str] = Counter()
    made: Counter[str] = Counter()

    @seed(part)  # the same messages in each run, different ones in each part
    @settings(
        max_examples=BATCHES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(
        st.lists(sent_messages(), min_size=MAX_BATCH, max_size=MAX_BATCH),
        st.sampled_from([1, 1, 1, 1, 1, 2]),
    )
    def deliver(batch: list[Sent], deliveries: int) -> None:
        delete_all_results()
        polled = check_balance(queue, batch, deliveries=deliveries)
        taken.update(sent.kind for sent in batch)
        made.update(asdict(polled))

    deliver()
    assert made["messages"] == sum(taken.values()) >= BATCHES * MAX_BATCH
    # The messages are diverse enough: each kind of result and each kind of damage occurs.
    assert min(made.values()) > BATCHES / 2, made
    assert {kind.partition(", ")[2] for kind in taken} >= {"whole", *DAMAGE}, taken
