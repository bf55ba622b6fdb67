"""What the API answers of sweeps: the report of one, short lines of many, and findings."""

from dataclasses import asdict, dataclass
from datetime import datetime

from pydantic import TypeAdapter

from replication.models import FindingState, Sweep, SweepFinding, SweepKind, SweepLevel, SweepState
from replication.sweep import reporting
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict
from replication.sweep.progress import progress_of


@dataclass(frozen=True)
class SweepLimits:
    """What a sweep may take; null is no limit. `window` is in UTC, such as 22:00-06:00."""

    requests_per_second: float | None
    window: str | None
    most_requests: int | None


@dataclass(frozen=True)
class SweepSummary:
    """A sweep in short; its report has the rest."""

    id: int
    rule: str
    kind: SweepKind
    level: SweepLevel
    prefix: str
    mends: bool
    mends_extras: bool
    state: SweepState
    waits_for: str
    error: str
    began_at: datetime
    listed_at: datetime | None
    ended_at: datetime | None
    counts: dict[str, int]


@dataclass(frozen=True)
class SweepPage:
    """`next_cursor` is empty on the last page."""

    sweeps: list[SweepSummary]
    next_cursor: str


@dataclass(frozen=True)
class SweepKeys:
    """Keys that were listed so far, on each side."""

    source: int
    destination: int


@dataclass(frozen=True)
class SweepRequests:
    """Requests so far, and how many of them were refused as too many."""

    source: int
    destination: int
    throttled: int


@dataclass(frozen=True)
class SweepCost:
    """What the requests cost so far at list prices, in dollars and yuan."""

    source_usd: float
    destination_cny: float


@dataclass(frozen=True)
class SweepSlices:
    """How many ranges of keys are compared, and how many are left."""

    done: int
    open: int


@dataclass(frozen=True)
class LostInHour:
    """Changes of an hour that no event told of, and jobs that ended in it; null: not known."""

    lost: int
    announced: int | None


@dataclass(frozen=True)
class LostChanges:
    """Changes that no event told of, of the findings that are kept."""

    keys: int
    by_hour: dict[str, LostInHour]
    by_folder: dict[str, int]


@dataclass(frozen=True)
class SweepProgress:
    """Rates are in keys of the source a second; null: not known yet."""

    total_keys: int | None
    share: float | None
    rate_1: float | None
    rate_15: float | None
    eta_seconds: tuple[float, float] | None
    waiting_jobs: int
    running_jobs: int


@dataclass(frozen=True)
class SweepReport:
    """The report s3sync-sweep/1, as `manage.py sweeps --report` prints it, and the progress.

    `is_equal` is null until the sweep has ended and could compare every key.
    """

    format: str
    sweep: int
    rule: str
    rule_version: int
    source: str
    destination: str
    kind: SweepKind
    level: SweepLevel
    cannot_see: str
    prefix: str
    mends: bool
    mends_extras: bool
    limits: SweepLimits
    state: SweepState
    is_equal: bool | None
    waits_for: str
    error: str
    began_at: datetime
    listed_at: datetime | None
    ended_at: datetime | None
    keys: SweepKeys
    bytes: int
    counts: dict[str, int]
    requests: SweepRequests
    cost: SweepCost
    slices: SweepSlices
    lost: LostChanges
    progress: SweepProgress


@dataclass(frozen=True)
class FoundObject:
    """An object as the last look found it; `modified` as the side wrote it."""

    bytes: int
    etag: str
    modified: str


@dataclass(frozen=True)
class Finding:
    """A key that did not compare as equal; a side that has no object is null."""

    key: str
    verdict: Verdict
    cause: Cause | None
    state: FindingState
    reason: str
    code: str
    is_ordered: bool
    source: FoundObject | None
    replica: FoundObject | None


@dataclass(frozen=True)
class FindingPage:
    """`next_cursor` is empty on the last page."""

    findings: list[Finding]
    next_cursor: str


def summary_of(sweep: Sweep) -> SweepSummary:
    """A sweep in short."""
    names = (
        *("prefix", "mends", "mends_extras", "waits_for", "error"),
        *("began_at", "listed_at", "ended_at"),
    )
    return SweepSummary(
        **{name: getattr(sweep, name) for name in names},
        id=sweep.pk,
        rule=sweep.rule.name,
        kind=SweepKind(sweep.kind),
        level=SweepLevel(sweep.level),
        state=SweepState(sweep.state),
        counts={name: getattr(sweep, name) for name in reporting.COUNTS},
    )


def report_of(sweep: Sweep) -> SweepReport:
    """The report of a sweep, and its progress now."""
    return _REPORT.validate_python(
        reporting.as_json(sweep) | {"progress": asdict(progress_of(sweep))}
    )


def finding_of(one: SweepFinding) -> Finding:
    """A finding as the report has it."""
    return _FINDING.validate_python(reporting.finding_as_json(one))


_REPORT = TypeAdapter(SweepReport)
_FINDING = TypeAdapter(Finding)
