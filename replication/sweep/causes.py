"""Says why a key differs, by what its jobs tell of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from django.db import connection

from replication.models import JobState, ReplicationRule
from replication.sweep.judging import CLOCK_SKEW, Judgement, Verdict

# An event may take a minute or more, and the copy some seconds.
GRACE = timedelta(minutes=5)


class Cause(StrEnum):
    """Why a key is missing, different or extra. The values are printed, and part of the JSON."""

    PENDING = "a job is waiting or running"
    RECENT = "it changed just now"
    FAILED = "its last job failed"
    LOST = "no event told of its last change"
    CHANGED_SINCE = "the replica was changed after it was served"
    OLDER = "it is older than the rule"


class _Job(NamedTuple):
    state: str
    error_code: str
    enqueued_at: datetime


def causes_of(rule: ReplicationRule, found: Sequence[Judgement]) -> dict[str, tuple[Cause, str]]:
    """The cause for each key, and the error's code if its last job failed."""
    jobs = _last_jobs(rule, [one.pair.key for one in found])
    now = datetime.now(UTC)
    return {one.pair.key: _cause(rule, one, jobs.get(one.pair.key, []), now) for one in found}


def _cause(
    rule: ReplicationRule, found: Judgement, jobs: list[_Job], now: datetime
) -> tuple[Cause, str]:
    source = found.pair.source
    changed_at = datetime.fromisoformat(source.modified) if source is not None else None
    if any(job.state in {JobState.PENDING, JobState.RUNNING} for job in jobs):
        return Cause.PENDING, ""
    if changed_at is not None and now - changed_at < GRACE:
        return Cause.RECENT, ""
    if not jobs:
        is_older = changed_at is None or changed_at < rule.created_at
        return (Cause.OLDER if is_older else Cause.LOST), ""
    last = max(jobs, key=attrgetter("enqueued_at"))
    was_told = changed_at is None or last.enqueued_at >= changed_at - CLOCK_SKEW
    if was_told and last.state == JobState.FAILED:
        return Cause.FAILED, last.error_code
    # A listing does not say when an extra replica's object was deleted.
    is_served = was_told and found.verdict is not Verdict.EXTRA
    return (Cause.CHANGED_SINCE if is_served else Cause.LOST), ""


def _last_jobs(rule: ReplicationRule, keys: list[str]) -> dict[str, list[_Job]]:
    """The last job of each state, by key."""
    jobs: dict[str, list[_Job]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT ON (key, state) key, state, error_code, enqueued_at
            FROM replication_transferjob WHERE rule_id = %s AND key = ANY(%s)
            ORDER BY key, state, id DESC
            """,
            [rule.pk, keys],
        )
        for key, *job in cursor.fetchall():
            jobs.setdefault(key, []).append(_Job(*job))
    return jobs
