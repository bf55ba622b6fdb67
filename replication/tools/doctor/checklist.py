"""The checklist of a set of rules: which checks run, in which order, and what each depends on.

Endpoints come first, then identities, then the rest. So a cause is reported once, and the checks
that depend on it are skipped. The database is read here, before any thread starts.
"""

from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta
from functools import partial

from replication.intake.signed_calls import lambda_heard_at
from replication.models import (
    Destination,
    EventQueue,
    Job,
    JobOrigin,
    ReplicationRule,
    Source,
    SourceKind,
)
from replication.monitoring.status import read_status
from replication.tools.doctor.aws import is_aws_url
from replication.tools.doctor.connectivity import (
    check_aws_identity,
    check_destination_endpoint,
    check_oss_identity,
    check_queue_endpoint,
    check_source_endpoint,
)
from replication.tools.doctor.destination import CONTENT, check_destination, probe_key
from replication.tools.doctor.event_delivery import LastEvents, check_event_delivery
from replication.tools.doctor.findings import Check, CheckGroup, CheckResults, warned
from replication.tools.doctor.queue import LastPoll, check_queue
from replication.tools.doctor.runner import GROUP_SECONDS, run
from replication.tools.doctor.service import (
    check_cluster,
    check_installation,
    check_notification_targets,
)
from replication.tools.doctor.source import check_source
from replication.transfer.capabilities import LearnedOf

# Only the newest jobs are read, however long the history is.
_NEWEST_JOBS = 10_000

Groups = dict[Hashable, CheckGroup]


def examine(
    rules: Sequence[str] = (), *, administrator: str = "", seconds: float = GROUP_SECONDS
) -> list[CheckResults]:
    """Run all checks; the results are in the checklist's order.

    Args:
        rules: the names of the rules to check, enabled or not; empty: all enabled rules.
        administrator: a credential profile that may read what the service need not read: a queue's
            attributes and a bucket's notifications.
        seconds: how long each group of checks may take.

    Raises:
        UnknownRule: there is no rule of one of these names.
    """
    installation = CheckResults("the service", "", tuple(check_installation()))
    if installation.has_failed:
        return [installation]
    return [installation, *_Checklist(_rules(rules), administrator, seconds).run()]


class UnknownRule(Exception):
    """There is no rule of this name; the text lists the rules that exist."""


def _rules(names: Sequence[str]) -> list[ReplicationRule]:
    rules = ReplicationRule.objects.select_related("source", "destination").order_by("name")
    rules = rules.prefetch_related("source__domains")  # the threads must not query the database
    if not names:
        return list(rules.filter(enabled=True))
    by_name = {rule.name: rule for rule in rules}
    for name in names:
        if name not in by_name:
            raise UnknownRule(
                f"there is no rule named {name!r}; there are: {', '.join(by_name) or 'none'}"
            )
    return [by_name[name] for name in dict.fromkeys(names)]


class _Checklist:
    """The checks of these rules."""

    def __init__(
        self, rules: Sequence[ReplicationRule], administrator: str, seconds: float
    ) -> None:
        self._rules = rules
        self._administrator = administrator
        self._seconds = seconds
        self._status = read_status()
        self._learned: list[LearnedOf] = []  # the groups' threads append to it
        self._last_events = _last_events(rules, now=self._status.generated_at)
        self._polled_queues = list(EventQueue.objects.filter(enabled=True))
        regions = {rule.source.region for rule in rules if rule.source.kind == SourceKind.S3}
        self._queues = [row for row in self._polled_queues if row.region in regions]

    def run(self) -> list[CheckResults]:
        """All results, the most general first."""
        cluster = tuple(check_cluster(self._status, {rule.name for rule in self._rules}))
        cluster += tuple(check_notification_targets())
        if not self._rules:
            fix = "Apply a rules file (manage.py applyrules), or add or enable a rule in the admin."
            found = "there is no enabled rule, so nothing is replicated"
            cluster += (warned(Check.RULES, found, fix=fix),)
        endpoints = run(self._endpoints(), earlier={}, seconds=self._seconds)
        identities = run(self._identities(endpoints), earlier=endpoints, seconds=self._seconds)
        rest = run(self._rest(), earlier={**endpoints, **identities}, seconds=self._seconds)
        for learned in list(self._learned):
            learned.record()
        groups = [*endpoints.values(), *identities.values(), *rest.values()]
        return [CheckResults("the cluster", "", cluster), *groups]

    def _endpoints(self) -> Groups:
        groups: Groups = {}
        for rule in self._rules:
            source, destination = rule.source, rule.destination
            if source.kind == SourceKind.S3:
                groups[_endpoint_key(source)] = CheckGroup(
                    f"S3 endpoint ({source.endpoint_url or source.region})",
                    "",
                    partial(check_source_endpoint, source),
                )
            groups[_endpoint_key(destination)] = CheckGroup(
                f"OSS endpoint ({destination.endpoint}, {destination.region})",
                "",
                partial(check_destination_endpoint, destination),
            )
        for row in self._queues:
            groups[_endpoint_key(row)] = CheckGroup(
                f"SQS endpoint of queue {row.name}", "", partial(check_queue_endpoint, row)
            )
        return groups

    def _identities(self, endpoints: dict[Hashable, CheckResults]) -> Groups:
        """One group for each identity, which depends on an endpoint that the identity is used at.

        Of several endpoints, one that did not fail is preferred. Where all failed, the check is
        skipped: a wrong clock, for example, makes AWS refuse good credentials.
        """
        groups: Groups = {}
        for location in self._aws_locations():
            for profile in self._profiles(location):
                key = ("aws", profile, location.region)
                if key in groups and endpoints[_endpoint_key(location)].has_failed:
                    continue
                url = location.endpoint_url if isinstance(location, Source) else location.url
                groups[key] = CheckGroup(
                    f"AWS identity (profile {profile}, {location.region})",
                    "",
                    partial(
                        check_aws_identity,
                        profile,
                        region=location.region,
                        is_aws=not url or is_aws_url(url),
                    ),
                    depends_on=(_endpoint_key(location),),
                )
        for rule in self._rules:
            destination = rule.destination
            groups["oss", destination.pk] = CheckGroup(
                f"OSS identity (destination {destination.name})",
                "",
                partial(check_oss_identity, destination),
                depends_on=(_endpoint_key(destination),),
            )
        return groups

    def _rest(self) -> Groups:
        groups: Groups = {}
        for row in self._queues:
            groups["queue", row.pk] = CheckGroup(
                f"queue {row.name}",
                "",
                partial(check_queue, row, self._last_poll(row), administrator=self._administrator),
                self._needed_for(row),
            )
        for rule in self._rules:
            groups["source", rule.pk] = CheckGroup(
                f"rule {rule.name}: source {rule.source.name}",
                rule.name,
                partial(check_source, rule),
                self._needed_for(rule.source),
            )
            groups["event delivery", rule.pk] = CheckGroup(
                f"rule {rule.name}: event delivery",
                rule.name,
                partial(
                    check_event_delivery,
                    rule,
                    self._polled_queues,
                    self._last_events.get(rule.pk, LastEvents()),
                    administrator=self._administrator,
                ),
                (*self._needed_for(rule.source), *self._endpoint_of_only_queue(rule.source)),
            )
            key = probe_key(rule)
            groups["destination", rule.pk] = CheckGroup(
                f"rule {rule.name}: destination {rule.destination.name}",
                rule.name,
                partial(check_destination, rule, key, self._learned.append),
                (_endpoint_key(rule.destination), ("oss", rule.destination.pk)),
                leaves_behind=f"the object {key!r} ({len(CONTENT)} bytes) may be left behind",
            )
        return groups

    def _needed_for(self, location: Source | EventQueue) -> tuple[Hashable, ...]:
        """The keys of the groups that must not fail for a bucket or queue of AWS to be checked."""
        if isinstance(location, Source) and location.kind == SourceKind.HTTP:
            return ()
        return (
            _endpoint_key(location),
            *(("aws", profile, location.region) for profile in self._profiles(location)),
        )

    def _endpoint_of_only_queue(self, source: Source) -> tuple[Hashable, ...]:
        """The endpoint of the queue that the source can notify, if there is exactly one."""
        near = [row for row in self._queues if row.region == source.region]
        is_only = len(near) == 1 and source.kind == SourceKind.S3
        return (_endpoint_key(near[0]),) if is_only else ()

    def _aws_locations(self) -> list[Source | EventQueue]:
        sources = [rule.source for rule in self._rules if rule.source.kind == SourceKind.S3]
        return [*sources, *self._queues]

    def _profiles(self, location: Source | EventQueue) -> list[str]:
        return list(filter(None, [location.credential_profile, self._administrator]))

    def _last_poll(self, row: EventQueue) -> LastPoll:
        ago = _seconds_since(row.last_polled_at, self._status.generated_at)
        return LastPoll(ago, row.last_error)


def _endpoint_key(location: Source | EventQueue | Destination) -> Hashable:
    if isinstance(location, Source):
        return ("s3", location.endpoint_url, location.region)
    if isinstance(location, EventQueue):
        return ("sqs", location.pk)
    return ("oss", location.endpoint, location.region, location.addressing)


def _last_events(rules: Sequence[ReplicationRule], *, now: datetime) -> dict[int, LastEvents]:
    """When the last events of each rule arrived, by the rule's primary key."""
    newest = Job.objects.order_by("-pk").values_list("rule_id", "origin", "enqueued_at")
    last: dict[tuple[int, str], datetime] = {}
    for rule_id, origin, at in newest[:_NEWEST_JOBS]:
        last[rule_id, origin] = max(at, last.get((rule_id, origin), at))
    lambda_seconds = _seconds_since(lambda_heard_at(), now)
    return {
        rule.pk: LastEvents(
            _seconds_since(last.get((rule.pk, JobOrigin.EVENT)), now),
            _seconds_since(last.get((rule.pk, JobOrigin.API)), now),
            lambda_seconds,
        )
        for rule in rules
    }


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment) / timedelta(seconds=1))
