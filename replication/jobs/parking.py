"""Parks a rule whose errors need a person, probes it now and then, and resumes it automatically.

A wrong secret or a missing grant makes every object of a rule fail. After a few such errors in a
row the rule is parked: its jobs wait and keep their attempts. Now and then one job is tried as a
probe. When it succeeds, the rule resumes, and its jobs that failed with such an error are retried.
"""

from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet

from replication.errors import MEANINGS, Disposition, ReplicationError
from replication.jobs.claiming import ClaimedJob, claim
from replication.jobs.manual import retry
from replication.models import JobState, ReplicationRule, TransferJob

log = structlog.get_logger(__name__)

PARK_AFTER_ERRORS = 3
# The longer a rule has been parked, the longer the interval between probes, up to this.
MAX_PROBE_SECONDS = 900

_CODES_NEEDING_A_PERSON = [
    code for code, meaning in MEANINGS.items() if meaning.disposition is Disposition.PERSON
]


def note_error(rule_id: int, error: ReplicationError) -> bool:
    """Count an error that needs a person; return whether the rule is parked now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_replicationrule
            SET errors_in_a_row = errors_in_a_row + 1,
                parked_at = CASE WHEN errors_in_a_row + 1 >= %(limit)s
                            THEN COALESCE(parked_at, now()) END,
                probe_at = CASE WHEN errors_in_a_row + 1 >= %(limit)s
                           THEN COALESCE(probe_at, now() + make_interval(secs => %(probe)s)) END,
                parked_code = %(code)s, parked_detail = %(detail)s
            WHERE id = %(rule)s
            RETURNING name, parked_at = now()
            """,
            {
                "limit": PARK_AFTER_ERRORS,
                "probe": settings.S3SYNC.probe_seconds,
                "code": error.code.value,
                "detail": error.detail,
                "rule": rule_id,
            },
        )
        name, parked_just_now = cursor.fetchone()
    if parked_just_now:
        log.error("rule.parked", rule=name, code=error.code.value, detail=error.detail)
    return parked_just_now is not None


def note_success(rule_id: int) -> None:
    """A write for the rule succeeded: reset its error count, and resume it if it was parked."""
    _unpark(ReplicationRule.objects.filter(pk=rule_id))


def resume(rules: QuerySet[ReplicationRule]) -> int:
    """Resume rules that a person paused or errors parked. Returns how many were stopped."""
    stopped = rules.filter(Q(paused_at__isnull=False) | Q(parked_at__isnull=False)).count()
    rules.update(paused_at=None)
    _unpark(rules)
    return stopped


def _unpark(rules: QuerySet[ReplicationRule]) -> None:
    """Reset the error counts; if errors had parked a rule, retry the jobs that failed with them."""
    parked = list(rules.filter(parked_at__isnull=False).values_list("pk", "name"))
    rules.filter(errors_in_a_row__gt=0).update(
        errors_in_a_row=0, parked_at=None, probe_at=None, parked_code="", parked_detail=""
    )
    for rule_id, name in parked:
        retried = retry(_failures_needing_a_person(rule_id))
        log.info("rule.resumed", rule=name, retried=retried)


def claim_probe(lane: UUID, *, lease_seconds: float) -> list[ClaimedJob]:
    """Claim one job of a parked rule whose probe is due; none if there is no such rule."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_replicationrule
            SET probe_at = now() + make_interval(secs => GREATEST(%s, LEAST(%s,
                extract(epoch FROM now() - parked_at) / 2)))
            WHERE id = (
                SELECT id FROM replication_replicationrule
                WHERE enabled AND paused_at IS NULL AND probe_at <= now()
                ORDER BY probe_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id
            """,
            [settings.S3SYNC.probe_seconds, MAX_PROBE_SECONDS],
        )
        row = cursor.fetchone()
    if row is None:
        return []
    [rule_id] = row
    if not TransferJob.objects.filter(rule_id=rule_id, state=JobState.PENDING).exists():
        newest = _failures_needing_a_person(rule_id).order_by("-finalized_at")[:1]
        retry(TransferJob.objects.filter(pk__in=newest.values("pk")))
    return claim(lane, limit=1, lease_seconds=lease_seconds, parked_rule_id=rule_id)


def _failures_needing_a_person(rule_id: int) -> QuerySet[TransferJob]:
    return TransferJob.objects.filter(
        rule_id=rule_id, state=JobState.FAILED, error_code__in=_CODES_NEEDING_A_PERSON
    )
