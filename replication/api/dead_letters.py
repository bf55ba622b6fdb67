"""Lists, reads, replays and deletes dead letters."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Query, Router, Schema
from ninja import Status as Answer

from replication.api.authentication import caller_of
from replication.api.cursors import Cursor, read_cursor
from replication.api.refusals import Refused, refusals
from replication.api.values import Id, Name, Text
from replication.intake.dead_letters import Replayed
from replication.models import DeadLetter
from replication.operations import actions

router = Router(tags=["dead letters"])

MAX_LISTED = 500


@dataclass(frozen=True)
class Letter:
    """A record of a message that could not be parsed or processed, and the reason.

    `record` is its number in the message, from 0; null if the whole message can't be read.
    """

    id: int
    queue: str
    message_id: str
    record: int | None
    reason: str
    received_at: datetime


@dataclass(frozen=True)
class WholeLetter(Letter):
    """`body` is the message; of a message with more records, it has the one record alone."""

    body: str


@dataclass(frozen=True)
class LetterPage:
    """`next_cursor` is empty on the last page."""

    dead_letters: list[Letter]
    next_cursor: str


class LetterQuery(Schema):
    queue: Name | None = Field(None, description="The queue's name")
    limit: int = Field(100, ge=1, le=MAX_LISTED)
    cursor: Text = Field("", description="The next_cursor of the previous page")


@router.get("/dead-letters", response={200: LetterPage, **refusals(403, 422)})
def list_dead_letters(request: HttpRequest, query: Query[LetterQuery]) -> LetterPage:
    """List dead letters without their bodies, newest first."""
    letters = DeadLetter.objects.select_related("queue").defer("body").order_by("-id")
    if query.queue:
        letters = letters.filter(queue__name=query.queue)
    if query.cursor:
        letters = letters.filter(id__lt=read_cursor(query.cursor, has_time=False).id)
    found = list(letters[: query.limit + 1])
    page = found[: query.limit]
    end = str(Cursor(None, page[-1].pk)) if len(found) > len(page) else ""
    return LetterPage([_letter(letter) for letter in page], end)


@router.get("/dead-letters/{letter_id}", response={200: WholeLetter, **refusals(403, 404, 422)})
def read_dead_letter(request: HttpRequest, letter_id: Path[Id]) -> WholeLetter:
    """Return one dead letter with its body."""
    letter = _query(letter_id).select_related("queue").get()
    return WholeLetter(**vars(_letter(letter)), body=letter.body)


@router.post(
    "/dead-letters/{letter_id}/replay", response={200: Replayed, **refusals(403, 404, 422)}
)
def replay_dead_letter(request: HttpRequest, letter_id: Path[Id]) -> Replayed:
    """Process a dead letter with the current parser and rules. It is deleted if that succeeds.

    The other records of its message were taken when the message came, and are left alone.
    """
    return actions.replay(_query(letter_id), by=caller_of(request).actor)


@router.delete("/dead-letters/{letter_id}", response={204: None, **refusals(403, 404, 422)})
def delete_dead_letter(request: HttpRequest, letter_id: Path[Id]) -> Answer[None]:
    """Delete a dead letter permanently."""
    actions.delete(_query(letter_id), by=caller_of(request).actor)
    return Answer(204, None)


def _query(letter_id: int) -> QuerySet[DeadLetter]:
    """A query for this dead letter only.

    Raises:
        Refused: 404.
    """
    letter = DeadLetter.objects.filter(pk=letter_id)
    if not letter.exists():
        raise Refused(
            404,
            "no_such_dead_letter",
            f"There is no dead letter {letter_id}. It may have been replayed or deleted.",
        )
    return letter


def _letter(letter: DeadLetter) -> Letter:
    return Letter(
        id=letter.pk,
        queue=letter.queue.name,
        message_id=letter.message_id,
        record=letter.record,
        reason=letter.reason,
        received_at=letter.received_at,
    )
