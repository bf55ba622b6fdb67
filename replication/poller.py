"""SQS → intake → delete message. A message leaves SQS only after its jobs are committed."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from replication.errors import UnparseableMessage
from replication.events import parse_message
from replication.intake import AnnouncedEvent, take_events
from replication.models import DeadLetter, EventQueue, JobOrigin
from replication.sqs import Message, Queue

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Polled:
    """What one receive brought."""

    messages: int
    jobs: int
    unmatched: int
    dead_letters: int


def poll_once(
    queue: EventQueue, *, wait_seconds: int, in_hand: list[Message] | None = None
) -> Polled | None:
    """Receive once, commit what the messages ask for, delete them. None if there were none.

    What was received and could not be committed is left in the list `in_hand`; given that list
    again, it is taken before anything else is received. So a database that was away for a second
    does not cost the queue's visibility timeout, nor push its messages on their way to the
    queue's own dead-letter queue.

    Raises:
        QueueError: SQS refused or can't be reached.
        ReplicationError: the queue's credential profile has no credentials.
        OperationalError, InterfaceError, InternalError: the database is away; nothing was deleted.
    """
    sqs = Queue(queue)
    in_hand = [] if in_hand is None else in_hand
    if not in_hand:
        in_hand += sqs.receive(wait_seconds=wait_seconds)
    if not in_hand:
        return None
    messages = tuple(in_hand)
    polled = take_messages(queue, messages)
    in_hand.clear()
    # Delete last: a crash before this line redelivers, and taking a message twice is harmless.
    for reason in sqs.delete(messages):
        log.warning("queue.message_not_deleted", queue=queue.name, reason=reason)
    log.info(
        "queue.polled",
        queue=queue.name,
        messages=polled.messages,
        jobs=polled.jobs,
        unmatched=polled.unmatched,
        dead_letters=polled.dead_letters,
    )
    return polled


def take_messages(queue: EventQueue, messages: Sequence[Message]) -> Polled:
    """Turn messages into jobs, dead letters and counts, in one transaction."""
    events: list[AnnouncedEvent] = []
    dead: list[DeadLetter] = []
    for message in messages:
        try:
            parsed = parse_message(message.body)
        except UnparseableMessage as error:
            log.warning(
                "queue.dead_letter", queue=queue.name, message=message.id, reason=str(error)
            )
            dead.append(_dead_letter(queue, message, reason=str(error)))
        else:
            events += [AnnouncedEvent(event, announced_at=message.sent_at) for event in parsed]
    with transaction.atomic():
        intake = take_events(events, origin=JobOrigin.EVENT)
        # SQS delivers at least once: a message kept already is not kept twice.
        DeadLetter.objects.bulk_create(dead, ignore_conflicts=True)
        EventQueue.objects.filter(pk=queue.pk).update(
            messages_received=F("messages_received") + len(messages),
            records_unmatched=F("records_unmatched") + intake.unmatched,
            last_message_at=Now(),
        )
    return Polled(len(messages), len(intake.job_ids), intake.unmatched, len(dead))


def _dead_letter(queue: EventQueue, message: Message, *, reason: str) -> DeadLetter:
    return DeadLetter(
        queue=queue,
        message_id=message.id,
        # PostgreSQL stores neither half a surrogate pair nor NUL; U+2400 is its picture.
        body=message.body.encode(errors="backslashreplace").decode().replace("\0", "␀"),
        reason=reason,
        received_at=Now(),
    )
