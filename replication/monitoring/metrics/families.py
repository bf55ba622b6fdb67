"""The metrics by name, each with its help text; docs/reference/metrics.md lists the same."""

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

# Every second bound, so that each is twice the one before: from 0.05 s to 9.7 days.
LAG_STEP = 2


@dataclass(frozen=True)
class Families(Collector):
    """The collector that prometheus_client requires; it collects these families once."""

    families: Iterable[Metric]

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def all_families(numbers: Numbers, problems: Sequence[Problem], totals: Totals) -> Iterator[Metric]:
    """Yield every metric family."""
    yield InfoMetricFamily("s3sync", "The version of s3sync.", value={"version": VERSION})
    yield from _problem_families(problems)
    yield from _rule_families(numbers)
    yield _canary_family(numbers)
    yield from _total_families(totals)
    yield from _loop_families(numbers)
    yield from _queue_families(numbers.queues)


def _problem_families(problems: Sequence[Problem]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "s3sync_healthy", "1 if the status page shows no problem.", value=not problems
    )
    found = GaugeMetricFamily(
        "s3sync_problem",
        "1 for each problem on the status page.",
        labels=["code", "rule", "queue"],
    )
    for problem in problems:
        found.add_metric([problem.code, problem.rule, problem.queue], 1)
    yield found


_RULE_GAUGES: dict[str, tuple[str, Callable[[OpenJobs], float]]] = {
    "s3sync_jobs_retrying": (
        "Pending jobs that were tried before.",
        lambda jobs: jobs.retrying,
    ),
    "s3sync_jobs_deletes_held": (
        "Pending jobs whose delete waits for a person.",
        lambda jobs: jobs.deletes_held,
    ),
    "s3sync_jobs_restoring": (
        "Pending jobs that wait for S3 to restore an archived object.",
        lambda jobs: jobs.restoring,
    ),
    "s3sync_oldest_pending_seconds": (
        "Age of the oldest change with a pending job that is neither held nor being restored; "
        "0 if there is none.",
        lambda jobs: jobs.oldest_pending_seconds or 0,
    ),
}


def _rule_families(numbers: Numbers) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "s3sync_jobs", "Pending, running and failed jobs.", labels=["rule", "state"]
    )
    held_up = GaugeMetricFamily(
        "s3sync_rule_held_up",
        "1 while this holds up the rule (braked: its deletes).",
        labels=["rule", "why"],
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


def _canary_family(numbers: Numbers) -> Metric:
    unheard = GaugeMetricFamily(
        "s3sync_canary_unheard_seconds",
        "Age of the oldest canary since whose put no event came by this route; 0 if one came.",
        labels=["rule", "route"],
    )
    for canary in numbers.canaries:
        for route in canary.routes:
            since = route.unheard_since
            seconds = (numbers.generated_at - since).total_seconds() if since else 0
            unheard.add_metric([canary.rule.name, route.name], max(0.0, seconds))
    return unheard


def _total_families(totals: Totals) -> Iterator[Metric]:
    jobs = CounterMetricFamily(
        "s3sync_jobs_completed", "Completed jobs, whatever their outcome.", labels=["rule"]
    )
    copied = CounterMetricFamily(
        "s3sync_copied_bytes", "Bytes of the copied objects.", labels=["rule"]
    )
    lag = HistogramMetricFamily(
        "s3sync_lag_seconds",
        "Time from the announcement of a change to the end of the job that served it.",
        labels=["rule"],
    )
    for rule, done in totals.completed.items():
        jobs.add_metric([rule], done.jobs)
        copied.add_metric([rule], done.copied_bytes)
        # No sum: only the number of jobs between each two bounds is recorded.
        lag.add_metric([rule], _buckets(done.lag_counts), sum_value=None)
    tries = CounterMetricFamily(
        "s3sync_unsuccessful_tries",
        "Unsuccessful tries of jobs, by error code.",
        labels=["rule", "code"],
    )
    for (rule, code), count in totals.tries.items():
        tries.add_metric([rule, code], count)
    yield from (jobs, copied, lag, tries)


def _buckets(lag_counts: Sequence[int]) -> list[tuple[str, float]]:
    """Upper bounds, each with the number of jobs below it; the last count has no bound."""
    below = list(accumulate(lag_counts))
    bounds = list(zip(LAG_BOUNDS_SECONDS, below[:-1], strict=True))[::LAG_STEP]
    return [*((f"{bound:g}", count) for bound, count in bounds), ("+Inf", below[-1])]


def _loop_families(numbers: Numbers) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "s3sync_lanes_alive",
        "Lanes alive on all hosts; lanes copy objects.",
        value=numbers.lanes_alive,
    )
    yield GaugeMetricFamily(
        "s3sync_pollers_alive",
        "Pollers alive on all hosts; pollers receive events from SQS.",
        value=numbers.pollers_alive,
    )
    loops = GaugeMetricFamily(
        "s3sync_loops", "Lanes and pollers alive on each host.", labels=["host", "kind"]
    )
    in_flight = GaugeMetricFamily(
        "s3sync_in_flight", "Transfers in flight on each host.", labels=["host"]
    )
    in_flight_limit = GaugeMetricFamily(
        "s3sync_in_flight_limit",
        "Transfers that the lanes of each host have found to be of use at once.",
        labels=["host"],
    )
    for host in numbers.hosts:
        loops.add_metric([host.host, "lane"], host.lanes)
        loops.add_metric([host.host, "poller"], host.pollers)
        in_flight.add_metric([host.host], host.in_flight)
        in_flight_limit.add_metric([host.host], host.in_flight_limit)
    yield loops
    yield in_flight
    yield in_flight_limit


_QUEUE_GAUGES: dict[str, tuple[str, Callable[[QueueStatus], float]]] = {
    "s3sync_queue_depth": (
        "Messages waiting in SQS; NaN if SQS does not report the number.",
        lambda queue: math.nan if queue.depth == "unknown" else queue.depth,
    ),
    "s3sync_queue_enabled": ("1 if the queue is enabled.", lambda queue: queue.enabled),
    "s3sync_queue_failing": ("1 if the last poll failed.", lambda queue: bool(queue.last_error)),
    "s3sync_queue_last_polled_timestamp_seconds": (
        "Time of the last poll; 0 if the queue was never polled.",
        lambda queue: queue.last_polled_at.timestamp() if queue.last_polled_at else 0,
    ),
    "s3sync_dead_letters": (
        "Records and messages of the queue that could not be taken in and are kept.",
        lambda queue: queue.dead_letters,
    ),
}
_QUEUE_COUNTERS: dict[str, tuple[str, Callable[[QueueStatus], float]]] = {
    "s3sync_queue_messages_received": (
        "Messages received from the queue.",
        lambda queue: queue.messages_received,
    ),
    "s3sync_queue_records_unmatched": (
        "Records in these messages for objects that no enabled rule covers.",
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
