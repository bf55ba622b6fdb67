"""POST /api/v1/events: it answers only after the jobs for the events are committed."""

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from django.http import HttpRequest
from ninja import Router
from ninja import Status as Answer

from replication.api.authentication import BearerToken, caller_of
from replication.api.event_bodies import read_text
from replication.api.limits import CallLimit
from replication.api.refusals import Refusal, refusals
from replication.api.signing import SignedCall
from replication.intake.matching import AnnouncedEvent, Intake, Outcome, take_events, take_keys
from replication.intake.message_fields import UnparseableMessage, check_key
from replication.intake.s3_events import parse_message
from replication.models import JobOrigin

log = structlog.get_logger(__name__)
router = Router(tags=["events"])

# One transaction takes all good items, while the caller waits.
MAX_EVENTS = 1000

_DOMAIN = re.compile(r"[a-z0-9._-]+(:[0-9]{1,5})?")
_OBJECT_SCHEMA = {
    "type": "object",
    "required": ["domain", "key"],
    "additionalProperties": False,
    "properties": {
        "domain": {"type": "string", "description": "A domain of a configured source"},
        "key": {"type": "string", "description": "The object's key as it is, not URL-encoded"},
    },
}
_BODY_SCHEMA = {
    "oneOf": [
        _OBJECT_SCHEMA,
        {"type": "array", "items": _OBJECT_SCHEMA, "maxItems": MAX_EVENTS},
        {
            "type": "object",
            "description": "An S3 event message, direct or through SNS or EventBridge",
        },
    ]
}


@dataclass(frozen=True)
class Taken:
    """The jobs of all items, and how many items no enabled rule asks for."""

    job_ids: list[int]
    unmatched: int


class Result(StrEnum):
    """`taken`: there is a job for each rule that asks for it; `unmatched`: no rule asks for it."""

    TAKEN = "taken"
    UNMATCHED = "unmatched"
    REFUSED = "refused"


@dataclass(frozen=True)
class ItemResult:
    """What became of one item of the body.

    `number` is its place among the items, from 0. `error` and `detail` are as in a refusal of the
    whole call, and empty unless the item is refused.
    """

    number: int
    result: Result
    error: str = ""
    detail: str = ""


@dataclass(frozen=True)
class NotAllTaken(Refusal):
    """`results` has each item of the body; the jobs of the items not refused are committed.

    `results` is empty if the items can't be told apart. Nothing is taken then.
    """

    job_ids: list[int]
    unmatched: int
    results: list[ItemResult]


@router.post(
    "/events",
    response={202: Taken, (404, 422): NotAllTaken, **refusals(403, 413)},
    auth=[SignedCall(), BearerToken()],
    throttle=CallLimit("api_event_calls_per_second"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _BODY_SCHEMA}},
        }
    },
)
def take(request: HttpRequest) -> Answer[Taken | NotAllTaken]:
    """Report changed objects: s3sync looks at each, and makes its replica equal.

    An item that is refused takes no other with it.
    """
    try:
        intake, results = _take(read_text(request), caller_of(request).rule_ids)
    except UnparseableMessage as error:
        return Answer(422, NotAllTaken("invalid_event", f"{error}.", [], 0, []))
    refused = [each for each in results if each.result is Result.REFUSED]
    log.info(
        "api.events_taken",
        caller=caller_of(request).name,
        jobs=len(intake.job_ids),
        unmatched=intake.unmatched,
        refused=len(refused),
    )
    if not refused:
        return Answer(202, Taken(intake.job_ids, intake.unmatched))
    # The status that the refused items would get without the others.
    invalid = [each for each in refused if each.error == "invalid_event"]
    example = (invalid or refused)[0]
    summary = _summary(example, refused=len(refused), items=len(results))
    return Answer(
        422 if invalid else 404,
        NotAllTaken(example.error, summary, intake.job_ids, intake.unmatched, results),
    )


def _summary(example: ItemResult, *, refused: int, items: int) -> str:
    if items == 1:
        return example.detail
    others = "The others are taken. " if refused < items else ""
    return (
        f"Refused items: {refused:,} of {items:,}. Item {example.number}: {example.detail} "
        f"{others}`results` has each item."
    )


def _take(body: str, only: Set[int] | None) -> tuple[Intake, list[ItemResult]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnparseableMessage(f"the body is not JSON: {error}") from error
    if isinstance(value, list):
        if len(value) > MAX_EVENTS:
            raise UnparseableMessage(
                f"the list has {len(value):,} events; send at most {MAX_EVENTS:,} per call"
            )
        return _take_keys({f"[{number}]": item for number, item in enumerate(value)}, only)
    if isinstance(value, dict) and value.keys() & {"domain", "key"}:
        return _take_keys({"the event": value}, only)
    return _take_message(body, only)


def _take_keys(items: dict[str, Any], only: Set[int] | None) -> tuple[Intake, list[ItemResult]]:
    """Take domains with keys; `items` has them in order, each with its place in the body."""
    pairs: dict[int, tuple[str, str]] = {}
    results: dict[int, ItemResult] = {}
    for number, (where, item) in enumerate(items.items()):
        try:
            pairs[number] = _domain_and_key(item, where=where)
        except UnparseableMessage as error:
            results[number] = _refused("invalid_event", f"{error}.", number=number)
    intake = take_keys(pairs.values(), only=only)
    for (number, (domain, _)), outcome in zip(pairs.items(), intake.outcomes, strict=True):
        if outcome is Outcome.UNKNOWN_DOMAIN:
            results[number] = _refused(
                "unknown_domain",
                f"no enabled rule has a source with the domain {domain!r}: add the domain to a "
                "source, and a rule to the source.",
                number=number,
            )
        else:
            results[number] = ItemResult(number, Result(outcome.value))
    return intake, [results[number] for number in range(len(items))]


def _take_message(body: str, only: Set[int] | None) -> tuple[Intake, list[ItemResult]]:
    """Take a message of S3.

    A bucket without a rule is counted as unmatched and not refused: the sender is S3, through a
    Lambda function or a subscription that would repeat the call, and no person reads a 404.
    """
    records = parse_message(body)
    intake = take_events(
        [AnnouncedEvent(record.event) for record in records if record.event],
        origin=JobOrigin.API,
        only=only,
    )
    outcomes = iter(intake.outcomes)
    results = [
        ItemResult(number, Result(next(outcomes).value))
        if record.event
        else _refused("invalid_event", f"{record.reason}.", number=number)
        for number, record in enumerate(records)
    ]
    return intake, results


def _refused(error: str, detail: str, *, number: int) -> ItemResult:
    return ItemResult(number, Result.REFUSED, error, detail)


def _domain_and_key(item: Any, *, where: str) -> tuple[str, str]:
    """Return the domain in the form that sources store, and the key."""
    if not isinstance(item, dict):
        raise UnparseableMessage(f'{where} is not an object like {{"domain": …, "key": …}}')
    for name in item.keys() - {"domain", "key"}:
        raise UnparseableMessage(f"{where} has the field {name!r}; only domain and key are allowed")
    for name in ("domain", "key"):
        if not isinstance(item.get(name), str):
            raise UnparseableMessage(f"{where}.{name} is missing or not text")
    return _normalized(item["domain"], where=where), check_key(item["key"], where=f"{where}.key")


def _normalized(text: str, *, where: str) -> str:
    """Normalize the domain: lower case, without a final dot and without a default port."""
    domain = text.lower().removesuffix(":443").removesuffix(":80")
    host, colon, port = domain.partition(":")
    domain = host.removesuffix(".") + colon + port
    if not _DOMAIN.fullmatch(domain):
        raise UnparseableMessage(
            f"{where}.domain must be a host name like files.example.com, without scheme or path"
        )
    return domain
