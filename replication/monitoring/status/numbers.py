"""The numbers of this moment: pending, running and failed jobs, and live lanes and pollers.

Never reads the history, which has no bound.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any, Literal

from django.db import connection
from django.db.models import Count, F, Q
from django.db.models.functions import Now

from replication.cluster.loops import ALIVE_SECONDS
from replication.intake.signed_calls import lambda_heard_at
from replication.jobs import PRIORITY_SWEEP_FIRST, aborting
from replication.models import (
    ApiToken,
    Canary,
    Circuit,
    EventQueue,
    Heartbeat,
    LoopKind,
    NotificationTarget,
    Sweep,
    SweepState,
)
from replication.models.collisions import Collision, find_collisions, read_rules
from replication.monitoring.status.upkeep import Upkeep, read_upkeep

# Beyond this number, more of them help nobody, and take longer to find.
MAX_COLLISIONS = 100

# No object takes as long as this on a healthy road; the parts of large ones are not counted.
RUNNING_LONG_SECONDS = 3600
HOST_SEEN_MINUTES = 5
TOKEN_ENDS_SOON = timedelta(days=14)


@dataclass(frozen=True)
class OpenJobs:
    """The pending, running and failed jobs of one rule, or of all rules."""

    pending: int
    retrying: int  # pending, and tried before
    deletes_held: int  # pending, waiting for a person
    restoring: int  # pending, waiting for S3
    running: int
    failed: int
    oldest_pending_seconds: float | None  # without deletes_held and restoring

    @classmethod
    def total(cls, rules: Sequence["OpenJobs"]) -> "OpenJobs":
        ages = [jobs.oldest_pending_seconds for jobs in rules]
        return cls(
            pending=sum(jobs.pending for jobs in rules),
            retrying=sum(jobs.retrying for jobs in rules),
            deletes_held=sum(jobs.deletes_held for jobs in rules),
            restoring=sum(jobs.restoring for jobs in rules),
            running=sum(jobs.running for jobs in rules),
            failed=sum(jobs.failed for jobs in rules),
            oldest_pending_seconds=max((age for age in ages if age is not None), default=None),
        )


@dataclass(frozen=True)
class Retrying:
    """Waiting jobs of a rule that ended their last try with the same error."""

    code: str
    jobs: int
    oldest_seconds: float  # since the oldest change that waits for them


@dataclass(frozen=True)
class RuleNumbers:
    id: int
    name: str
    source: str
    destination: str
    enabled: bool
    paused_at: datetime | None
    parked_at: datetime | None  # since it is behind an open circuit; see `parked_code`
    parked_code: str
    braked_at: datetime | None  # since its deletes wait for a person
    running_long: int  # jobs that have run for RUNNING_LONG_SECONDS
    jobs: OpenJobs
    retrying_by_error: Sequence[Retrying] = ()  # the most jobs first


@dataclass(frozen=True)
class QueueStatus:
    """A queue as the pollers last saw it; `depth` is unknown if SQS does not report it."""

    id: int
    name: str
    enabled: bool
    depth: int | Literal["unknown"]
    messages_received: int
    records_unmatched: int
    dead_letters: int
    dead_letters_last_week: int
    last_message_at: datetime | None
    last_polled_at: datetime | None
    last_error: str
    last_error_at: datetime | None


@dataclass(frozen=True)
class HostStatus:
    """The live lanes and pollers of a host."""

    host: str
    lanes: int
    pollers: int
    in_flight: int
    in_flight_limit: int
    last_beat_at: datetime


@dataclass(frozen=True)
class TargetStatus:
    """An enabled notification target that did not accept its last message."""

    name: str
    last_error: str
    last_error_at: datetime | None


@dataclass(frozen=True)
class EndingToken:
    """An API token that ends soon, or has ended lately, and was made to live longer."""

    name: str
    ends_at: datetime


@dataclass(frozen=True)
class Numbers:
    generated_at: datetime  # by the database's clock
    rules: list[RuleNumbers]
    queues: list[QueueStatus]
    hosts: list[HostStatus]
    failing_targets: list[TargetStatus]
    ending_tokens: list[EndingToken]  # the first to end first
    uploads_not_aborted: int  # though they were tried for an hour
    collisions: list[Collision]  # of enabled rules
    open_circuits: list[Circuit]
    sweeps_to_tell: list[Sweep]  # the last scrub of a rule, if it found lost events or failed
    canaries: list[Canary]  # of enabled rules that have one
    upkeep: Upkeep
    lambda_heard_at: datetime | None

    @property
    def lanes_alive(self) -> int:
        return sum(host.lanes for host in self.hosts)

    @property
    def pollers_alive(self) -> int:
        return sum(host.pollers for host in self.hosts)


def read_numbers() -> Numbers:
    """Read everything with thirteen queries, and one more where jobs are being retried.

    The numbers of the jobs are of one moment.
    """
    generated_at, rules = _read_rules()
    hosts = _read_hosts()
    return Numbers(
        generated_at,
        rules,
        queues=_read_queues(),
        hosts=hosts,
        open_circuits=_read_open_circuits(hosts),
        sweeps_to_tell=_read_sweeps_to_tell(),
        canaries=_read_canaries(),
        upkeep=read_upkeep(),
        failing_targets=_read_failing_targets(),
        ending_tokens=_read_ending_tokens(),
        uploads_not_aborted=aborting.count_not_aborted(),
        collisions=_read_collisions(),
        lambda_heard_at=lambda_heard_at(),
    )


def _read_rules() -> tuple[datetime, list[RuleNumbers]]:
    """Return the database's time, and the numbers of each rule in the order of their names."""
    with connection.cursor() as cursor:
        # Each WHERE on jobs repeats the condition of a partial index; `state IN (...)` would not
        # use the index, and would read the whole table.
        cursor.execute(
            """
            WITH failed AS (
                SELECT rule_id, count(*) AS jobs
                FROM replication_transferjob WHERE state = 'failed' GROUP BY rule_id
            )
            SELECT now(), rule.id, rule.name, source.name, destination.name, rule.enabled,
                   rule.paused_at, rule.parked_at, rule.parked_code, rule.braked_at,
                   coalesce(running.long, 0),
                   coalesce(pending.jobs, 0) + coalesce(held.jobs, 0),
                   coalesce(pending.retrying, 0),
                   coalesce(held.jobs, 0), coalesce(pending.restoring, 0),
                   coalesce(running.jobs, 0), coalesce(failed.jobs, 0),
                   extract(epoch FROM now() - pending.oldest_event_at)::float8
            FROM (SELECT) AS always LEFT JOIN (
                replication_replicationrule AS rule
                JOIN replication_source AS source ON source.id = rule.source_id
                JOIN replication_destination AS destination ON destination.id = rule.destination_id
            ) ON true
            -- Rule by rule: this takes a third of the time of one GROUP BY over all rules.
            LEFT JOIN LATERAL (
                SELECT count(*) AS jobs, count(*) FILTER (WHERE attempt > 0) AS retrying,
                       count(*) FILTER (WHERE error_code = 'source_restoring') AS restoring,
                       min(event_at) FILTER (
                           WHERE error_code <> 'source_restoring' AND priority < %s)
                           AS oldest_event_at
                FROM replication_transferjob
                WHERE state = 'pending' AND delete_permit <> 'awaited' AND rule_id = rule.id
            ) AS pending ON true
            LEFT JOIN LATERAL (
                SELECT count(*) AS jobs FROM replication_transferjob
                WHERE state = 'pending' AND delete_permit = 'awaited' AND rule_id = rule.id
            ) AS held ON true
            LEFT JOIN LATERAL (
                SELECT count(*) AS jobs,
                       count(*) FILTER (WHERE started_at < now() - make_interval(secs => %s))
                           AS long
                FROM replication_transferjob WHERE state = 'running' AND rule_id = rule.id
            ) AS running ON true
            LEFT JOIN failed ON failed.rule_id = rule.id
            ORDER BY rule.name
            """,
            [PRIORITY_SWEEP_FIRST, RUNNING_LONG_SECONDS],
        )
        rows = cursor.fetchall()
    rules = []
    for _, *columns in rows:
        about_rule: Any = (*columns[:10], OpenJobs(*columns[10:]))
        if columns[0] is not None:  # without any rule, the only row has just the time
            rules.append(RuleNumbers(*about_rule))
    tried = [rule.id for rule in rules if rule.jobs.retrying or rule.jobs.running]
    retrying = _read_retrying(tried)
    return rows[0][0], [
        replace(rule, retrying_by_error=retrying.get(rule.id, ())) for rule in rules
    ]


def _read_retrying(rule_ids: list[int]) -> dict[int, list[Retrying]]:
    """Return why jobs of these rules are being retried, by the rule's id.

    A job whose next attempt runs still counts: its trouble is not over before it succeeds.
    """
    found: defaultdict[int, list[Retrying]] = defaultdict(list)
    if not rule_ids:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT rule_id, error_code, count(*),
                   extract(epoch FROM now() - min(event_at))::float8
            FROM replication_transferjob
            WHERE (state = 'pending' AND delete_permit <> 'awaited' OR state = 'running')
              AND rule_id = ANY(%s)
              AND attempt > 0 AND error_code <> '' AND error_code <> 'source_restoring'
            GROUP BY rule_id, error_code ORDER BY count(*) DESC, error_code
            """,
            [rule_ids],
        )
        for rule_id, *columns in cursor.fetchall():
            found[rule_id].append(Retrying(*columns))
    return found


def _read_open_circuits(hosts: Iterable[HostStatus]) -> list[Circuit]:
    """Return the open circuits; those of a host only while it is alive."""
    alive = [host.host for host in hosts if host.lanes]
    just_now = Now() - timedelta(minutes=HOST_SEEN_MINUTES)
    opened = Circuit.objects.filter(
        Q(host__in=["", *alive]) | Q(host_seen_at__gt=just_now), opened_at__isnull=False
    )
    return list(opened.order_by("opened_at"))


def _read_sweeps_to_tell() -> list[Sweep]:
    ended = Sweep.objects.filter(
        prefix="",  # of the whole bucket
        state__in=[SweepState.COMPLETED, SweepState.FAILED],
        rule__enabled=True,
    )
    last = ended.order_by("rule_id", "-pk").distinct("rule_id").select_related("rule")
    return [sweep for sweep in last if sweep.lost or sweep.state == SweepState.FAILED]


def _read_canaries() -> list[Canary]:
    canaries = Canary.objects.filter(rule__canary=True, rule__enabled=True)
    return list(canaries.select_related("rule__source").order_by("rule__name"))


def _read_queues() -> list[QueueStatus]:
    last_week = Now() - timedelta(days=7)
    return [
        QueueStatus(
            id=queue.pk,
            name=queue.name,
            enabled=queue.enabled,
            depth="unknown" if queue.depth is None else queue.depth,
            messages_received=queue.messages_received,
            records_unmatched=queue.records_unmatched,
            dead_letters=queue.letters,
            dead_letters_last_week=queue.new_letters,
            last_message_at=queue.last_message_at,
            last_polled_at=queue.last_polled_at,
            last_error=queue.last_error,
            last_error_at=queue.last_error_at,
        )
        for queue in EventQueue.objects.annotate(
            letters=Count("dead_letters"),
            new_letters=Count("dead_letters", Q(dead_letters__received_at__gt=last_week)),
        ).order_by("name")
    ]


def _read_hosts() -> list[HostStatus]:
    alive = Heartbeat.objects.filter(beat_at__gt=Now() - timedelta(seconds=ALIVE_SECONDS))
    by_host = groupby(alive.order_by("host"), key=lambda beat: beat.host)
    return [_host_status(host, list(beats)) for host, beats in by_host]


def _read_failing_targets() -> list[TargetStatus]:
    failing = NotificationTarget.objects.filter(enabled=True, errors_in_a_row__gt=0)
    return [
        TargetStatus(target.name, target.last_error, target.last_error_at)
        for target in failing.order_by("name")
    ]


def _read_ending_tokens() -> list[EndingToken]:
    """Tokens within TOKEN_ENDS_SOON of their end; one made for less time is no news."""
    tokens = ApiToken.objects.filter(
        revoked_at=None,
        ends_at__gt=Now() - TOKEN_ENDS_SOON,
        ends_at__lt=Now() + TOKEN_ENDS_SOON,
        created_at__lt=F("ends_at") - TOKEN_ENDS_SOON,
    )
    ends = tokens.order_by("ends_at", "name").values_list("name", "ends_at")
    return [EndingToken(name, at) for name, at in ends if at]


def _read_collisions() -> list[Collision]:
    return list(islice(find_collisions(read_rules(enabled=True)), MAX_COLLISIONS))


def _host_status(host: str, beats: Sequence[Heartbeat]) -> HostStatus:
    return HostStatus(
        host=host,
        lanes=sum(beat.kind == LoopKind.LANE for beat in beats),
        pollers=sum(beat.kind == LoopKind.POLLER for beat in beats),
        in_flight=sum(beat.in_flight for beat in beats),
        in_flight_limit=sum(beat.in_flight_limit for beat in beats),
        last_beat_at=max(beat.beat_at for beat in beats if beat.beat_at),
    )
