"""From the database to the legs of each rule's road: what stands on what, and in which order.

First the ways to each place, then as whom we come there, then the rest: so a cause is said once,
and what stands on it is not looked at. The database is read here, before any thread is started.
"""

from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Max

from replication.intake.signed_calls import lambda_heard_at
from replication.models import (
    Destination,
    EventQueue,
    JobOrigin,
    ReplicationRule,
    Source,
    SourceKind,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.tools.doctor.aws import is_of_aws
from replication.tools.doctor.connectivity import (
    as_whom_in_aws,
    as_whom_in_oss,
    way_to_destination,
    way_to_queue,
    way_to_source,
)
from replication.tools.doctor.destination import CONTENT, examine_destination, probe_key
from replication.tools.doctor.event_delivery import Heard, examine_announcements
from replication.tools.doctor.findings import Check, Examined, Leg, warned
from replication.tools.doctor.queue import Polled, examine_queue
from replication.tools.doctor.runner import LEG_SECONDS, run
from replication.tools.doctor.service import examine_installation, examine_life, examine_targets
from replication.tools.doctor.source import examine_source

# Of the history only its newest end is read, whatever its length.
_NEWEST_JOBS = 10_000

Legs = dict[Hashable, Leg]


def examine(
    rules: Sequence[str] = (), *, administrator: str = "", seconds: float = LEG_SECONDS
) -> list[Examined]:
    """Everything that can be told, in the order of the road.

    Args:
        rules: the names of the rules to look at, disabled ones too; none: all that are enabled.
        administrator: a credential profile that may read what the service need not: a queue's
            attributes and a bucket's notifications.
        seconds: how long each leg may take.

    Raises:
        UnknownRule: one of the names is no rule's.
    """
    installation = Examined("the service", "", tuple(examine_installation()))
    if installation.has_failed:
        return [installation]
    return [installation, *_Roads(_rules(rules), administrator, seconds).walk()]


class UnknownRule(Exception):
    """There is no rule of this name; the text says which there are."""


def _rules(names: Sequence[str]) -> list[ReplicationRule]:
    rules = ReplicationRule.objects.select_related("source", "destination").order_by("name")
    rules = rules.prefetch_related("source__domains")  # threads shall ask for nothing more
    if not names:
        return list(rules.filter(enabled=True))
    by_name = {rule.name: rule for rule in rules}
    for name in names:
        if name not in by_name:
            raise UnknownRule(
                f"there is no rule named {name!r}; there are: {', '.join(by_name) or 'none'}"
            )
    return [by_name[name] for name in dict.fromkeys(names)]


class _Roads:
    """The roads of these rules."""

    def __init__(
        self, rules: Sequence[ReplicationRule], administrator: str, seconds: float
    ) -> None:
        self._rules = rules
        self._administrator = administrator
        self._seconds = seconds
        self._status = read_status()
        self._heard = _heard(rules, now=self._status.generated_at)
        self._polled_queues = list(EventQueue.objects.filter(enabled=True))
        regions = {rule.source.region for rule in rules if rule.source.kind == SourceKind.S3}
        self._queues = [row for row in self._polled_queues if row.region in regions]

    def walk(self) -> list[Examined]:
        """All that is found, the most general first."""
        life = tuple(examine_life(self._status, {rule.name for rule in self._rules}))
        life += tuple(examine_targets())
        if not self._rules:
            fix = "Apply a rules file (manage.py applyrules), or make or enable one in the admin."
            life += (warned(Check.RULES, "there is no rule that is enabled", fix=fix),)
        ways = run(self._ways(), after={}, seconds=self._seconds)
        identities = run(self._identities(ways), after=ways, seconds=self._seconds)
        rest = run(self._rest(), after={**ways, **identities}, seconds=self._seconds)
        of_all = [*ways.values(), *identities.values(), *rest.values()]
        return [Examined("the cluster", "", life), *of_all]

    def _ways(self) -> Legs:
        legs: Legs = {}
        for rule in self._rules:
            source, destination = rule.source, rule.destination
            if source.kind == SourceKind.S3:
                place = f"the way to S3 ({source.endpoint_url or source.region})"
                legs[_way(source)] = Leg(place, "", partial(way_to_source, source))
            place = f"the way to OSS ({destination.endpoint}, {destination.region})"
            legs[_way(destination)] = Leg(place, "", partial(way_to_destination, destination))
        for row in self._queues:
            legs[_way(row)] = Leg(f"the way to queue {row.name}", "", partial(way_to_queue, row))
        return legs

    def _identities(self, ways: dict[Hashable, Examined]) -> Legs:
        """Not looked at where no way leads to what they are for: a wrong clock has them refused."""
        legs: Legs = {}
        for place in self._aws_places():
            for profile in self._profiles(place):
                key = ("aws", profile, place.region)
                if key in legs and ways[_way(place)].has_failed:
                    continue
                url = place.endpoint_url if isinstance(place, Source) else place.url
                look = partial(
                    as_whom_in_aws,
                    profile,
                    region=place.region,
                    is_of_aws=not url or is_of_aws(url),
                )
                where = f"as whom in AWS (profile {profile}, {place.region})"
                legs[key] = Leg(where, "", look, stands_on=(_way(place),))
        for rule in self._rules:
            destination = rule.destination
            where = f"as whom in OSS (destination {destination.name})"
            legs["oss", destination.pk] = Leg(
                where,
                "",
                partial(as_whom_in_oss, destination),
                stands_on=(_way(destination),),
            )
        return legs

    def _rest(self) -> Legs:
        legs: Legs = {}
        for row in self._queues:
            look = partial(examine_queue, row, self._polled(row), administrator=self._administrator)
            legs["queue", row.pk] = Leg(f"queue {row.name}", "", look, self._on(row))
        for rule in self._rules:
            legs["source", rule.pk] = Leg(
                f"rule {rule.name}: source {rule.source.name}",
                rule.name,
                partial(examine_source, rule),
                self._on(rule.source),
            )
            legs["announcements", rule.pk] = Leg(
                f"rule {rule.name}: how it hears of changes",
                rule.name,
                partial(
                    examine_announcements,
                    rule,
                    self._polled_queues,
                    self._heard.get(rule.pk, Heard()),
                    administrator=self._administrator,
                ),
                (*self._on(rule.source), *self._on_its_queue(rule.source)),
            )
            key = probe_key(rule)
            legs["destination", rule.pk] = Leg(
                f"rule {rule.name}: destination {rule.destination.name}",
                rule.name,
                partial(examine_destination, rule, key),
                (_way(rule.destination), ("oss", rule.destination.pk)),
                leaves=f"the {len(CONTENT)} bytes of {key!r} may be left there",
            )
        return legs

    def _on(self, place: Source | EventQueue) -> tuple[Hashable, ...]:
        """What stands between us and a place of AWS's."""
        if isinstance(place, Source) and place.kind == SourceKind.HTTP:
            return ()
        return (
            _way(place),
            *(("aws", profile, place.region) for profile in self._profiles(place)),
        )

    def _on_its_queue(self, source: Source) -> tuple[Hashable, ...]:
        """The way to the only queue that can hear of a source, if there is but one."""
        near = [row for row in self._queues if row.region == source.region]
        return (_way(near[0]),) if len(near) == 1 and source.kind == SourceKind.S3 else ()

    def _aws_places(self) -> list[Source | EventQueue]:
        sources = [rule.source for rule in self._rules if rule.source.kind == SourceKind.S3]
        return [*sources, *self._queues]

    def _profiles(self, place: Source | EventQueue) -> list[str]:
        return list(filter(None, [place.credential_profile, self._administrator]))

    def _polled(self, row: EventQueue) -> Polled:
        ago = _seconds_since(row.last_polled_at, self._status.generated_at)
        return Polled(ago, row.last_error)


def _way(place: Source | EventQueue | Destination) -> Hashable:
    if isinstance(place, Source):
        return ("s3", place.endpoint_url, place.region)
    if isinstance(place, EventQueue):
        return ("sqs", place.pk)
    return ("oss", place.endpoint, place.region, place.addressing)


def _heard(rules: Sequence[ReplicationRule], *, now: datetime) -> dict[int, Heard]:
    """When each rule was last heard of, by its primary key."""
    newest = TransferJob.objects.order_by("-pk").values("pk")[:_NEWEST_JOBS]
    rows = (
        TransferJob.objects.filter(pk__in=newest, rule__in=rules)
        .values_list("rule", "origin")
        .annotate(last=Max("enqueued_at"))
        .order_by()
    )
    last = {(rule, origin): at for rule, origin, at in rows}
    by_lambda = _seconds_since(lambda_heard_at(), now)
    return {
        rule.pk: Heard(
            _seconds_since(last.get((rule.pk, JobOrigin.EVENT)), now),
            _seconds_since(last.get((rule.pk, JobOrigin.API)), now),
            by_lambda,
        )
        for rule in rules
    }


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment) / timedelta(seconds=1))
