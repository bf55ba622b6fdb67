"""Gives messages that no parser understood another chance, with today's parser and rules."""

from dataclasses import astuple, dataclass

import structlog
from django.db import transaction
from django.db.models import QuerySet

from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.messages import NOT_THE_MESSAGES_FAULT, why_not_taken
from replication.intake.s3_events import UnparseableMessage, parse_message
from replication.models import DeadLetter, JobOrigin

log = structlog.get_logger(__name__)

REPLAY_BATCH = 100  # a body may be as large as SQS lets it be: 1 MiB


@dataclass(frozen=True)
class Replayed:
    """What came of some letters."""

    letters: int = 0  # understood now
    jobs: int = 0
    unmatched: int = 0  # records of the letters that no enabled rule asks for
    still_unparseable: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def replay(letters: QuerySet[DeadLetter]) -> Replayed:
    """Take the letters in as if they had been understood when they were received.

    A letter is deleted in the transaction that makes its jobs. One that still can't be taken in
    stays, with today's reason. Those that somebody else replays or deletes first are not counted.
    """
    letter_ids = list(letters.order_by("pk").values_list("pk", flat=True))
    replayed = Replayed()
    for start in range(0, len(letter_ids), REPLAY_BATCH):
        replayed += _replay_some(letter_ids[start : start + REPLAY_BATCH])
    log.info("dead_letters.replayed", **vars(replayed))
    return replayed


def _replay_some(letter_ids: list[int]) -> Replayed:
    """In one transaction; one by one where that fails, so that one does not hold up the others."""
    try:
        return _replay_batch(letter_ids)
    except NOT_THE_MESSAGES_FAULT:
        raise
    except Exception as error:
        if len(letter_ids) > 1:
            return sum((_replay_some([letter_id]) for letter_id in letter_ids), Replayed())
        log.exception("dead_letters.replay_failed", letter=letter_ids[0])
        DeadLetter.objects.filter(pk=letter_ids[0]).update(reason=why_not_taken(error))
        return Replayed(still_unparseable=1)


@transaction.atomic
def _replay_batch(letter_ids: list[int]) -> Replayed:
    letters = DeadLetter.objects.filter(pk__in=letter_ids).order_by("pk").select_for_update()
    events: list[AnnouncedEvent] = []
    understood: list[int] = []
    unparseable: list[DeadLetter] = []
    for letter in letters:
        try:
            parsed = parse_message(letter.body)
        except UnparseableMessage as error:
            letter.reason = str(error)
            unparseable.append(letter)
        else:
            events += [AnnouncedEvent(event, announced_at=letter.received_at) for event in parsed]
            understood.append(letter.pk)
    intake = take_events(events, origin=JobOrigin.EVENT)
    # After the jobs, as a poller does it: the other way round the two could deadlock over a
    # letter that SQS delivers again meanwhile.
    DeadLetter.objects.bulk_update(unparseable, ["reason"])
    DeadLetter.objects.filter(pk__in=understood).delete()
    return Replayed(len(understood), len(intake.job_ids), intake.unmatched, len(unparseable))
