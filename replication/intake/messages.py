"""SQS → intake → delete message. A message leaves SQS only after its jobs are committed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial

import structlog
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now

from replication.cluster.database import DATABASE_AWAY
from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.s3_events import UnparseableMessage, parse_message
from replication.intake.sqs import MAX_BATCH, Message, Queue
from replication.intake.visibility import InFlight
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


NOTHING = Polled(0, 0, 0, 0)


def poll_once(
    queue: EventQueue, *, wait_seconds: int, in_flight: InFlight | None = None
) -> Polled | None:
    """Receive once, commit what the messages ask for, delete them. None if there were none.

    Messages that can't be committed stay in `in_flight`, and the next call commits them before it
    receives others. So a database that is away for a second costs neither the queue's visibility
    timeout nor a step towards the queue's own dead-letter queue.

    Raises:
        QueueError: SQS refused or can't be reached.
        ReplicationError: the queue's credential profile has no credentials.
        OperationalError, InterfaceError, InternalError, ProgrammingError: the database is away or
            of another version; nothing was deleted.
    """
    sqs = Queue(queue)
    if in_flight is None:
        in_flight = InFlight(queue)
    if not in_flight.messages:
        in_flight.add(sqs.receive(wait_seconds=wait_seconds))
    polled = take_in_flight(queue, in_flight, then_delete=partial(delete_messages, queue))
    return polled if polled.messages else None


def take_in_flight(
    queue: EventQueue, in_flight: InFlight, *, then_delete: Callable[[Sequence[Message]], None]
) -> Polled:
    """Commit the jobs of all messages in flight, then pass the messages on to be deleted.

    Raises:
        OperationalError, InterfaceError, InternalError, ProgrammingError: as for `poll_once`; all
            messages are still in flight.
    """
    messages = in_flight.messages
    if not messages:
        return NOTHING
    polled = take_messages(queue, messages)
    in_flight.remove(messages)
    # Delete last: a crash before this line redelivers, and taking a message twice is harmless.
    then_delete(messages)
    log.info("queue.polled", queue=queue.name, **asdict(polled))
    return polled


def delete_messages(queue: EventQueue, messages: Sequence[Message]) -> None:
    """Delete messages whose jobs are committed.

    A message that SQS fails to delete is logged, and delivered again.

    Raises:
        QueueError, ReplicationError: as for `poll_once`.
    """
    sqs = Queue(queue)
    for start in range(0, len(messages), MAX_BATCH):
        for reason in sqs.delete(messages[start : start + MAX_BATCH]):
            log.warning("queue.message_not_deleted", queue=queue.name, reason=reason)


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
