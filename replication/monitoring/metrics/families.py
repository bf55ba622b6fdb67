"""The metrics by name, each with its meaning; docs/reference/metrics.md lists the same."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from replication.models import LAG_BOUNDS_SECONDS
from replication.monitoring.metrics.totals import Totals
from replication.monitoring.status import VERSION, Numbers, OpenJobs, Problem, QueueStatus

# Every second bound: each twice the one before, from 0.05 s to 9.7 days.
LAG_STEP = 2


@dataclass(frozen=True)
class Families(Collector):
    """Metric families as prometheus_client wants to collect them, once."""

    families: Iterable[Metric]

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def all_families(numbers: Numbers, problems: Sequence[Problem], totals: Totals) -> Iterator[Metric]:
    """Yield all of them."""
    yield InfoMetricFamily("s3sync", "The version that answers.", value={"version": VERSION})
    yield from _problem_families(problems)
    yield from _rule_families(numbers)
    yield from _total_families(totals)
    yield from _loop_families(numbers)
    yield from _queue_families(numbers.queues)


def _problem_families(problems: Sequence[Problem]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "s3sync_healthy", "1 if there is no problem, as on the status page.", value=not problems
    )
    found = GaugeMetricFamily(
        "s3sync_problem",
        "1 for each problem of the status page.",
        labels=["code", "rule", "queue"],
    )
    for problem in problems:
        found.add_metric([problem.code, problem.rule, problem.queue], 1)
    yield found


_RULE_GAUGES: dict[str, tuple[str, Callable[[OpenJobs], float]]] = {
    "s3sync_jobs_retrying": (
        "Of the pending jobs those that were tried before.",
        lambda jobs: jobs.retrying,
    ),
    "s3sync_jobs_deletes_held": (
        "Of the pending jobs those whose delete waits for a person.",
        lambda jobs: jobs.deletes_held,
    ),
    "s3sync_jobs_restoring": (
        "Of the pending jobs those that wait for S3 to restore an archived object.",
        lambda jobs: jobs.restoring,
    ),
    "s3sync_oldest_pending_seconds": (
        "Age of the oldest change that is not served yet; 0 if there is none.",
        lambda jobs: jobs.oldest_pending_seconds or 0,
    ),
}


def _rule_families(numbers: Numbers) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "s3sync_jobs", "Jobs that are not at their end, and failed ones.", labels=["rule", "state"]
    )
    held_up = GaugeMetricFamily(
        "s3sync_rule_held_up", "1 while this holds the rule up.", labels=["rule", "why"]
    )
    for rule in numbers.rules:
        for state in ("pending", "running", "failed"):
            states.add_metric([rule.name, state], getattr(rule.jobs, state))
        for why, holds in (
            ("disabled", not rule.enabled),
            ("paused", rule.paused_at),
            ("parked", rule.parked_at),
            ("braked", rule.braked_at),
        ):
            held_up.add_metric([rule.name, why], bool(holds))
    yield states
    yield held_up
    for name, (meaning, value_of) in _RULE_GAUGES.items():
        family = GaugeMetricFamily(name, meaning, labels=["rule"])
        for rule in numbers.rules:
            family.add_metric([rule.name], value_of(rule.jobs))
        yield family


def _total_families(totals: Totals) -> Iterator[Metric]:
    jobs = CounterMetricFamily(
        "s3sync_jobs_completed", "Jobs that were completed, whatever the outcome.", labels=["rule"]
    )
    copied = CounterMetricFamily(
        "s3sync_copied_bytes", "Bytes of the objects that were copied.", labels=["rule"]
    )
    lag = HistogramMetricFamily(
        "s3sync_lag_seconds",
        "From the announcement of a change to the end of the job that served it.",
        labels=["rule"],
    )
    for rule, done in totals.completed.items():
        jobs.add_metric([rule], done.jobs)
        copied.add_metric([rule], done.copied_bytes)
        # Their sum is not recorded: only how many were between which bounds.
        lag.add_metric([rule], _buckets(done.lag_counts), sum_value=None)
    tries = CounterMetricFamily(
        "s3sync_unsuccessful_tries",
        "Unsuccessful tries of jobs by the code of the error.",
        labels=["rule", "code"],
    )
    for (rule, code), count in totals.tries.items():
        tries.add_metric([rule, code], count)
    yield from (jobs, copied, lag, tries)


def _buckets(lag_counts: Sequence[int]) -> list[tuple[str, float]]:
    """Upper bounds with how many were below: of the last count there is no bound."""
    below = list(accumulate(lag_counts))
    bounds = list(zip(LAG_BOUNDS_SECONDS, below[:-1], strict=True))[::LAG_STEP]
    return [*((f"{bound:g}", count) for bound, count in bounds), ("+Inf", below[-1])]


def _loop_families(numbers: Numbers) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "s3sync_lanes_alive", "Lanes, which copy, on all hosts.", value=numbers.lanes_alive
    )
    yield GaugeMetricFamily(
        "s3sync_pollers_alive", "Pollers, which ask SQS, on all hosts.", value=numbers.pollers_alive
    )
    loops = GaugeMetricFamily(
        "s3sync_loops", "Lanes and pollers of each host.", labels=["host", "kind"]
    )
    in_flight = GaugeMetricFamily(
        "s3sync_in_flight", "Transfers that the lanes of a host carry.", labels=["host"]
    )
    for host in numbers.hosts:
        loops.add_metric([host.host, "lane"], host.lanes)
        loops.add_metric([host.host, "poller"], host.pollers)
        in_flight.add_metric([host.host], host.in_flight)
    yield loops
    yield in_flight


_QUEUE_GAUGES: dict[str, tuple[str, Callable[[QueueStatus], float]]] = {
    "s3sync_queue_depth": (
        "Messages that wait in SQS; NaN where SQS does not tell.",
        lambda queue: math.nan if queue.depth == "unknown" else queue.depth,
    ),
    "s3sync_queue_enabled": ("1 if the queue is polled.", lambda queue: queue.enabled),
    "s3sync_queue_failing": ("1 if the last poll failed.", lambda queue: bool(queue.last_error)),
    "s3sync_queue_last_polled_timestamp_seconds": (
        "When the queue was polled; 0 if never.",
        lambda queue: queue.last_polled_at.timestamp() if queue.last_polled_at else 0,
    ),
    "s3sync_dead_letters": (
        "Messages of the queue that could not be taken in, and are kept.",
        lambda queue: queue.dead_letters,
    ),
}
_QUEUE_COUNTERS: dict[str, tuple[str, Callable[[QueueStatus], float]]] = {
    "s3sync_queue_messages_received": (
        "Messages that were received.",
        lambda queue: queue.messages_received,
    ),
    "s3sync_queue_records_unmatched": (
        "Records in them of objects that no enabled rule asks for.",
        lambda queue: queue.records_unmatched,
    ),
}


def _queue_families(queues: Sequence[QueueStatus]) -> Iterator[Metric]:
    for kind, families in (
        (GaugeMetricFamily, _QUEUE_GAUGES),
        (CounterMetricFamily, _QUEUE_COUNTERS),
    ):
        for name, (meaning, value_of) in families.items():
            family: GaugeMetricFamily | CounterMetricFamily = kind(name, meaning, labels=["queue"])
            for queue in queues:
                family.add_metric([queue.name], value_of(queue))
            yield family
