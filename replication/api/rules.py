"""Rules: listed, paused, resumed, and keys that they should look at again."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Router
from ninja import Status as Answer

from replication.api.authentication import caller_of
from replication.api.refusals import Refused, refusals
from replication.api.values import Body, Name
from replication.intake.s3_events import UnparseableMessage, check_key
from replication.models import ReplicationRule
from replication.operations import actions

router = Router(tags=["rules"])

MAX_KEYS = 1000


@dataclass(frozen=True)
class Rule:
    """Which objects of a source go where, and what holds that up; `status` has the numbers."""

    id: int
    name: str
    source: str
    source_prefix: str
    source_suffix: str
    destination: str
    destination_prefix: str
    delete_policy: str
    enabled: bool
    paused_at: datetime | None
    parked_at: datetime | None
    parked_code: str
    parked_cause: str
    parked_hint: str
    braked_at: datetime | None


class LookAgainOrder(Body):
    """Keys as they are, not URL-encoded."""

    keys: list[str] = Field(min_length=1, max_length=MAX_KEYS, json_schema_extra={"example": ["a"]})


@dataclass(frozen=True)
class Looking:
    """One job for each key; one that waits already is answered again."""

    job_ids: list[int]


@router.get("/rules", response={200: list[Rule], **refusals()})
def list_rules(request: HttpRequest) -> list[Rule]:
    """All rules, by name."""
    return [_rule(rule) for rule in _with_places(ReplicationRule.objects.all())]


@router.get("/rules/{name}", response={200: Rule, **refusals(404, 422)})
def read_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """One rule."""
    return _rule(_with_places(find_rule(name)).get())


@router.post("/rules/{name}/pause", response={200: Rule, **refusals(403, 404, 422)})
def pause_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """Have the rule's jobs wait; events go on making them. Once more changes nothing."""
    actions.pause(find_rule(name), by=caller_of(request).actor)
    return _rule(_with_places(find_rule(name)).get())


@router.post("/rules/{name}/resume", response={200: Rule, **refusals(403, 404, 422)})
def resume_rule(request: HttpRequest, name: Path[Name]) -> Rule:
    """Let the rule go on that was paused or parked. Once more changes nothing."""
    actions.resume(find_rule(name), by=caller_of(request).actor)
    return _rule(_with_places(find_rule(name)).get())


@router.post("/rules/{name}/look-again", response={202: Looking, **refusals(403, 404, 413, 422)})
def look_again(request: HttpRequest, name: Path[Name], order: LookAgainOrder) -> Answer[Looking]:
    """Make these keys' replicas equal, whatever the rule's filters say; 1,000 keys at most."""
    rule = find_rule(name).get()
    try:
        keys = [check_key(key, where=f"keys[{n}]") for n, key in enumerate(order.keys)]
    except UnparseableMessage as error:
        raise Refused(422, "invalid_request", f"{error}.") from error
    return Answer(202, Looking(actions.look_again(rule, keys, by=caller_of(request).actor)))


def find_rule(name: str) -> QuerySet[ReplicationRule]:
    """The rule, as a query of its own.

    Raises:
        Refused: 404.
    """
    rule = ReplicationRule.objects.filter(name=name)
    if not rule.exists():
        raise Refused(404, "no_such_rule", f"There is no rule {name!r}: GET /api/v1/rules has all.")
    return rule


def _with_places(rules: QuerySet[ReplicationRule]) -> QuerySet[ReplicationRule]:
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
        paused_at=rule.paused_at,
        parked_at=rule.parked_at,
        parked_code=rule.parked_code,
        parked_cause=rule.parked_for.cause if rule.parked_for else "",
        parked_hint=rule.parked_for.hint if rule.parked_for else "",
        braked_at=rule.braked_at,
    )
