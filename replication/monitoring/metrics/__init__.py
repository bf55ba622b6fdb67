"""The metrics for Prometheus; each scrape reads every number from the database.

No counter lives in a process: a process may end, and there may be many.
docs/reference/metrics.md lists the metrics.
"""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from replication.monitoring.metrics.families import Families, all_families
from replication.monitoring.metrics.totals import fold_minutes, read_totals
from replication.monitoring.status import find_problems, read_numbers

__all__ = ["CONTENT_TYPE", "fold_minutes", "scrape"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


def scrape() -> bytes:
    """All metrics in Prometheus's text format, by a few queries however long the history is."""
    numbers = read_numbers()
    families = all_families(numbers, list(find_problems(numbers)), read_totals())
    return generate_latest(Families(families))
