"""Circuits: a fault stops what it concerns, and nothing beside it.

Each error code has a scope: what it may concern at most (errors.Scope). When different keys have
failed in a scope and nothing has succeeded there since, its circuit opens. Jobs behind an open
circuit wait and keep their tries. Now and then a few of them are tried as probes. When one of them
succeeds, the circuit closes and the others go on, at a growing pace.

The circuit of a credential profile concerns one host: the lanes of other hosts go on. Every other
open circuit parks the rules that it concerns, in all lanes at once.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from replication.errors import MEANINGS, Disposition, ErrorCode, ReplicationError, Scope
from replication.jobs.claiming import ClaimedJob, claim
from replication.jobs.manual import retry
from replication.jobs.pending_lock import BATCH, alone
from replication.jobs.waking import wake_lanes
from replication.models import (
    Circuit,
    CircuitScope,
    CircuitSide,
    Job,
    JobState,
    Outcome,
    ReplicationRule,
    SourceKind,
    TransferJob,
)

log = structlog.get_logger(__name__)

# So many different keys must fail before a circuit opens: one refused object fails alone.
OPEN_AFTER_KEYS = 3
# A rule whose circuit was closed by a success is not parked again for this long: its refused
# objects fail alone, and do not stop the objects that can be copied.
RULE_GRACE_SECONDS = 60
# The longer a circuit has been open, the longer the interval between probes, up to these.
MAX_PROBE_SECONDS = 900
MAX_PROBE_SECONDS_OF_OUTAGES = 15
MIN_PROBE_SECONDS = 1
PROBE_JOBS = 3  # the newest, the oldest, and one at random
# After a circuit has closed, its rules get a few places at first, and all after this time.
GROWTH_SECONDS = 10

# PostgreSQL advisory lock: park rules under it, so that two lanes don't undo each other's work.
_PARKING_LOCK = 0x53335333

# The outcomes of jobs that show that a rule works.
WRITTEN = (Outcome.COPIED, Outcome.DELETED, Outcome.UNCHANGED)


@dataclass(frozen=True)
class Place:
    """What a circuit concerns; `name` as in Circuit.place."""

    scope: CircuitScope
    side: CircuitSide
    name: str
    host: str = ""


def place_of(rule: ReplicationRule, scope: CircuitScope, side: CircuitSide, *, host: str) -> Place:
    """The place of this scope that the rule uses."""
    source, destination = rule.source, rule.destination
    if side is CircuitSide.DESTINATION:
        endpoint, bucket, profile = (
            destination.endpoint,
            destination.bucket,
            destination.credential_profile,
        )
    elif source.kind == SourceKind.HTTP:
        endpoint, bucket, profile = source.endpoint_url, "", ""
    else:
        endpoint = source.endpoint_url or f"s3.{source.region}.amazonaws.com"
        bucket, profile = source.bucket, source.credential_profile
    match scope:
        case CircuitScope.RULE:
            return Place(scope, side, str(rule.pk))
        case CircuitScope.BUCKET:
            return Place(scope, side, f"{endpoint}/{bucket}")
        case CircuitScope.ENDPOINT:
            return Place(scope, side, endpoint)
        case CircuitScope.PROFILE:
            return Place(scope, side, profile, host)


def concerns(circuit: Circuit, rule: ReplicationRule) -> bool:
    """Whether the rule uses the circuit's place."""
    scope, side = CircuitScope(circuit.scope), CircuitSide(circuit.side)
    return place_of(rule, scope, side, host=circuit.host).name == circuit.place


def has_circuit(error: ReplicationError) -> bool:
    """Whether the error is evidence about more than its object."""
    waits = {Disposition.RETRY, Disposition.PERSON}
    return bool(error.side) and error.scope is not Scope.OBJECT and error.disposition in waits


@dataclass(frozen=True)
class RecentCircuit:
    """A circuit that matters to this host's lanes."""

    circuit: Circuit
    closed_for_seconds: float  # at the reading; infinite if it never was open

    @property
    def is_open(self) -> bool:
        return self.circuit.opened_at is not None

    @property
    def has_failures(self) -> bool:
        return self.circuit.first_failed_at is not None


def read_recent() -> list[RecentCircuit]:
    """The circuits of this host's lanes with failures, or that closed within GROWTH_SECONDS."""
    found = Circuit.objects.filter(
        Q(first_failed_at__isnull=False)
        | Q(closed_at__gt=Now() - timedelta(seconds=GROWTH_SECONDS)),
        host__in=["", settings.S3SYNC.host_name],
    ).annotate(closed_for=Now() - F("closed_at"))
    return [
        RecentCircuit(one, one.closed_for.total_seconds() if one.closed_for else math.inf)
        for one in found
    ]


# -- failures --------------------------------------------------------------------------------------


def note_error(rule: ReplicationRule, key: str, error: ReplicationError) -> bool:
    """Record the error as evidence about its scope; return whether the circuit is open now.

    Raises:
        ValueError: the error concerns its object alone; see `has_circuit`.
    """
    place = place_of(
        rule,
        CircuitScope(error.scope.value),
        CircuitSide(error.side),
        host=settings.S3SYNC.host_name,
    )
    with transaction.atomic():
        circuit = _add_evidence(place, f"{rule.pk}:{key}", error)
        if circuit.opened_at is not None:
            return True
        if len(circuit.failed_keys) < OPEN_AFTER_KEYS or _may_still_succeed(circuit):
            return False
        _open(circuit)
    log.error("circuit.opened", circuit=str(circuit), code=circuit.code, detail=circuit.detail)
    return True


def _add_evidence(place: Place, key: str, error: ReplicationError) -> Circuit:
    """Lock the place's circuit, and add the failure of this key."""
    [circuit] = Circuit.objects.raw(
        """
        INSERT INTO replication_circuit AS circuit
            (scope, side, place, host, code, detail, failed_keys, first_failed_at)
        VALUES (%s, %s, %s, %s, %s, %s, ARRAY[%s], now())
        ON CONFLICT (scope, side, place, host) DO UPDATE SET
            code = excluded.code, detail = excluded.detail,
            first_failed_at = COALESCE(circuit.first_failed_at, now()),
            failed_keys = CASE
                WHEN cardinality(circuit.failed_keys) >= %s
                     OR circuit.failed_keys @> excluded.failed_keys THEN circuit.failed_keys
                ELSE circuit.failed_keys || excluded.failed_keys END
        RETURNING *
        """,
        [
            *(place.scope.value, place.side.value, place.name, place.host),
            *(error.code.value, error.detail, key),
            OPEN_AFTER_KEYS,
        ],
    )
    return circuit


def _may_still_succeed(circuit: Circuit) -> bool:
    """Whether something succeeded in the circuit's scope, in any lane, since its first failure."""
    if circuit.scope == CircuitScope.PROFILE:
        return False  # a completed job does not say on which host it ran
    just_now = Now() - timedelta(seconds=RULE_GRACE_SECONDS)
    if (
        circuit.scope == CircuitScope.RULE
        and Circuit.objects.filter(pk=circuit.pk, closed_at__gt=just_now).exists()
    ):
        return True
    return Job.objects.filter(
        state=JobState.COMPLETED,
        outcome__in=WRITTEN,
        finalized_at__gt=circuit.first_failed_at,
        rule__in=_rules_behind(circuit),
    ).exists()


def _open(circuit: Circuit) -> None:
    first, _ = _probe_seconds(circuit)
    Circuit.objects.filter(pk=circuit.pk).update(
        opened_at=Now(), probe_at=Now() + timedelta(seconds=first)
    )
    park_rules()


def _rules_behind(circuit: Circuit) -> list[ReplicationRule]:
    rules = ReplicationRule.objects.select_related("source", "destination")
    return [rule for rule in rules if concerns(circuit, rule)]


def park_rules() -> None:
    """Park each rule that is behind an open circuit, and no other rule.

    Call it after a circuit opens or closes, and after edits: an edited rule may use other places.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PARKING_LOCK])
        opened = Circuit.objects.filter(opened_at__isnull=False).order_by("opened_at")
        circuits = list(opened.exclude(scope=CircuitScope.PROFILE))
        for rule in ReplicationRule.objects.select_related("source", "destination"):
            circuit = next((one for one in circuits if concerns(one, rule)), None)
            now = (circuit.opened_at, circuit.code, circuit.detail) if circuit else (None, "", "")
            if (rule.parked_at, rule.parked_code, rule.parked_detail) != now:
                since, code, detail = now
                ReplicationRule.objects.filter(pk=rule.pk).update(
                    parked_at=since, parked_code=code, parked_detail=detail
                )
                event = "rule.parked" if circuit else "rule.resumed"
                log.warning(event, rule=rule.name, code=code, detail=detail)


# -- successes -------------------------------------------------------------------------------------


def note_success(circuits: Iterable[Circuit]) -> None:
    """Something succeeded behind these circuits: forget their failures, and close the open ones."""
    with transaction.atomic():
        failing = list(
            Circuit.objects.select_for_update()
            .filter(pk__in=[one.pk for one in circuits], first_failed_at__isnull=False)
            .order_by("pk")
        )
        opened = [one for one in failing if one.opened_at is not None]
        for these, closed_at in [(failing, F("closed_at")), (opened, Now())]:
            Circuit.objects.filter(pk__in=[one.pk for one in these]).update(
                failed_keys=[],
                first_failed_at=None,
                opened_at=None,
                probe_at=None,
                closed_at=closed_at,
            )
        if opened:
            park_rules()
    for circuit in opened:
        retried = _go_on(circuit)
        log.info("circuit.closed", circuit=str(circuit), code=circuit.code, retried=retried)


def begin_anew_on_this_host() -> None:
    """A cluster starts, and reads its credentials anew: forget that this host's were refused."""
    note_success(Circuit.objects.filter(host=settings.S3SYNC.host_name))


def resume(rules: QuerySet[ReplicationRule]) -> int:
    """Resume rules that a person paused or that are parked. Returns how many were stopped."""
    stopped = rules.filter(Q(paused_at__isnull=False) | Q(parked_at__isnull=False)).count()
    rules.update(paused_at=None)
    chosen = list(rules.select_related("source", "destination"))
    failing = Circuit.objects.filter(first_failed_at__isnull=False)
    note_success(one for one in failing if any(concerns(one, rule) for rule in chosen))
    return stopped


def _go_on(circuit: Circuit) -> int:
    """Make the jobs due that waited behind the circuit, and retry those that failed before it
    opened. Returns how many were retried."""
    rules = _rules_behind(circuit)
    retried = retry(_failed_before_it_opened(circuit, rules))
    _make_due(circuit, rules)
    return retried


def _failed_before_it_opened(
    circuit: Circuit, rules: Sequence[ReplicationRule]
) -> QuerySet[TransferJob]:
    return TransferJob.objects.filter(
        rule__in=rules,
        state=JobState.FAILED,
        error_code__in=_codes_of(circuit),
        finalized_at__gte=circuit.first_failed_at,
    )


def _make_due(circuit: Circuit, rules: Sequence[ReplicationRule]) -> None:
    """End the backoff of the jobs that failed behind the circuit, some at a time."""
    waiting = TransferJob.objects.filter(
        rule__in=rules,
        state=JobState.PENDING,
        error_code__in=_codes_of(circuit),
        available_at__gt=Now(),
    )
    while job_ids := list(waiting.values_list("pk", flat=True)[:BATCH]):
        with alone():
            waiting.filter(pk__in=job_ids).update(available_at=Now())
    wake_lanes()


def _codes_of(circuit: Circuit) -> list[ErrorCode]:
    """The errors that are evidence for circuits of this scope and side."""
    return [
        code
        for code, meaning in MEANINGS.items()
        if meaning.scope.value == circuit.scope
        and ReplicationError(code).side in {circuit.side, ""}  # a profile may be used on both
    ]


# -- probes ----------------------------------------------------------------------------------------


def claim_probes(lane: UUID, *, lease_seconds: float) -> list[ClaimedJob]:
    """Claim a few different jobs behind a circuit whose probe is due; none if there is none."""
    park_rules()  # an edit may have given a rule other places
    circuit = _next_to_probe()
    if circuit is None:
        return []
    rules = [r.pk for r in _rules_behind(circuit) if r.enabled and r.paused_at is None]
    if not (job_ids := _choose(rules)):
        newest = _failed_before_it_opened(circuit, _rules_behind(circuit)).order_by("-finalized_at")
        retry(TransferJob.objects.filter(pk__in=newest.values("pk")[:1]))
        job_ids = _choose(rules)
    if not job_ids:  # the next job that comes is a probe at once
        Circuit.objects.filter(pk=circuit.pk, opened_at__isnull=False).update(
            probe_at=Now() + timedelta(seconds=MIN_PROBE_SECONDS)
        )
        return []
    return claim(lane, limit=PROBE_JOBS, lease_seconds=lease_seconds, only=job_ids)


def _next_to_probe() -> Circuit | None:
    with transaction.atomic():
        circuit = (
            Circuit.objects.select_for_update(skip_locked=True)
            .filter(
                opened_at__isnull=False,
                probe_at__lte=Now(),
                host__in=["", settings.S3SYNC.host_name],
            )
            .annotate(open_for=Now() - F("opened_at"))
            .order_by("probe_at")
            .first()
        )
        if circuit is not None:
            least, most = _probe_seconds(circuit)
            seconds = max(least, min(most, circuit.open_for.total_seconds() / 2))
            Circuit.objects.filter(pk=circuit.pk).update(
                probe_at=Now() + timedelta(seconds=seconds)
            )
    return circuit


def _probe_seconds(circuit: Circuit) -> tuple[float, float]:
    """The first and the longest wait for a probe."""
    if circuit.error.disposition is Disposition.RETRY:
        return MIN_PROBE_SECONDS, MAX_PROBE_SECONDS_OF_OUTAGES
    return settings.S3SYNC.probe_seconds, MAX_PROBE_SECONDS


def _choose(rule_ids: Collection[int]) -> list[int]:
    """The newest waiting job of these rules, the oldest, and one at random."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH waiting AS MATERIALIZED (
                SELECT id FROM replication_transferjob AS job
                WHERE rule_id = ANY(%s) AND state = 'pending' AND delete_permit <> 'awaited'
                  AND error_code <> %s
                  AND NOT EXISTS (
                      SELECT FROM replication_transferjob AS writer
                      WHERE writer.rule_id = job.rule_id AND writer.key = job.key
                        AND writer.state = 'running'))
            SELECT max(id) FROM waiting UNION SELECT min(id) FROM waiting
            UNION (SELECT id FROM waiting ORDER BY random() LIMIT 1)
            """,
            [list(rule_ids), ErrorCode.SOURCE_RESTORING],
        )
        return [job_id for (job_id,) in cursor.fetchall() if job_id is not None]
