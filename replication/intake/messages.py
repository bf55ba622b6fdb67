"""Messages → jobs, dead letters and counts, committed together."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import structlog
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now

from replication.cluster.database import DATABASE_AWAY
from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.s3_events import UnparseableMessage, parse_message
from replication.intake.sqs import Message
from replication.models import DeadLetter, EventQueue, JobOrigin

log = structlog.get_logger(__name__)

# The database is unavailable, or its schema is of another version: every message would raise this.
DATABASE_FAULTS = (*DATABASE_AWAY, ProgrammingError)


@dataclass(frozen=True)
class Polled:
    """The result of some messages, in numbers."""

    messages: int
    jobs: int
    unmatched: int
    dead_letters: int

    def __add__(self, other: "Polled") -> "Polled":
        return Polled(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def take_messages(queue: EventQueue, messages: Sequence[Message]) -> Polled:
    """Turn messages into jobs, dead letters and counts, in one transaction.

    If the transaction fails unexpectedly, each half of the messages gets its own transaction, and
    so on. A message that fails alone becomes a dead letter, so that it does not block the others.

    Raises:
        OperationalError, InterfaceError, InternalError, ProgrammingError: the database is
            unavailable or of another version.
    """
    try:
        return _parse_and_commit(queue, messages)
    except DATABASE_FAULTS:
        raise
    except Exception as error:
        if len(messages) == 1:
            return _keep_as_dead_letter(queue, messages[0], error)
        log.warning("queue.messages_taken_by_halves", queue=queue.name, reason=str(error))
        half = len(messages) // 2
        return take_messages(queue, messages[:half]) + take_messages(queue, messages[half:])


def dead_letter_reason(error: Exception) -> str:
    """The reason to store with a dead letter that raised this error."""
    return _storable(f"it could not be processed: {type(error).__name__}: {error}")


def _keep_as_dead_letter(queue: EventQueue, message: Message, error: Exception) -> Polled:
    log.error("queue.message_failed", queue=queue.name, message=message.id, exc_info=error)
    dead = _dead_letter(queue, message, reason=dead_letter_reason(error))
    return _commit(queue, [], [dead], received=1)


def _parse_and_commit(queue: EventQueue, messages: Sequence[Message]) -> Polled:
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
        if dead:
            # SQS delivers at least once: a message that is kept already is not kept twice.
            # Sorted by id, so that two pollers that keep the same messages can't deadlock.
            dead.sort(key=lambda letter: letter.message_id)
            DeadLetter.objects.bulk_create(dead, ignore_conflicts=True)
        # Last, as all pollers of the queue lock this row. The ORM takes three times as long.
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE replication_eventqueue SET messages_received = messages_received + %s,
                    records_unmatched = records_unmatched + %s, last_message_at = now()
                WHERE id = %s
                """,
                [received, intake.unmatched, queue.pk],
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
    """Replace lone surrogates and NUL, which PostgreSQL does not store; U+2400 stands for NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "␀")
