"""Lists, reads, pauses and resumes rules, and makes them look at keys again."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Router
from ninja import Status as Answer

from replication.api.authentication import caller_of
from replication.api.refusals import Refused, no_such_rule, refusals
from replication.api.values import Body, Name
from replication.intake.matching import KeysOutsideRule
from replication.intake.message_fields import UnparseableMessage, check_key
from replication.models import ReplicationRule
from replication.operations import actions

router = Router(tags=["rules"])

MAX_KEYS = 1000


@dataclass(frozen=True)
class Rule:
    """Which objects of a source go where, and what stops that; `status` has the numbers."""

    id: int
    name: str
    source: str
    source_prefix: str
    source_suffix: str
    destination: str
    destination_prefix: str
    delete_policy: str
    enabled: bool
    canary: bool
    paused_at: datetime | None
    parked_at: datetime | None
    parked_code: str
    parked_cause: str
    parked_hint: str
    braked_at: datetime | None


class LookAgainOrder(Body):
    """The keys as they are in the source, not URL-encoded."""

    keys: list[str] = Field(min_length=1, max_length=MAX_KEYS, json_schema_extra={"example": ["a"]})


@dataclass(frozen=True)
class Looking:
    """One job for each key; if a job for a key already waits, its id is returned."""

    job_ids: list[int]


@router.get("/rules", response={200: list[Rule], **refusals()})
def list_rules(request: HttpRequest) -> list[Rule]:
    """List all rules, ordered by name."""
    return [_rule(rule) for rule in _with_locations(_rules(request))]


@router.get("/rules/{name}", response={200: Rule, **refusals(404, 422)})
def read_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """Return one rule."""
    return _rule(_with_locations(find_rule(request, name)).get())


@router.post("/rules/{name}/pause", response={200: Rule, **refusals(403, 404, 422)})
def pause_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """Pause a rule: its jobs wait; events still create jobs. A repeated call changes nothing."""
    actions.pause(find_rule(request, name), by=caller_of(request).actor)
    return _rule(_with_locations(find_rule(request, name)).get())


@router.post("/rules/{name}/resume", response={200: Rule, **refusals(403, 404, 422)})
def resume_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """Resume a rule that is paused or parked. A repeated call changes nothing."""
    actions.resume(find_rule(request, name), by=caller_of(request).actor)
    return _rule(_with_locations(find_rule(request, name)).get())


@router.post("/rules/{name}/look-again", response={202: Looking, **refusals(403, 404, 413, 422)})
def look_again(request: HttpRequest, name: Path[Name], order: LookAgainOrder) -> Answer[Looking]:
    """Look at these keys again, whatever the rule's filters are; at most 1,000 keys.

    All keys must begin with the rule's source prefix. A key that the filters exclude is copied, but
    its replica is never deleted.
    """
    rule = find_rule(request, name).get()
    try:
        keys = [check_key(key, where=f"keys[{n}]") for n, key in enumerate(order.keys)]
    except UnparseableMessage as error:
        raise Refused(422, "invalid_request", f"{error}.") from error
    try:
        return Answer(202, Looking(actions.look_again(rule, keys, by=caller_of(request).actor)))
    except KeysOutsideRule as error:
        raise Refused(422, "keys_outside_rule", f"{error}.") from error


def find_rule(request: HttpRequest, name: str) -> QuerySet[ReplicationRule]:
    """A query for this rule only.

    Raises:
        Refused: 404, also if the caller may not see the rule.
    """
    rule = _rules(request).filter(name=name)
    if not rule.exists():
        raise no_such_rule(name)
    return rule


def _rules(request: HttpRequest) -> QuerySet[ReplicationRule]:
    return caller_of(request).limit(ReplicationRule.objects.all(), "pk")


def _with_locations(rules: QuerySet[ReplicationRule]) -> QuerySet[ReplicationRule]:
    return rules.select_related("source", "destination").order_by("name")


def _rule(rule: ReplicationRule) -> Rule:
    return Rule(
        id=rule.pk,
        name=rule.name,
        source=rule.source.name,
        source_prefix=rule.source_prefix,
        source_suffix=rule.source_suffix,
        destination=rule.destination.name,
        destination_prefix=rule.destination_prefix,
        delete_policy=rule.delete_policy,
        enabled=rule.enabled,
        canary=rule.canary,
        paused_at=rule.paused_at,
        parked_at=rule.parked_at,
        parked_code=rule.parked_code,
        parked_cause=rule.parked_for.cause if rule.parked_for else "",
        parked_hint=rule.parked_for.hint if rule.parked_for else "",
        braked_at=rule.braked_at,
    )
