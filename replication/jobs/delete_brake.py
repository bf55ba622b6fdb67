"""Brakes a rule's deletes when they exceed its limit, until a person confirms them.

Otherwise a bucket that is emptied by mistake, or an expiry with the wrong prefix, would empty the
replica within minutes. A rule with a limit asks here for a permit just before each delete is sent.
The delete that exceeds the limit brakes the rule: this delete and those after it wait, each as a
pending job, while the rule's copies go on. All processes share one count. The brake ends when a
person has confirmed all that waits.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import connection, transaction
from django.db.models.functions import Now

from replication.jobs import delete_permits, held_deletes
from replication.jobs.claiming import ClaimedJob
from replication.jobs.pending_lock import PENDING_LOCK
from replication.models import CompletedMinute, ReplicationRule

log = structlog.get_logger(__name__)

# The percentage of deletes among fewer jobs says nothing.
MIN_JOBS_FOR_PERCENT = 100


@dataclass(frozen=True)
class _Limits:
    name: str
    max_deletes: int | None
    max_percent: int | None
    is_braked: bool

    def room(self, wanted: int, *, deletes: int, jobs: int) -> int:
        """How many of the `wanted` deletes stay within the limits."""
        if self.is_braked:
            return 0
        return next(
            (
                number
                for number in range(wanted)
                if self._exceeds(deletes + number + 1, jobs + number + 1)
            ),
            wanted,
        )

    def _exceeds(self, deletes: int, jobs: int) -> bool:
        if self.max_deletes is not None and deletes > self.max_deletes:
            return True
        return (
            self.max_percent is not None
            and jobs >= MIN_JOBS_FOR_PERCENT
            and deletes * 100 > self.max_percent * jobs
        )


def ask(wanting: Iterable[tuple[ClaimedJob, ReplicationRule]]) -> set[int]:
    """Return the ids of the running jobs that may delete now; the caller must hold the others.

    Asking twice for the same job counts once.
    """
    permitted: set[int] = set()
    of_rules: dict[int, list[ClaimedJob]] = defaultdict(list)
    for job, rule in wanting:
        if rule.has_brake:
            of_rules[job.rule_id].append(job)
        else:
            permitted.add(job.id)
    for rule_id, of_rule in of_rules.items():
        with transaction.atomic():
            permitted |= _ask(rule_id, of_rule)
    return permitted


def end(rule_id: int) -> bool:
    """End the rule's brake and restart its count; only if none of its deletes is held any longer.
    Returns whether the brake ended."""
    braked = ReplicationRule.objects.filter(pk=rule_id, braked_at__isnull=False)
    charged = CompletedMinute.objects.filter(rule=rule_id, charged_deletes__gt=0)
    with transaction.atomic(), connection.cursor() as cursor:
        ended = bool(braked.update(braked_at=None))
        charged.update(charged_deletes=0)
        # The lock comes after the rows: jobs.complete takes them in this order too. Until the
        # commit no job can be held, so that none is held by a brake that has ended.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        if not ended or held_deletes.count(rule_id):
            transaction.set_rollback(True)
            return False
    return True


def _ask(rule_id: int, wanting: Sequence[ClaimedJob]) -> set[int]:
    limits = _lock_limits(rule_id)
    permitted = delete_permits.permitted_deletes(wanting)
    asking = [job for job in wanting if job.id not in permitted]
    deletes, traffic = _last_hour(rule_id)
    room = limits.room(len(asking), deletes=deletes, jobs=traffic)
    if room < len(asking) and not limits.is_braked:
        ReplicationRule.objects.filter(pk=rule_id).update(braked_at=Now())
        log.error("rule.deletes_braked", rule=limits.name, deletes=deletes + room, jobs=traffic)
    return permitted | delete_permits.grant_deletes(asking[:room])


def _lock_limits(rule_id: int) -> _Limits:
    """Read the limits under a lock: one process asks for a rule at a time.

    The lock does not block processes that enqueue or claim jobs of the rule.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT name, max_deletes_per_hour, max_delete_percent, braked_at IS NOT NULL
            FROM replication_replicationrule WHERE id = %s FOR NO KEY UPDATE
            """,
            [rule_id],
        )
        return _Limits(*cursor.fetchone())


def _last_hour(rule_id: int) -> tuple[int, int]:
    """The rule's deletes that count (done or granted), and its completed jobs plus granted deletes.

    Jobs that a comparison of buckets asked for are left out: a backfill must not disarm the brake.

    Counts whole minutes, which makes the hour 60 to 61 minutes long. One statement counts done and
    granted deletes, so that a delete that is completed meanwhile is not missed.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH done AS (
                SELECT coalesce(sum(charged_deletes), 0) AS deletes,
                       coalesce(sum(jobs - swept_jobs), 0) AS jobs
                FROM replication_completedminute
                WHERE rule_id = %(rule)s
                  AND minute >= date_trunc('minute', now()) - interval '1 hour'
            ), granted AS (
                SELECT (SELECT count(*) FROM replication_transferjob
                        WHERE rule_id = %(rule)s AND state = 'running'
                          AND delete_permit = 'granted')
                     + (SELECT count(*) FROM replication_transferjob
                        WHERE rule_id = %(rule)s AND state = 'pending'
                          AND delete_permit = 'granted') AS deletes
            )
            SELECT done.deletes + granted.deletes, done.jobs + granted.deletes FROM done, granted
            """,
            {"rule": rule_id},
        )
        deletes, traffic = cursor.fetchone()
        return deletes, traffic
