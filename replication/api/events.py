"""POST /api/v1/events: it answers only after the jobs for the events are committed."""

import json
import re
from typing import Any

import structlog
from django.http import HttpRequest
from ninja import Router
from ninja import Status as Answer

from replication.api.authentication import BearerToken, caller_of
from replication.api.event_bodies import read_text
from replication.api.limits import CallLimit
from replication.api.refusals import Refused, refusals
from replication.api.signing import SignedCall
from replication.intake.matching import (
    AnnouncedEvent,
    Intake,
    UnknownDomain,
    take_events,
    take_keys,
)
from replication.intake.s3_events import UnparseableMessage, check_key, parse_message
from replication.models import JobOrigin

log = structlog.get_logger(__name__)
router = Router(tags=["events"])

# One transaction takes all events, while the caller waits.
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


@router.post(
    "/events",
    response={202: Intake, **refusals(403, 404, 413, 422)},
    auth=[SignedCall(), BearerToken()],
    throttle=CallLimit("api_event_calls_per_second"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _BODY_SCHEMA}},
        }
    },
)
def take(request: HttpRequest) -> Answer[Intake]:
    """Report changed objects: s3sync looks at each, and makes its replica equal."""
    try:
        intake = _take(read_text(request))
    except UnparseableMessage as error:
        raise Refused(422, "invalid_event", f"{error}.") from error
    except UnknownDomain as error:
        raise Refused(404, "unknown_domain", f"{error}.") from error
    log.info(
        "api.events_taken",
        caller=caller_of(request).name,
        jobs=len(intake.job_ids),
        unmatched=intake.unmatched,
    )
    return Answer(202, intake)


def _take(body: str) -> Intake:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnparseableMessage(f"the body is not JSON: {error}") from error
    if isinstance(value, list):
        if len(value) > MAX_EVENTS:
            raise UnparseableMessage(
                f"the list has {len(value):,} events; send at most {MAX_EVENTS:,} per call"
            )
        return take_keys(
            _domain_and_key(item, where=f"[{number}]") for number, item in enumerate(value)
        )
    if isinstance(value, dict) and value.keys() & {"domain", "key"}:
        return take_keys([_domain_and_key(value, where="the event")])
    # A bucket without a rule is counted as unmatched and not refused: the sender is S3, through a
    # Lambda function or a subscription that would repeat the call, and no person reads a 404.
    events = [AnnouncedEvent(event) for event in parse_message(body)]
    return take_events(events, origin=JobOrigin.API)


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
