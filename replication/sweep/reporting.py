"""The report of a sweep, for machines: format s3sync-sweep/1."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.db.models import Count, Func, Q, Sum, Value
from django.db.models.functions import Left, Substr, TruncHour

from replication.models import (
    CompletedMinute,
    FindingState,
    JobOrigin,
    JobState,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepLevel,
    TransferJob,
)
from replication.sweep.causes import Cause

FORMAT = "s3sync-sweep/1"
# List prices of 2026, the standard classes. Egress is not in it.
DOLLARS_PER_LIST = 0.005 / 1000
KEPT_MINUTES_DAYS = 2  # see operations/retention.py
YUAN_PER_LIST = 0.01 / 10_000

CANT_SEE = {
    SweepLevel.LISTING: "An object that was overwritten by another of the same size before its "
    "copy ended, unless both ETags are MD5s; headers, metadata and tags.",
    SweepLevel.RECORDS: "Headers, metadata and tags. Keys without a record are compared by the "
    "listings.",
    SweepLevel.HEAD: "Bytes that somebody changed in OSS but left with our metadata; headers, "
    "metadata and tags.",
    SweepLevel.FULL: "Nothing: both sides were read.",
}
COUNTS = (
    *("equal", "plausible", "missing", "different", "extra", "left_out", "refused", "archived"),
    *("unknown", "under_way", "kept", "foreign", "ordered", "lost", "found_again"),
    *("unkept_findings", "missing_bytes"),
)
CSV_FIELDS = (
    *("Bucket", "Key", "Verdict", "Cause", "State", "ErrorCode", "Reason"),
    *("SourceSize", "SourceETag", "SourceModified"),
    *("ReplicaSize", "ReplicaETag", "ReplicaModified"),
)


def as_json(sweep: Sweep) -> dict[str, Any]:
    """All of a sweep but its findings."""
    return facts(sweep) | {
        "is_equal": is_equal(sweep),
        "slices": {
            "done": sweep.slices.filter(is_done=True).count(),
            "open": sweep.slices.filter(is_done=False).count(),
        },
        "lost": lost_by(sweep),
    }


def facts(sweep: Sweep) -> dict[str, Any]:
    """What the row of a sweep tells by itself."""
    return {
        "format": FORMAT,
        "sweep": sweep.pk,
        "rule": sweep.rule.name,
        "rule_version": sweep.rule_version,
        "source": sweep.rule.source.bucket,
        "destination": sweep.rule.destination.bucket,
        "kind": sweep.kind,
        "level": sweep.level,
        "cannot_see": CANT_SEE[SweepLevel(sweep.level)],
        "prefix": sweep.prefix,
        "mends": sweep.mends,
        "mends_extras": sweep.mends_extras,
        "limits": {
            "requests_per_second": sweep.requests_per_second,
            "window": window(sweep),
            "most_requests": sweep.most_requests,
        },
        "state": sweep.state,
        "waits_for": sweep.waits_for,
        "error": sweep.error,
        "began_at": sweep.began_at.isoformat(),
        "listed_at": sweep.listed_at.isoformat() if sweep.listed_at else None,
        "ended_at": sweep.ended_at.isoformat() if sweep.ended_at else None,
        "keys": {"source": sweep.source_keys, "destination": sweep.replica_keys},
        "bytes": sweep.source_bytes,
        "counts": {name: getattr(sweep, name) for name in COUNTS},
        "requests": {
            "source": sweep.source_requests,
            "destination": sweep.destination_requests,
            "throttled": sweep.throttles,
        },
        "cost": cost(sweep),
    }


def window(sweep: Sweep) -> str | None:
    """When the sweep may run, in UTC, such as 22:00-06:00; None: always."""
    if sweep.window_from is None or sweep.window_until is None:
        return None
    return f"{sweep.window_from:%H:%M}-{sweep.window_until:%H:%M}"


def is_equal(sweep: Sweep) -> bool | None:
    """Whether both sides are equal now, as far as the sweep says; None while it is not over."""
    if sweep.state != "completed":
        return None
    if sweep.unknown:
        return None
    return not open_differences(sweep)


def open_differences(sweep: Sweep) -> int:
    """How many keys differed and were not mended."""
    mended = sweep.findings.filter(state=FindingState.MENDED).count()
    # Keys without a finding are mended by their jobs, unless these failed.
    failed = min(failed_jobs(sweep), sweep.ordered_unkept)
    return max(0, sweep.differ - mended - sweep.ordered_unkept) + failed


def failed_jobs(sweep: Sweep) -> int:
    """How many jobs of sweeps of the rule failed since this one began."""
    return TransferJob.objects.filter(
        rule=sweep.rule_id,
        state=JobState.FAILED,
        origin=JobOrigin.SWEEP,
        enqueued_at__gte=sweep.began_at,
    ).count()


def cost(sweep: Sweep) -> dict[str, float]:
    """What the requests cost so far at list prices, in dollars and yuan."""
    return {
        "source_usd": round(sweep.source_requests * DOLLARS_PER_LIST, 6),
        "destination_cny": round(sweep.destination_requests * YUAN_PER_LIST, 6),
    }


def lost_by(sweep: Sweep) -> dict[str, Any]:
    """The changes that no event told of, by hour and by first folder, the most first; beside each
    hour, how many jobs ended in it: an outage shows as a spike, a hole in a filter as a folder.
    """
    is_lost = Q(cause=Cause.LOST, state__in=[FindingState.MENDED, FindingState.CONFIRMED])
    if sweep.kind == SweepKind.RECOVERY:
        # The records that tell a lost event from other causes may be lost as well.
        is_lost |= Q(state=FindingState.MENDED)
    lost = sweep.findings.filter(is_lost)
    prefix = sweep.rule.source_prefix
    folder = Func(Substr("key", len(prefix) + 1), Value("^[^/]*/?"), function="substring")
    by_hour = dict(lost.values_list(Left("source_modified", 13)).annotate(Count("pk")))
    by_folder = (
        lost.annotate(folder=folder)
        .values_list("folder")
        .annotate(number=Count("pk"))
        .order_by("-number", "folder")
    )
    forgotten = datetime.now(UTC) - timedelta(days=KEPT_MINUTES_DAYS)
    known = [hour for hour in by_hour if hour > f"{forgotten:%Y-%m-%dT%H}"]
    announced = dict.fromkeys(known, 0) | _announced_in(sweep, known)
    return {
        "keys": sum(by_hour.values()),
        "by_hour": {
            f"{hour}:00" if hour else "deleted, unknown when": {
                "lost": number,
                "announced": announced.get(hour),
            }
            for hour, number in sorted(by_hour.items(), key=lambda each: each[0] or "z")
        },
        "by_folder": {prefix + name: number for name, number in by_folder[:20]},
    }


def _announced_in(sweep: Sweep, hours: Collection[str]) -> dict[str, int]:
    """How many jobs of events ended in each of these hours, which are like 2026-11-30T08."""
    if not hours:
        return {}
    first, last = (datetime.fromisoformat(f"{hour}:00+00:00") for hour in (min(hours), max(hours)))
    minutes = CompletedMinute.objects.filter(
        rule=sweep.rule_id, minute__gte=first, minute__lt=last + timedelta(hours=1)
    )
    sums = minutes.values_list(TruncHour("minute", tzinfo=UTC)).annotate(
        announced=Sum("jobs") - Sum("swept_jobs")
    )
    return {f"{hour:%Y-%m-%dT%H}": number for hour, number in sums}


def findings_as_rows(sweep: Sweep) -> Iterator[list[str | int | None]]:
    """The findings as rows of CSV_FIELDS; keys are URL-encoded, as in S3 Batch Operations."""
    bucket = sweep.rule.source.bucket
    for one in sweep.findings.order_by("key").iterator():
        yield [
            bucket,
            _url_encoded(one.key),
            *(one.verdict, one.cause, one.state, one.code, one.reason),
            *(one.source_size, one.source_etag, one.source_modified),
            *(one.replica_size, one.replica_etag, one.replica_modified),
        ]


def _url_encoded(key: str) -> str:
    """The key as an S3 Inventory has it; a spreadsheet takes none of these for a formula."""
    encoded = quote(key, safe="/")
    return f"%2D{encoded[1:]}" if encoded.startswith("-") else encoded


def finding_as_json(one: SweepFinding) -> dict[str, Any]:
    """A finding for machines."""
    return {
        "key": one.key,
        "verdict": one.verdict,
        "cause": one.cause or None,
        "state": one.state,
        "reason": one.reason,
        "code": one.code,
        "is_ordered": one.is_ordered,
        "source": _side(one.source_size, one.source_etag, one.source_modified),
        "replica": _side(one.replica_size, one.replica_etag, one.replica_modified),
    }


def _side(size: int | None, etag: str, modified: str) -> dict[str, Any] | None:
    return None if size is None else {"bytes": size, "etag": etag, "modified": modified}
