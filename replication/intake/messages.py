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
from replication.intake.visibility import InHand
from replication.models import DeadLetter, EventQueue, JobOrigin

log = structlog.get_logger(__name__)

# The database is away, or its tables are not those of this version: any message would raise it.
NOT_THE_MESSAGES_FAULT = (*DATABASE_AWAY, ProgrammingError)


@dataclass(frozen=True)
class Polled:
    """What came of some messages."""

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
    if in_hand is None:
        in_hand = InHand(queue)
    if not in_hand.messages:
        in_hand.take(sqs.receive(wait_seconds=wait_seconds))
    polled = take_in_hand(queue, in_hand, then_delete=partial(delete_messages, queue))
    return polled if polled.messages else None


def take_in_hand(
    queue: EventQueue, in_hand: InHand, *, then_delete: Callable[[Sequence[Message]], None]
) -> Polled:
    """Commit what all messages in hand ask for, let them go, and hand them on to be deleted.

    Raises:
        OperationalError, InterfaceError, InternalError, ProgrammingError: as poll_once; all of
            them are still in hand.
    """
    messages = in_hand.messages
    if not messages:
        return NOTHING
    polled = take_messages(queue, messages)
    in_hand.let_go(messages)
    # Delete last: a crash before this line redelivers, and taking a message twice is harmless.
    then_delete(messages)
    log.info("queue.polled", queue=queue.name, **asdict(polled))
    return polled


def delete_messages(queue: EventQueue, messages: Sequence[Message]) -> None:
    """Delete messages whose jobs are committed; one that can't be is logged, and comes again.

    Raises:
        QueueError, ReplicationError: as poll_once.
    """
    sqs = Queue(queue)
    for start in range(0, len(messages), MAX_BATCH):
        for reason in sqs.delete(messages[start : start + MAX_BATCH]):
            log.warning("queue.message_not_deleted", queue=queue.name, reason=reason)


def take_messages(queue: EventQueue, messages: Sequence[Message]) -> Polled:
    """Turn messages into jobs, dead letters and counts, in one transaction.

    Where that fails unexpectedly each half is taken alone, in a transaction of its own, and so on;
    one message that fails alone becomes a dead letter: it must not hold up those beside it.
    """
    try:
        return _take(queue, messages)
    except NOT_THE_MESSAGES_FAULT:
        raise
    except Exception as error:
        if len(messages) == 1:
            return _bury(queue, messages[0], error)
        log.warning("queue.messages_taken_by_halves", queue=queue.name, reason=str(error))
        half = len(messages) // 2
        return take_messages(queue, messages[:half]) + take_messages(queue, messages[half:])


def why_not_taken(error: Exception) -> str:
    """The reason beside a dead letter that raised this when it was taken in."""
    return _storable(f"it could not be taken in: {type(error).__name__}: {error}")


def _bury(queue: EventQueue, message: Message, error: Exception) -> Polled:
    log.error("queue.message_failed", queue=queue.name, message=message.id, exc_info=error)
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
        if dead:
            # SQS delivers at least once: a message kept already is not kept twice. In the order of
            # their ids, so that two pollers that keep the same ones can't deadlock.
            dead.sort(key=lambda letter: letter.message_id)
            DeadLetter.objects.bulk_create(dead, ignore_conflicts=True)
        # Last, for all pollers of the queue write this row. The ORM takes three times as long.
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
    """PostgreSQL stores neither half a surrogate pair nor NUL; U+2400 is its picture."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "␀")
