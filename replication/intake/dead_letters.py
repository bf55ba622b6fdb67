"""Replays dead letters with the current parser and the current rules, each record for itself."""

from dataclasses import astuple, dataclass

import structlog
from django.db import transaction
from django.db.models import QuerySet

from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.message_fields import UnparseableMessage
from replication.intake.messages import (
    DATABASE_FAULTS,
    dead_letter_reason,
    keep_dead_letters,
    storable,
)
from replication.intake.s3_events import Record, parse_message
from replication.models import DeadLetter, JobOrigin

log = structlog.get_logger(__name__)

REPLAY_BATCH = 100  # a body has up to 1 MiB, SQS's limit


@dataclass(frozen=True)
class Replayed:
    """The result of a replay, in numbers."""

    letters: int = 0  # parsed now, and deleted
    jobs: int = 0
    unmatched: int = 0  # records that match no enabled rule
    still_unparseable: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def replay(letters: QuerySet[DeadLetter]) -> Replayed:
    """Make the jobs of these letters, as if the letters had been parsed when they were received.

    A letter is deleted in the transaction that makes its jobs. A letter that still fails stays,
    with the current reason. Of a letter that is a whole message of several records, the records
    that fail stay, as letters of their own. Letters that another process replays or deletes first
    are not counted.
    """
    letter_ids = list(letters.order_by("pk").values_list("pk", flat=True))
    replayed = Replayed()
    for start in range(0, len(letter_ids), REPLAY_BATCH):
        replayed += _replay_some(letter_ids[start : start + REPLAY_BATCH])
    log.info("dead_letters.replayed", **vars(replayed))
    return replayed


def _replay_some(letter_ids: list[int]) -> Replayed:
    """Replay in one transaction. If it fails, replay one by one: one letter must not block all."""
    try:
        return _replay_batch(letter_ids)
    except DATABASE_FAULTS:
        raise
    except Exception as error:
        parts = letter_ids if len(letter_ids) > 1 else _split(letter_ids[0])
        if parts:
            return sum((_replay_some([letter_id]) for letter_id in parts), Replayed())
        log.exception("dead_letters.replay_failed", letter=letter_ids[0])
        DeadLetter.objects.filter(pk=letter_ids[0]).update(reason=dead_letter_reason(error))
        return Replayed(still_unparseable=1)


@transaction.atomic
def _replay_batch(letter_ids: list[int]) -> Replayed:
    letters = DeadLetter.objects.filter(pk__in=letter_ids).order_by("pk").select_for_update()
    events: list[AnnouncedEvent] = []
    replayed_ids: list[int] = []
    still_bad: list[DeadLetter] = []
    split_off: list[DeadLetter] = []
    for letter in letters:
        try:
            records = parse_message(letter.body)
        except UnparseableMessage as error:
            letter.reason = storable(str(error))
            still_bad.append(letter)
            continue
        bad = [number for number, record in enumerate(records) if not record.event]
        if len(records) == 1 and bad:
            letter.reason = storable(records[0].reason)
            still_bad.append(letter)
            continue
        events += [
            AnnouncedEvent(record.event, announced_at=letter.received_at)
            for record in records
            if record.event
        ]
        split_off += [_letter_of(letter, number, records[number]) for number in bad]
        replayed_ids.append(letter.pk)
    intake = take_events(events, origin=JobOrigin.EVENT)
    # After the jobs, in the order of a poller: otherwise the two could deadlock over a letter that
    # SQS delivers again meanwhile.
    keep_dead_letters(split_off)
    DeadLetter.objects.bulk_update(still_bad, ["reason"])
    DeadLetter.objects.filter(pk__in=replayed_ids).delete()
    return Replayed(
        len(replayed_ids), len(intake.job_ids), intake.unmatched, len(still_bad) + len(split_off)
    )


@transaction.atomic
def _split(letter_id: int) -> list[int]:
    """Make a letter of each record of this letter. Returns their ids; none if it has one record."""
    letter = DeadLetter.objects.filter(pk=letter_id).select_for_update().first()
    records = _records_of(letter) if letter else []
    if letter is None or len(records) < 2:
        return []
    keep_dead_letters([_letter_of(letter, number, record) for number, record in enumerate(records)])
    letter.delete()
    parts = DeadLetter.objects.filter(queue=letter.queue_id, message_id=letter.message_id)
    return list(parts.filter(record__isnull=False).order_by("pk").values_list("pk", flat=True))


def _records_of(letter: DeadLetter) -> list[Record]:
    try:
        return parse_message(letter.body)
    except UnparseableMessage:
        return []


def _letter_of(letter: DeadLetter, number: int, record: Record) -> DeadLetter:
    """A letter of one record of this letter, which has several."""
    return DeadLetter(
        queue_id=letter.queue_id,
        message_id=letter.message_id,
        record=number,
        body=storable(record.alone()),
        reason=storable(record.reason) or letter.reason,
        received_at=letter.received_at,
    )
