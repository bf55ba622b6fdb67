"""Replays dead letters with the current parser and the current rules."""

from dataclasses import astuple, dataclass

import structlog
from django.db import transaction
from django.db.models import QuerySet

from replication.intake.matching import AnnouncedEvent, take_events
from replication.intake.messages import DATABASE_FAULTS, dead_letter_reason
from replication.intake.s3_events import UnparseableMessage, parse_message
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
    with the current reason. Letters that another process replays or deletes first are not counted.
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
        if len(letter_ids) > 1:
            return sum((_replay_some([letter_id]) for letter_id in letter_ids), Replayed())
        log.exception("dead_letters.replay_failed", letter=letter_ids[0])
        DeadLetter.objects.filter(pk=letter_ids[0]).update(reason=dead_letter_reason(error))
        return Replayed(still_unparseable=1)


@transaction.atomic
def _replay_batch(letter_ids: list[int]) -> Replayed:
    letters = DeadLetter.objects.filter(pk__in=letter_ids).order_by("pk").select_for_update()
    events: list[AnnouncedEvent] = []
    parsed_ids: list[int] = []
    unparseable: list[DeadLetter] = []
    for letter in letters:
        try:
            parsed = parse_message(letter.body)
        except UnparseableMessage as error:
            letter.reason = str(error)
            unparseable.append(letter)
        else:
            events += [AnnouncedEvent(event, announced_at=letter.received_at) for event in parsed]
            parsed_ids.append(letter.pk)
    intake = take_events(events, origin=JobOrigin.EVENT)
    # After the jobs, in the order of a poller: otherwise the two could deadlock over a letter that
    # SQS delivers again meanwhile.
    DeadLetter.objects.bulk_update(unparseable, ["reason"])
    DeadLetter.objects.filter(pk__in=parsed_ids).delete()
    return Replayed(len(parsed_ids), len(intake.job_ids), intake.unmatched, len(unparseable))
