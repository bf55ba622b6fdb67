"""What Prometheus scrapes: every number read from the database at that moment, by any process.

No counter lives in a process, which may end or be one of many. docs/reference/metrics.md has the
names.
"""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from replication.monitoring.metrics.families import Families, all_families
from replication.monitoring.metrics.totals import fold_minutes, read_totals
from replication.monitoring.status import find_problems, read_numbers

__all__ = ["CONTENT_TYPE", "fold_minutes", "scrape"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


def scrape() -> bytes:
    """Prometheus's text format of all metrics; some statements, whatever the history's length."""
    numbers = read_numbers()
    families = all_families(numbers, list(find_problems(numbers)), read_totals())
    return generate_latest(Families(families))
