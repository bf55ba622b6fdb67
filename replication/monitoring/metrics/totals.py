"""Counters that only ever grow: completed jobs and unsuccessful tries since the beginning.

Lanes sum completed jobs by the minute, and pruning deletes old minutes. Once an hour, before the
pruning, finished minutes are folded into a total for each rule; a scrape adds the minutes since.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from replication.models import LAG_BOUNDS_SECONDS
from replication.monitoring.status.completed import SUM_OF_LAG_COUNTS

# By then, every lane that could still add to a minute has long committed.
FOLD_AFTER_SECONDS = 3600

# The first minute that is not folded, the same for all rules; -infinity before the first fold.
_FOLDED_UNTIL = "coalesce((SELECT max(until) FROM replication_completedtotal), '-infinity')"


@dataclass(frozen=True)
class RuleTotals:
    """The totals of one rule; lag_counts as in CompletedMinute."""

    jobs: int
    copied_bytes: int
    lag_counts: Sequence[int]


@dataclass(frozen=True)
class Totals:
    """Completed jobs by rule name; unsuccessful tries by (rule name, error code)."""

    completed: Mapping[str, RuleTotals]
    tries: Mapping[tuple[str, str], int]


@transaction.atomic
def fold_minutes() -> None:
    """Add minutes older than FOLD_AFTER_SECONDS to the totals, and set `until` to their end.

    A concurrent call waits for the first one, and then has nothing left to fold.
    """
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE replication_completedtotal IN EXCLUSIVE MODE")
        cursor.execute(
            f"""
            INSERT INTO replication_completedtotal AS sofar
                (rule_id, until, jobs, copied_bytes, lag_counts)
            SELECT rule_id, min(cut.at), sum(jobs), sum(copied_bytes), {SUM_OF_LAG_COUNTS}
            FROM replication_completedminute, LATERAL (
                SELECT date_trunc('minute', now() - make_interval(secs => %s)) AS at) AS cut
            WHERE minute >= {_FOLDED_UNTIL} AND minute < cut.at
            GROUP BY rule_id
            ON CONFLICT (rule_id) DO UPDATE SET
                jobs = sofar.jobs + excluded.jobs,
                copied_bytes = sofar.copied_bytes + excluded.copied_bytes,
                lag_counts = ARRAY(
                    SELECT had + came
                    FROM unnest(sofar.lag_counts, excluded.lag_counts) WITH ORDINALITY
                        AS both_counts (had, came, number)
                    ORDER BY number)
            """,  # noqa: S608  the columns are ours
            [FOLD_AFTER_SECONDS],
        )
        # Also for rules without a job in these minutes.
        cursor.execute(
            "UPDATE replication_completedtotal "
            "SET until = date_trunc('minute', now() - make_interval(secs => %s))",
            [FOLD_AFTER_SECONDS],
        )


def read_totals() -> Totals:
    """Read the totals with two queries; a rule without a completed job yet has zeros."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH recent AS (
                SELECT rule_id, sum(jobs) AS jobs, sum(copied_bytes) AS bytes,
                       {SUM_OF_LAG_COUNTS} AS lag_counts
                FROM replication_completedminute WHERE minute >= {_FOLDED_UNTIL} GROUP BY rule_id
            )
            SELECT rule.name, coalesce(total.jobs, 0) + coalesce(recent.jobs, 0),
                   coalesce(total.copied_bytes, 0) + coalesce(recent.bytes, 0),
                   coalesce(total.lag_counts, '{{}}')::bigint[],
                   coalesce(recent.lag_counts, '{{}}')::bigint[]
            FROM replication_replicationrule AS rule
            LEFT JOIN replication_completedtotal AS total ON total.rule_id = rule.id
            LEFT JOIN recent ON recent.rule_id = rule.id
            ORDER BY rule.name
            """  # noqa: S608  the columns are ours
        )
        completed = {name: _rule_totals(*columns) for name, *columns in cursor.fetchall()}
        cursor.execute(
            """
            SELECT rule.name, total.code, sum(total.tries)
            FROM replication_triestotal AS total
            JOIN replication_replicationrule AS rule ON rule.id = total.rule_id
            GROUP BY rule.name, total.code ORDER BY rule.name, total.code
            """
        )
        tries = {(name, code): int(count) for name, code, count in cursor.fetchall()}
    return Totals(completed, tries)


def _rule_totals(jobs: Any, copied_bytes: Any, *lag_counts: Sequence[int]) -> RuleTotals:
    by_number: dict[int, int] = defaultdict(int)
    for counts in lag_counts:
        for number, count in enumerate(counts):
            by_number[number] += count
    all_counts = [by_number[number] for number in range(len(LAG_BOUNDS_SECONDS) + 1)]
    return RuleTotals(int(jobs), int(copied_bytes), all_counts)
