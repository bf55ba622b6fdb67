"""pending → running: which jobs a lane claims, and how it keeps them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from replication.models import ReplicationRule

# A destination that throttled has a `width`: how many transfers it may have at once. The width
# doubles every WIDTH_DOUBLES_SECONDS, and does not apply any longer after WIDTH_FORGOTTEN_SECONDS.
WIDTH_DOUBLES_SECONDS = 2.0
WIDTH_FORGOTTEN_SECONDS = 30.0  # 2^15 times the width: in effect no limit, and still an integer

# SQL for a row `destination`: whether its width applies, and how many transfers that allows now.
WIDTH_APPLIES = f"destination.width_at > now() - interval '{WIDTH_FORGOTTEN_SECONDS} s'"
WIDTH_NOW = (
    "floor(destination.width * 2 ^ (GREATEST(0, "
    f"extract(epoch FROM now() - destination.width_at)) / {WIDTH_DOUBLES_SECONDS}))"
)


@dataclass(frozen=True)
class ClaimedJob:
    """What a lane needs to know about a job that it has claimed.

    `token` is the fencing token of this claim; no other claim of the job has the same one.
    """

    id: int
    token: int
    rule_id: int
    key: str
    attempt: int
    attempt_limit: int
    started_at: datetime
    rule_version: int  # of the rule as the lane applies it; at first, as it was at the claim
    ignores_filters: bool = False
    only_tags: bool = False
    write_in_doubt_until: datetime | None = None  # if still in the future at the claim
    size_bytes: int | None = None  # of the object, as seen by a lane that handed it over

    @property
    def claim(self) -> tuple[int, int]:
        """The job's id and the fencing token."""
        return self.id, self.token


def claim(
    lane: UUID,
    *,
    limit: int,
    lease_seconds: float,
    room: Mapping[int, int] | None = None,
    only: Collection[int] | None = None,
    known_bytes_at_most: int | None = None,
) -> list[ClaimedJob]:
    """Claim up to `limit` due jobs by priority; within a priority, the first job of each rule, then
    the second of each, so that no rule's backlog holds up another's.

    Claims jobs of rules that are enabled, not paused and not parked, and whose destination is not
    throttled. With `only`, claims no other jobs than these, as probes: also if their rule is parked
    or they are not due. `room` bounds how many jobs of
    each rule are claimed, and so do the limits of the rule and its destination: a caller that must
    not exceed those limits claims through rate_limits.py. `known_bytes_at_most` leaves out jobs
    whose object is known to be larger.

    Never claims a job whose delete a person must confirm. Never claims a job whose key has a
    running job: the pending job waits until the running job is settled.
    """
    if only is None:
        job_may_run, rule_may_run = "available_at <= now()", "rule.parked_at IS NULL"
    else:
        job_may_run, rule_may_run = "waiting.id = ANY(%(only)s)", "true"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH target AS MATERIALIZED (
                -- The destinations, and how many more jobs may write to each, if that is limited.
                SELECT id, LEAST(
                    CASE WHEN {WIDTH_APPLIES} THEN {WIDTH_NOW}
                        - (SELECT count(*) FROM replication_transferjob AS writer
                           JOIN replication_replicationrule AS its_rule
                             ON its_rule.id = writer.rule_id
                           WHERE writer.state = 'running'
                             AND its_rule.destination_id = destination.id) END,
                    floor(max_requests_per_second * extract(epoch FROM
                        now() - GREATEST(requests_paced_until, now() - interval '1 s')))
                )::int AS room
                FROM replication_destination AS destination
                WHERE throttled_until IS NULL OR throttled_until <= now()
            ), due AS MATERIALIZED (
                SELECT id FROM (
                  SELECT *, row_number() OVER (PARTITION BY target_id
                                               ORDER BY priority, turn, available_at) AS target_turn
                  FROM (
                    SELECT job.*, target.id AS target_id, target.room AS target_room,
                           row_number() OVER (PARTITION BY rule.id
                                              ORDER BY priority, available_at) AS turn
                    FROM replication_replicationrule AS rule
                    JOIN target ON target.id = rule.destination_id
                    LEFT JOIN unnest(%(room_rules)s::bigint[], %(rooms)s::int[])
                        AS room (rule_id, jobs) ON room.rule_id = rule.id
                    CROSS JOIN LATERAL (
                        SELECT id, priority, available_at
                        FROM replication_transferjob AS waiting
                        WHERE rule_id = rule.id AND state = 'pending' AND {job_may_run}
                          AND delete_permit <> 'awaited'
                          AND (%(bytes)s IS NULL OR size_bytes IS NULL OR size_bytes <= %(bytes)s)
                          AND NOT EXISTS (
                              SELECT FROM replication_transferjob AS writer
                              WHERE writer.rule_id = waiting.rule_id AND writer.key = waiting.key
                                AND writer.state = 'running')
                        ORDER BY priority, available_at
                        LIMIT GREATEST(0, LEAST(%(limit)s, room.jobs, target.room,
                            CASE WHEN rule.max_concurrency IS NOT NULL THEN rule.max_concurrency
                                - (SELECT count(*) FROM replication_transferjob AS writer
                                   WHERE writer.rule_id = rule.id AND writer.state = 'running')
                            END))
                        FOR UPDATE SKIP LOCKED
                    ) AS job
                    WHERE rule.enabled AND rule.paused_at IS NULL
                      AND {rule_may_run}
                  ) AS of_rules
                ) AS of_targets
                WHERE target_room IS NULL OR target_turn <= target_room
                ORDER BY priority, turn, available_at
                LIMIT %(limit)s
            )
            UPDATE replication_transferjob AS job
            SET state = 'running', claimed_by = %(lane)s, started_at = now(),
                token = job.token + 1,
                lease_expires_at = now() + make_interval(secs => %(lease)s)
            FROM due, replication_replicationrule AS rule
            WHERE job.id = due.id AND rule.id = job.rule_id
            RETURNING job.id, job.token, job.rule_id, job.key, job.attempt, job.attempt_limit,
                job.started_at, rule.version, job.ignores_filters, job.only_tags,
                CASE WHEN job.write_in_doubt_until > now() THEN job.write_in_doubt_until END,
                job.size_bytes
            """,  # noqa: S608 - inserts our own constants only
            {
                "limit": limit,
                "lane": lane,
                "lease": lease_seconds,
                "room_rules": list(room or ()),
                "rooms": list((room or {}).values()),
                "only": list(only or ()),
                "bytes": known_bytes_at_most,
            },
        )
        return [ClaimedJob(*row) for row in cursor.fetchall()]


def outdated(claimed: Collection[ClaimedJob]) -> set[tuple[int, int]]:
    """The claims, as (id, token), whose rule was changed since the lane read it."""
    rules = ReplicationRule.objects.filter(pk__in={job.rule_id for job in claimed})
    versions = dict(rules.values_list("pk", "version"))
    return {job.claim for job in claimed if versions.get(job.rule_id) != job.rule_version}


def extend_leases(
    lane: UUID, held: Collection[ClaimedJob], *, lease_seconds: float
) -> set[tuple[int, int]]:
    """Extend the leases of the jobs that the lane still holds; return their (id, token).

    Jobs of a claim whose answer was lost are unknown to the lane: their leases expire, and they are
    rescued.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_transferjob AS job
            SET lease_expires_at = now() + make_interval(secs => %s)
            FROM unnest(%s::bigint[], %s::int[]) AS held (id, token)
            WHERE job.id = held.id AND job.token = held.token
              AND job.state = 'running' AND job.claimed_by = %s
            RETURNING job.id, job.token
            """,
            [lease_seconds, [job.id for job in held], [job.token for job in held], lane],
        )
        return set(cursor.fetchall())
