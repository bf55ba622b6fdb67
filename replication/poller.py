"""SQS → intake → delete message. A message leaves SQS only after its jobs are committed."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import structlog
from django.db import ProgrammingError, transaction
from django.db.models import F
from django.db.models.functions import Now

from replication.database import DATABASE_AWAY
from replication.errors import UnparseableMessage
from replication.events import parse_message
from replication.in_hand import InHand
from replication.intake import AnnouncedEvent, take_events
from replication.models import DeadLetter, EventQueue, JobOrigin
from replication.sqs import Message, Queue

log = structlog.get_logger(__name__)

# The database is away, or its tables are not those of this version: any message would raise it.
NOT_THE_MESSAGES_FAULT = (*DATABASE_AWAY, ProgrammingError)


@dataclass(frozen=True)
class Polled:
    """What one receive brought."""

    messages: int
    jobs: int
    unmatched: int
    dead_letters: int

    def __add__(self, other: "Polled") -> "Polled":
        return Polled(*map(sum, zip(astuple(self), astuple(other), strict=True)))


NOTHING = Polled(0, 0, 0, 0)


def poll_once(
    queue: EventQueue, *, wait_seconds: int, in_hand: InHand | None = None
) -> Polled | None:
    """Receive once, commit what the messages ask for, delete them. None if there were none.

    What was received and could not be committed stays in `in_hand`; given that again, it is taken
    before anything else is received. So a database that was away for a second
    does not cost the queue's visibility timeout, nor push its messages on their way to the
    queue's own dead-letter queue.

    Raises:
        QueueError: SQS refused or can't be reached.
        ReplicationError: the queue's credential profile has no credentials.
        OperationalError, InterfaceError, InternalError, ProgrammingError: the database is away or
            of another version; nothing was deleted.
    """
    sqs = Queue(queue)
    in_hand = in_hand or InHand(queue)
    if not in_hand.messages:
        in_hand.take(sqs.receive(wait_seconds=wait_seconds))
    messages = in_hand.messages
    if not messages:
        return None
    polled = take_messages(queue, messages)
    in_hand.let_go()
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
    """Turn messages into jobs, dead letters and counts, in one transaction.

    Where that fails unexpectedly each message is taken alone, in a transaction of its own, and one
    that fails again becomes a dead letter: it must not hold up those beside it.
    """
    try:
        return _take(queue, messages)
    except NOT_THE_MESSAGES_FAULT:
        raise
    except Exception as error:
        log.warning("queue.messages_taken_one_by_one", queue=queue.name, reason=str(error))
        return sum((_take_alone(queue, message) for message in messages), NOTHING)


def why_not_taken(error: Exception) -> str:
    """The reason beside a dead letter that raised this when it was taken in."""
    return _storable(f"it could not be taken in: {type(error).__name__}: {error}")


def _take_alone(queue: EventQueue, message: Message) -> Polled:
    try:
        return _take(queue, [message])
    except NOT_THE_MESSAGES_FAULT:
        raise
    except Exception as error:
        log.exception("queue.message_failed", queue=queue.name, message=message.id)
        dead = _dead_letter(queue, message, reason=why_not_taken(error))
        return _commit(queue, [], [dead], received=1)


def _take(queue: EventQueue, messages: Sequence[Message]) -> Polled:
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
    return _commit(queue, events, dead, received=len(messages))


def _commit(
    queue: EventQueue, events: list[AnnouncedEvent], dead: list[DeadLetter], *, received: int
) -> Polled:
    with transaction.atomic():
        intake = take_events(events, origin=JobOrigin.EVENT)
        # SQS delivers at least once: a message kept already is not kept twice.
        DeadLetter.objects.bulk_create(dead, ignore_conflicts=True)
        EventQueue.objects.filter(pk=queue.pk).update(
            messages_received=F("messages_received") + received,
            records_unmatched=F("records_unmatched") + intake.unmatched,
            last_message_at=Now(),
        )
    return Polled(received, len(intake.job_ids), intake.unmatched, len(dead))


def _dead_letter(queue: EventQueue, message: Message, *, reason: str) -> DeadLetter:
    return DeadLetter(
        queue=queue,
        message_id=message.id,
        body=_storable(message.body),
        reason=_storable(reason),
        received_at=Now(),
    )


def _storable(text: str) -> str:
    """PostgreSQL stores neither half a surrogate pair nor NUL; U+2400 is its picture."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "␀")
