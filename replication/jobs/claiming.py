"""pending → running: which jobs a lane claims, and how it keeps them."""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from replication.jobs.choosing import claim_statement
from replication.jobs.turns import Turns, Visit
from replication.models import ReplicationRule

# How often a claim chooses while others take all that it chose, each time from more jobs.
TRIES = 4
WIDENING = 4

# SQL for a row `job` that is one of many, found by their ids. The expression keeps PostgreSQL from
# the index of running jobs, which looks small: while a snapshot is open, it has all that ran since.
RUNS = "job.state || '' = 'running'"

# The place in a row of the statement: after the visit, before the job.
_DUE = len(Visit._fields)


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
    turns: Turns | None = None,
) -> list[ClaimedJob]:
    """Claim up to `limit` due jobs by priority; within a priority, the oldest job of each rule,
    then the second of each, so that no rule's backlog holds up another's.

    What holds for each claim: no job goes before a due job of a higher priority, nor before an
    older one of its rule and priority; unless claims are slow (see Turns), and the older one came a
    moment ago. What holds over several claims: rules with due jobs of a priority get the same
    number. A claim for fewer jobs than there are such rules serves the next ones in turn, after
    those that this lane's last claim served; `turns` remembers them. So among rules the oldest job
    need not go first.

    Other lanes may take jobs while this one chooses. If they take all that it chose, it chooses
    again, from more jobs; if they take some, it returns the rest.

    Claims jobs of rules that are enabled, not paused and not parked, and whose destination is not
    throttled. With `only`, claims no other jobs than these, as probes: also if their rule is parked
    or they are not due. `room` bounds how many jobs of each rule are claimed, and so do the limits
    of the rule and its destination: a caller that must not exceed those limits claims through
    rate_limits.py. `known_bytes_at_most` leaves out jobs whose object is known to be larger.

    Never claims a job whose delete a person must confirm. Never claims a job whose key has a
    running job: the pending job waits until the running job is settled.
    """
    turns = turns or Turns()
    room = room or {}
    for number in range(TRIES):
        turns.forget_old()
        choice = limit * WIDENING**number
        parameters: dict[str, Any] = {
            "limit": limit,
            "choice": choice,
            "lane": lane,
            "lease": lease_seconds,
            # Of thousands of rules, only those that it binds.
            "room": json.dumps({rule_id: jobs for rule_id, jobs in room.items() if jobs < choice}),
            "after": json.dumps(turns.after),
            "begin": turns.begin(room),
            "reached": json.dumps(
                [
                    {"priority": priority, "rule_id": rule_id, "since": since.isoformat()}
                    for (priority, rule_id), since in turns.reached.items()
                ]
            ),
            "only": list(only or ()),
            "bytes": known_bytes_at_most,
        }
        statement = claim_statement(is_probe=only is not None, from_reached=bool(turns.reached))
        began = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows = cursor.fetchall()
        seconds = time.monotonic() - began
        taken = [row for row in rows if row[_DUE] is not None]
        turns.note(
            [(Visit(*row[:_DUE]), row[_DUE]) for row in taken],
            is_short=len(taken) < limit,
            seconds=seconds,
        )
        if taken or not (rows or turns.may_have_missed):
            break
    return [ClaimedJob(*row[_DUE + 1 :]) for row in taken]


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
            f"""
            UPDATE replication_transferjob AS job
            SET lease_expires_at = now() + make_interval(secs => %s)
            FROM unnest(%s::bigint[], %s::int[]) AS held (id, token)
            WHERE job.id = held.id AND job.token = held.token
              AND {RUNS} AND job.claimed_by = %s
            RETURNING job.id, job.token
            """,  # noqa: S608 - inserts our own constants only
            [lease_seconds, [job.id for job in held], [job.token for job in held], lane],
        )
        return set(cursor.fetchall())
