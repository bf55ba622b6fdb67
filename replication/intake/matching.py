"""Events → rules → jobs. On return the jobs are committed, or part of the caller's transaction."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import connection

from replication.intake import canaries
from replication.intake.object_events import Change, ObjectEvent
from replication.jobs import PRIORITY_BULK, PRIORITY_EVENT, JobOrder, enqueue
from replication.mapping.filters import KeyFilter, key_filter
from replication.models import PUBLIC_ACLS, JobOrigin, ReplicationRule, Source, SourceKind


class Outcome(StrEnum):
    """What became of one event."""

    TAKEN = "taken"  # a job for each rule that matches
    UNMATCHED = "unmatched"  # no rule matches
    UNKNOWN_DOMAIN = "unknown_domain"  # the domain belongs to no source of an enabled rule


@dataclass(frozen=True)
class Intake:
    """The result of some events: the jobs of all, and the outcome of each event in order."""

    job_ids: list[int]
    outcomes: list[Outcome]

    @property
    def unmatched(self) -> int:
        return self.outcomes.count(Outcome.UNMATCHED)


class KeysOutsideRule(Exception):
    """No job of this rule may touch these keys: they are outside its source prefix, or outside the
    filters of a rule that makes its replicas public.
    """

    def __init__(self, rule: ReplicationRule, keys: Sequence[str]) -> None:
        self.keys = keys
        more = len(keys) - 1
        which = f"{keys[0]!r} does not"
        if more:
            which = f"{keys[0]!r} and {more} more {'key' if more == 1 else 'keys'} do not"
        if keys[0].startswith(rule.source_prefix):
            super().__init__(
                f"rule {rule.name} makes its replicas public, so its filters hold for keys that "
                f"people name, too, and {which} pass them; have somebody edit the filters who may "
                "approve that"
            )
            return
        super().__init__(
            f"rule {rule.name} is for keys that begin with {rule.source_prefix!r}, and {which}; "
            "name keys as they are in the source bucket, with the prefix, or use the rule that is "
            "for them"
        )


@dataclass(frozen=True)
class AnnouncedEvent:
    """An event, and when its message was sent; None if the sender does not say."""

    event: ObjectEvent
    announced_at: datetime | None = None


def take_events(
    events: Sequence[AnnouncedEvent], *, origin: JobOrigin, only: Set[int] | None = None
) -> Intake:
    """Make a job for every rule that matches an event's object; of the rules `only`, if given."""
    rules_by_bucket = _rules_by_bucket({item.event.bucket for item in events})
    orders: list[JobOrder] = []
    outcomes: list[Outcome] = []
    for item in events:
        event = item.event
        change = event.change
        rules = rules_by_bucket.get(event.bucket, ()) if change is not Change.NOTHING else ()
        matched = [
            JobOrder(rule_id, event.key, item.announced_at, only_tags=change is Change.TAGS)
            for rule_id, keys in rules
            if (only is None or rule_id in only) and keys.matches(event.key)
        ]
        orders += matched
        outcomes.append(Outcome.TAKEN if matched else Outcome.UNMATCHED)
    return Intake(_enqueue(orders, origin=origin), outcomes)


def take_keys(pairs: Iterable[tuple[str, str]], *, only: Set[int] | None = None) -> Intake:
    """Make jobs for (domain, key) pairs; the domain identifies a source.

    With `only`, there are no other rules than these.
    """
    pairs = list(pairs)
    domains = {domain for domain, _ in pairs}
    sources = {
        source.pk: {domain.domain for domain in source.domains.all()}
        for source in Source.objects.filter(domains__domain__in=domains)
        .distinct()
        .prefetch_related("domains")
    }
    enabled = ReplicationRule.objects.filter(enabled=True, source__in=sources)
    rules = [rule for rule in enabled if only is None or rule.pk in only]
    orders: list[JobOrder] = []
    outcomes: list[Outcome] = []
    for domain, key in pairs:
        candidates = [rule for rule in rules if domain in sources[rule.source_id]]
        matched = [rule for rule in candidates if rule.matches(key)]
        orders += [JobOrder(rule.pk, key) for rule in matched]
        if not candidates:
            outcomes.append(Outcome.UNKNOWN_DOMAIN)
        else:
            outcomes.append(Outcome.TAKEN if matched else Outcome.UNMATCHED)
    return Intake(_enqueue(orders, origin=JobOrigin.API), outcomes)


def _enqueue(orders: Sequence[JobOrder], *, origin: JobOrigin) -> list[int]:
    job_ids = enqueue(orders, origin=origin, priority=PRIORITY_EVENT)
    canaries.note_heard(orders, origin=origin)
    return job_ids


def look_again(rule: ReplicationRule, keys: Iterable[str]) -> list[int]:
    """Make a job for each key of the rule, at an operator's request.

    The rule's filters don't apply, but a key that they exclude is only copied, never deleted.

    Raises:
        KeysOutsideRule: some are outside the rule's source prefix; no job is made.
    """
    keys = list(keys)
    check_keys(rule, keys)
    return enqueue(
        [JobOrder(rule.pk, key, ignores_filters=not rule.matches(key)) for key in keys],
        origin=JobOrigin.ADMIN,
        priority=PRIORITY_BULK,
    )


def check_keys(rule: ReplicationRule, keys: Iterable[str]) -> None:
    """Refuse keys that no job of the rule may touch, although a person names them.

    Raises:
        KeysOutsideRule: some are outside the rule's source prefix, or a filter of a public rule
            excludes them.
    """
    keys = list(keys)
    if outside := [key for key in keys if not key.startswith(rule.source_prefix)]:
        raise KeysOutsideRule(rule, outside)
    if rule.acl in PUBLIC_ACLS and (shut := [key for key in keys if not rule.matches(key)]):
        raise KeysOutsideRule(rule, shut)


def _rules_by_bucket(buckets: Set[str]) -> dict[str, list[tuple[int, KeyFilter]]]:
    """The enabled rules of these buckets, as pairs of rule id and key filter.

    Read anew each time, so that a rule that was just enabled gets the next event. In SQL, as the
    ORM takes longer to build the statement than PostgreSQL to answer it.
    """
    rules: dict[str, list[tuple[int, KeyFilter]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source.bucket, rule.id,
                   rule.source_prefix, rule.source_suffix, rule.include, rule.exclude
            FROM replication_replicationrule AS rule
                JOIN replication_source AS source ON source.id = rule.source_id
            WHERE rule.enabled AND source.kind = %s AND source.bucket = ANY(%s)
            """,
            [SourceKind.S3, list(buckets)],
        )
        for bucket, rule_id, *filters in cursor.fetchall():
            rules.setdefault(bucket, []).append((rule_id, key_filter(*filters)))
    return rules
