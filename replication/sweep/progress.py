"""How far a sweep is, how fast it is, and when it may end."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from django.db import connection

from replication.jobs import PRIORITY_SWEEP_FIRST
from replication.models import JobOrigin, JobState, Sweep, SweepState, TransferJob

SAMPLE_SECONDS = 10
SAMPLES = 91  # of 15 minutes
MINIMUM_SHARE = 0.05  # before which no time is told


@dataclass(frozen=True)
class Progress:
    """The progress of a sweep. Rates are in keys of the source a second; None: not known yet."""

    total_keys: int | None  # as the last complete sweep of the same keys counted them
    share: float | None
    rate_1: float | None  # over the last minute
    rate_15: float | None
    eta_seconds: tuple[float, float] | None  # the least and the most
    waiting_jobs: int  # of sweeps of the rule
    running_jobs: int


def sample() -> None:
    """Note how far each running sweep is, once in SAMPLE_SECONDS whoever calls how often."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_sweep AS sweep
            SET sampled_at = now(),
                samples = (
                    SELECT jsonb_agg(one ORDER BY at DESC) FROM (
                        SELECT one, (one->>0)::float8 AS at FROM jsonb_array_elements(
                            jsonb_build_array(
                                jsonb_build_array(extract(epoch FROM now()), source_keys)
                            ) || sweep.samples) AS one
                        ORDER BY at DESC LIMIT %s) AS newest)
            WHERE state = 'running'
              AND (sampled_at IS NULL OR sampled_at < now() - make_interval(secs => %s))
            """,
            [SAMPLES, SAMPLE_SECONDS],
        )


def progress_of(sweep: Sweep) -> Progress:
    """The progress of a sweep now."""
    total = _last_total(sweep)
    share = min(1.0, sweep.source_keys / total) if total else None
    if sweep.listed_at is not None:
        share = 1.0
    rates = [_rate(sweep, minutes=minutes) for minutes in (1, 15)]
    jobs = TransferJob.objects.filter(rule=sweep.rule_id, origin=JobOrigin.SWEEP)
    return Progress(
        total,
        share,
        rates[0],
        rates[1],
        _eta(sweep, total, share, [rate for rate in rates if rate]),
        waiting_jobs=jobs.filter(
            state=JobState.PENDING, priority__gte=PRIORITY_SWEEP_FIRST
        ).count(),
        running_jobs=jobs.filter(state=JobState.RUNNING).count(),
    )


def _last_total(sweep: Sweep) -> int | None:
    same = Sweep.objects.filter(
        rule=sweep.rule_id, prefix=sweep.prefix, state=SweepState.COMPLETED, pk__lt=sweep.pk
    )
    return same.order_by("-pk").values_list("source_keys", flat=True).first()


def _rate(sweep: Sweep, *, minutes: int) -> float | None:
    """Keys a second over so many minutes, or since the oldest sample that is younger."""
    now = datetime.now(UTC).timestamp()
    samples = sorted((at, keys) for at, keys in sweep.samples if at >= now - 60 * minutes)
    if len(samples) < 2 or sweep.state != SweepState.RUNNING:
        return None
    (first_at, first_keys), (last_at, last_keys) = samples[0], samples[-1]
    if any(later[0] - earlier[0] <= 0 for earlier, later in pairwise(samples)):
        return None
    return float(last_keys - first_keys) / (last_at - first_at)


def _eta(
    sweep: Sweep, total: int | None, share: float | None, rates: list[float]
) -> tuple[float, float] | None:
    if sweep.state != SweepState.RUNNING or not total or not rates:
        return None
    if share is None or share < MINIMUM_SHARE:
        return None
    times = [max(0, total - sweep.source_keys) / rate for rate in rates]
    # A bucket may have grown since it was counted.
    return min(times), 1.1 * max(times)
