"""Makes rules and jobs for tests: each function creates a valid row, and takes any field."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from replication.errors import ErrorCode
from replication.jobs import history
from replication.models import (
    Destination,
    EndedJob,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    Source,
    TransferJob,
)


def a_rule(name: str = "photos", *, domain: str = "", bucket: str = "", **fields: Any):
    """A rule, with a new source and a new destination of the same name unless they are given."""
    if "source" not in fields:
        fields["source"] = Source.objects.create(
            name=name, bucket=bucket or f"{name}-bucket", region="ap-east-1"
        )
        if domain:
            fields["source"].domains.create(domain=domain)
    fields.setdefault(
        "destination",
        Destination.objects.create(
            name=name,
            bucket=f"{name}-replica",
            endpoint="https://oss-cn-hongkong.aliyuncs.com",
            region="cn-hongkong",
        ),
    )
    return ReplicationRule.objects.create(name=name, **fields)


def a_job(rule: ReplicationRule, key: str = "a.jpg", **fields: Any):
    """A job of the rule: pending since now, or in the given state."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "origin": JobOrigin.EVENT,
        "attempt_limit": 10,
        "event_at": now,
        "enqueued_at": now,
        "available_at": now,
    }
    match fields.get("state"):
        case JobState.RUNNING:
            values |= {"lease_expires_at": now + timedelta(minutes=1), "claimed_by": _LANE}
        case JobState.COMPLETED:
            values |= {"finalized_at": now, "outcome": Outcome.COPIED, "size_bytes": 0}
        case JobState.FAILED:
            values |= {"finalized_at": now, "error_code": ErrorCode.SOURCE_ACCESS_DENIED}
        case JobState.CANCELLED | JobState.SUPERSEDED:
            values["finalized_at"] = now
    return put_job(rule=rule, key=key, **(values | fields))


def put_job(**fields: Any) -> Any:
    """A row of the queue as it is, or of the history if its state is one of ended jobs."""
    if fields.get("state") not in {JobState.COMPLETED, JobState.CANCELLED, JobState.SUPERSEDED}:
        return TransferJob.objects.create(**fields)
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('replication_transferjob', 'id'))")
        (job_id,) = cursor.fetchone()
    EndedJob.objects.create(pk=job_id, **fields)
    history.make_days()  # the job may have ended on a day of the past
    return Job.objects.get(pk=job_id)


_LANE = "00000000-0000-4000-8000-000000000000"
