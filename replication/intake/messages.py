"""Messages → jobs, dead letters and counts, committed together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace

import structlog
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now

from replication.cluster.database import DATABASE_AWAY
from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.message_fields import UnparseableMessage
from replication.intake.s3_events import Record, parse_message
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


@dataclass(frozen=True)
class _Part:
    """A record of a message; or a whole message, if it has no record that can be told apart."""

    message: Message
    is_first: bool = True  # of its message, which it counts
    number: int | None = None  # of the record; None for a whole message
    record: Record | None = None
    is_only_record: bool = True
    reason: str = ""  # why it becomes a dead letter; "" if it does not

    @property
    def body(self) -> str:
        """What a dead letter of this part keeps: a message with this record alone."""
        if self.record is None or self.is_only_record:
            return self.message.body
        return self.record.alone()


def take_messages(queue: EventQueue, messages: Iterable[Message]) -> Polled:
    """Turn the records of messages into jobs, dead letters and counts, in one transaction.

    If the transaction fails unexpectedly, each half of the records gets its own transaction, and
    so on. A record that fails alone becomes a dead letter, so that it does not block the others.

    Raises:
        OperationalError, InterfaceError, InternalError, ProgrammingError: the database is
            unavailable or of another version.
    """
    return _take(queue, [part for message in messages for part in _parts(message)])


def _parts(message: Message) -> Iterator[_Part]:
    try:
        records = parse_message(message.body)
    except UnparseableMessage as error:
        yield _Part(message, reason=str(error))
        return
    except Exception as error:  # whatever it is, it must not hold up the other messages
        log.error("queue.message_failed", message=message.id, exc_info=error)
        yield _Part(message, reason=dead_letter_reason(error))
        return
    if not records:
        yield _Part(message)
    for number, record in enumerate(records):
        yield _Part(
            message,
            is_first=number == 0,
            number=number,
            record=record,
            is_only_record=len(records) == 1,
            reason=record.reason,
        )


def _take(queue: EventQueue, parts: Sequence[_Part]) -> Polled:
    try:
        return _commit(queue, parts)
    except DATABASE_FAULTS:
        raise
    except Exception as error:
        if len(parts) == 1:
            return _keep_as_dead_letter(queue, parts[0], error)
        log.warning("queue.messages_taken_by_halves", queue=queue.name, reason=str(error))
        half = len(parts) // 2
        return _take(queue, parts[:half]) + _take(queue, parts[half:])


def dead_letter_reason(error: Exception) -> str:
    """The reason to store with a dead letter that raised this error."""
    return storable(f"it could not be processed: {type(error).__name__}: {error}")


def _keep_as_dead_letter(queue: EventQueue, part: _Part, error: Exception) -> Polled:
    log.error(
        "queue.message_failed",
        queue=queue.name,
        message=part.message.id,
        record=part.number,
        exc_info=error,
    )
    return _commit(queue, [replace(part, reason=dead_letter_reason(error))])


def _commit(queue: EventQueue, parts: Sequence[_Part]) -> Polled:
    received = sum(part.is_first for part in parts)
    bad = [part for part in parts if part.reason]
    events = [
        AnnouncedEvent(part.record.event, announced_at=part.message.sent_at)
        for part in parts
        if part.record and part.record.event and not part.reason
    ]
    with transaction.atomic():
        intake = take_events(events, origin=JobOrigin.EVENT)
        if bad:
            keep_dead_letters([_dead_letter(queue, part) for part in bad])
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
    for part in bad:
        log.warning(
            "queue.dead_letter",
            queue=queue.name,
            message=part.message.id,
            record=part.number,
            reason=part.reason,
        )
    return Polled(received, len(intake.job_ids), intake.unmatched, len(bad))


def keep_dead_letters(letters: list[DeadLetter]) -> None:
    """Insert these dead letters, except those that are kept already: SQS delivers at least once."""
    # Sorted, so that two pollers that keep the same messages can't deadlock.
    letters.sort(key=lambda letter: (letter.message_id, letter.record or 0))
    DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)


def _dead_letter(queue: EventQueue, part: _Part) -> DeadLetter:
    return DeadLetter(
        queue=queue,
        message_id=part.message.id,
        record=part.number,
        body=storable(part.body),
        reason=storable(part.reason),
        received_at=Now(),
    )


def storable(text: str) -> str:
    """Replace lone surrogates and NUL, which PostgreSQL does not store; U+2400 stands for NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "␀")
