"""Says why a key differs, by what its jobs and the replica's mark tell of it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from replication.models import (
    DeletePermit,
    DeletePolicy,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    SweepFinding,
)
from replication.sweep.judging import CLOCK_SKEW, Judgement, Verdict

# An event may take a minute or more, and the copy some seconds.
GRACE = timedelta(seconds=settings.S3SYNC.sweep_grace_seconds)
# S3 gives an object's time in seconds, and its event's in milliseconds.
EVENT_SKEW = timedelta(seconds=2)


class Cause(StrEnum):
    """Why a key is missing, different or extra. The values are stored, and part of the JSON."""

    PENDING = "pending"
    RECENT = "recent"
    FAILED = "failed"
    LOST = "lost"
    CHANGED_SINCE = "changed since"
    OLDER = "older"
    FORGOTTEN = "forgotten"
    KEPT = "kept"
    FOREIGN = "foreign"


MEANING = {
    Cause.PENDING: "a job is waiting or running",
    Cause.RECENT: "it changed just now",
    Cause.FAILED: "its last job failed",
    Cause.LOST: "no event told of its last change",
    Cause.CHANGED_SINCE: "the replica was changed after it was served",
    Cause.OLDER: "it is older than the rule",
    Cause.FORGOTTEN: "its last change is older than the history of jobs that is kept",
    Cause.KEPT: "the rule keeps the replicas of deleted objects",
    Cause.FOREIGN: "another program or another rule wrote it",
}
# What no job can make equal, or what one is about to make equal.
NO_DIFFERENCE = frozenset({Cause.PENDING, Cause.KEPT, Cause.FOREIGN})


class LastJob(NamedTuple):
    """A job of a key: its last one of its state and origin."""

    state: str
    origin: str
    outcome: str | None
    source_etag: str
    error_code: str
    enqueued_at: datetime
    finalized_at: datetime | None
    delete_permit: str

    @property
    def is_held(self) -> bool:
        """Whether its delete awaits a person, and nothing happens until then."""
        return self.delete_permit == DeletePermit.AWAITED

    @property
    def is_unfinished(self) -> bool:
        return self.state in {JobState.PENDING, JobState.RUNNING}

    def ended_since(self, moment: datetime) -> bool:
        """Whether the job was completed after this moment."""
        ended_at = self.finalized_at if self.state == JobState.COMPLETED else None
        return ended_at is not None and ended_at >= moment


def causes_of(
    rule: ReplicationRule, found: Sequence[Judgement], *, listed_since: datetime
) -> dict[str, tuple[Cause, str]]:
    """The cause for each key that differs, and the error's code if its last job failed.

    Args:
        listed_since: no page or look is older, by the database's clock. A job that ended later may
            have made equal what it shows as different.
    """
    jobs = last_jobs(rule, [one.pair.key for one in found])
    return {
        one.pair.key: _cause(rule, one, jobs.get(one.pair.key, []), listed_since) for one in found
    }


def _cause(
    rule: ReplicationRule, found: Judgement, jobs: list[LastJob], listed_since: datetime
) -> tuple[Cause, str]:
    if any(job.is_unfinished or job.ended_since(listed_since) for job in jobs):
        return Cause.PENDING, ""
    if found.verdict is Verdict.EXTRA and rule.delete_policy == DeletePolicy.KEEP:
        return Cause.KEPT, ""
    changed_at = changed(found)
    if not jobs:
        return _cause_without_jobs(rule, changed_at), ""
    if is_recent(changed_at):
        return Cause.RECENT, ""
    last = max(jobs, key=lambda job: job.enqueued_at)
    if last.state == JobState.FAILED and _was_after(last, changed_at):
        return Cause.FAILED, last.error_code
    return (Cause.CHANGED_SINCE if _has_served(last, found) else Cause.LOST), ""


def _cause_without_jobs(rule: ReplicationRule, changed_at: datetime | None) -> Cause:
    if changed_at is None or changed_at < rule.created_at:
        return Cause.OLDER
    if is_recent(changed_at):
        return Cause.RECENT
    return Cause.FORGOTTEN if _is_forgotten(changed_at) else Cause.LOST


def _is_forgotten(changed_at: datetime) -> bool:
    """Whether a job for the change would have been deleted from the history by now."""
    days = settings.S3SYNC.keep_jobs_days
    return changed_at < datetime.now(UTC) - timedelta(days=days) + GRACE


def is_recent(changed_at: datetime | None) -> bool:
    """Whether the event of a change may still come."""
    return changed_at is not None and datetime.now(UTC) - changed_at < GRACE


def may_be_told(finding: SweepFinding) -> bool:
    """Whether the event of the change that was found may still come."""
    return is_recent(datetime.fromisoformat(finding.source_modified))


def changed(found: Judgement) -> datetime | None:
    """When the source's object changed; None where there is none."""
    source = found.pair.source
    return None if source is None else datetime.fromisoformat(source.modified)


def _was_after(job: LastJob, changed_at: datetime | None) -> bool:
    return changed_at is None or job.enqueued_at >= changed_at - CLOCK_SKEW


def _has_served(job: LastJob, found: Judgement) -> bool:
    """Whether the job made the replica equal to the object as it is listed."""
    source = found.pair.source
    if source is None:  # a listing does not say when an object was deleted
        return job.outcome == Outcome.DELETED
    return job.source_etag == source.etag


def database_now() -> datetime:
    """The time of the database, whose clock dates jobs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def last_jobs(rule: ReplicationRule, keys: list[str]) -> dict[str, list[LastJob]]:
    """The last job of each state and origin, by key."""
    jobs: dict[str, list[LastJob]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT ON (key, state, origin)
                   key, state, origin, outcome, source_etag, error_code, enqueued_at,
                   finalized_at, delete_permit
            FROM replication_job WHERE rule_id = %s AND key = ANY(%s)
            ORDER BY key, state, origin, id DESC
            """,
            [rule.pk, keys],
        )
        for key, *job in cursor.fetchall():
            jobs.setdefault(key, []).append(LastJob(*job))
    return jobs


def announced(rule: ReplicationRule, findings: Sequence[SweepFinding]) -> set[str]:
    """The keys whose found version, or deletion, an event told of, however late.

    Such an event had the key looked at: its job copied that version, or a later one if that was
    there already. In the latter case the event is no younger than the version, and its job ended
    after the change. A later version has an event of its own, which proves nothing.
    """
    found = [
        {
            "key": one.key,
            "etag": one.source_etag,
            "since": one.source_modified or one.found_at.isoformat(),
            # An object that was uploaded in parts has the time when its upload began.
            "told_by": None
            if "-" in one.source_etag or not one.source_modified
            else (datetime.fromisoformat(one.source_modified) + EVENT_SKEW).isoformat(),
        }
        for one in findings
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT found.key
            FROM json_to_recordset(%s)
                AS found (key text, etag text, since timestamptz, told_by timestamptz)
            JOIN replication_job AS job
                ON job.rule_id = %s AND job.key = found.key AND job.finalized_at IS NOT NULL
            WHERE job.origin = ANY(%s)
              AND (found.etag <> '' AND job.source_etag = found.etag
                   OR found.etag = '' AND job.source_etag = '' AND job.finalized_at >= found.since
                   OR found.etag <> '' AND job.finalized_at >= found.since
                      AND (job.event_at <= found.told_by
                           OR job.event_at IS NULL OR found.told_by IS NULL))
            """,
            [json.dumps(found), rule.pk, [JobOrigin.EVENT, JobOrigin.API]],
        )
        return {key for (key,) in cursor.fetchall()}
