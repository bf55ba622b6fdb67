"""Events → rules → jobs. When it returns, the jobs are committed (or are part of the caller's
transaction)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from replication.events import ObjectEvent
from replication.jobs import PRIORITY_BULK, PRIORITY_EVENT, JobOrder, enqueue
from replication.models import JobOrigin, ReplicationRule, Source, SourceKind


@dataclass(frozen=True)
class Intake:
    """What came of some events: the jobs, and how many records no rule asks for."""

    job_ids: list[int]
    unmatched: int


class UnknownDomain(Exception):
    """No source has this domain, or no enabled rule replicates that source."""

    def __init__(self, domain: str) -> None:
        super().__init__(
            f"no enabled rule has a source with the domain {domain!r}: "
            "add the domain to a source, and a rule to the source"
        )
        self.domain = domain


@dataclass(frozen=True)
class AnnouncedEvent:
    """An event, and when its announcement was sent; None where the sender does not say."""

    event: ObjectEvent
    announced_at: datetime | None = None


def take_events(events: Sequence[AnnouncedEvent], *, origin: JobOrigin) -> Intake:
    """Make a job for every rule that asks for an event's object."""
    rules = _enabled_rules(
        source__kind=SourceKind.S3, source__bucket__in={item.event.bucket for item in events}
    )
    orders: list[JobOrder] = []
    unmatched = 0
    for item in events:
        event = item.event
        asking = [
            rule
            for rule in rules
            if event.is_change and rule.source.bucket == event.bucket and rule.matches(event.key)
        ]
        orders += [JobOrder(rule.id, event.key, item.announced_at) for rule in asking]
        unmatched += not asking
    return Intake(enqueue(orders, origin=origin, priority=PRIORITY_EVENT), unmatched)


def take_keys(places: Iterable[tuple[str, str]]) -> Intake:
    """Make jobs for (domain, key) pairs: the domain names a source.

    Raises:
        UnknownDomain: for the first domain that no enabled rule's source has; then no job is made.
    """
    places = list(places)
    domains = {domain for domain, _ in places}
    sources = {
        source.pk: {domain.domain for domain in source.domains.all()}
        for source in Source.objects.filter(domains__domain__in=domains)
        .distinct()
        .prefetch_related("domains")
    }
    rules = _enabled_rules(source__in=sources)
    orders: list[JobOrder] = []
    unmatched = 0
    for domain, key in places:
        candidates = [rule for rule in rules if domain in sources[rule.source_id]]
        if not candidates:
            raise UnknownDomain(domain)
        asking = [rule for rule in candidates if rule.matches(key)]
        orders += [JobOrder(rule.pk, key) for rule in asking]
        unmatched += not asking
    return Intake(enqueue(orders, origin=JobOrigin.API, priority=PRIORITY_EVENT), unmatched)


def look_again(rule: ReplicationRule, keys: Iterable[str]) -> list[int]:
    """Make a job for each key of the rule, as an operator asks; its filters do not apply."""
    return enqueue(
        [JobOrder(rule.pk, key) for key in keys], origin=JobOrigin.ADMIN, priority=PRIORITY_BULK
    )


def _enabled_rules(**conditions: object) -> list[ReplicationRule]:
    return list(ReplicationRule.objects.filter(enabled=True, **conditions).select_related("source"))
