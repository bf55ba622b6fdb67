"""Makes rules and jobs for tests: each function creates a valid row, and takes any field."""

from datetime import UTC, datetime, timedelta
from typing import Any

from replication.errors import ErrorCode
from replication.models import (
    Destination,
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
    return TransferJob.objects.create(rule=rule, key=key, **(values | fields))


_LANE = "00000000-0000-4000-8000-000000000000"
