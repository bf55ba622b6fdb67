"""Percentiles of lag from how many jobs fell between which bounds."""

from collections.abc import Sequence
from itertools import accumulate

from replication.models import LAG_BOUNDS_SECONDS

# Column by column: a fifth of the time of taking each array apart.
SUM_OF_LAG_COUNTS = "ARRAY[{}]".format(
    ", ".join(f"sum(lag_counts[{number}])" for number in range(1, len(LAG_BOUNDS_SECONDS) + 2))
)


def lag_percentiles(counts: Sequence[int]) -> tuple[float | None, float | None]:
    """p50 and p99 in seconds of CompletedMinute.lag_counts; None of no jobs."""
    return _percentile_seconds(counts, 0.5), _percentile_seconds(counts, 0.99)


def _percentile_seconds(counts: Sequence[int], share: float) -> float | None:
    """As if the jobs between two bounds were spread evenly; above the last, the last bound."""
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    edges = [0.0, *LAG_BOUNDS_SECONDS, LAG_BOUNDS_SECONDS[-1]]
    for number, passed in enumerate(accumulate(counts)):
        if passed >= wanted:
            low, high = edges[number], edges[number + 1]
            missing = (passed - wanted) / counts[number]
            return high - (high - low) * missing
    raise AssertionError("the last sum is the total")
