"""Measures what an open snapshot costs the queue, and what the end of a day of history costs."""

import json
import subprocess
import sys

from benchmarks.ours import Installation
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from sandbox.bootstrap import REPOSITORY

ROUNDS = 3


def in_database(installation: Installation, work: str, number: int) -> dict[str, float]:
    """The figures of benchmarks/in_database.py in the database of this installation."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.in_database", work, str(number)],
        env=installation.environment,
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure_snapshot(sitting: Sitting) -> Row:
    """Jobs through claim and completion, 16 at a time, beside a transaction that keeps a snapshot:
    what dies meanwhile stays in the table and in its indexes."""
    count, rounds = (4000, 1) if sitting.is_quick else (40_000, ROUNDS)
    row = Row(
        f"An open snapshot: {count:,} jobs claimed 16 at a time and completed, by one connection",
        notes=["The snapshot is as old as the first of these jobs. No fsync."],
    )
    for _ in range(rounds):
        with sitting.installation() as installation:
            figures = in_database(installation, "snapshot", count)
        row.add("no snapshot", jobs_a_second=count / figures["alone_seconds"])
        row.add("with an open snapshot", jobs_a_second=count / figures["beside_seconds"])
    row.checks = [
        Check(
            "jobs/s with an open snapshot, of those without",
            row.median("with an open snapshot", "jobs_a_second")
            / row.median("no snapshot", "jobs_a_second"),
            at_least=0.9,
            aim=1.0,
        )
    ]
    return row


def measure_prune(sitting: Sitting) -> Row:
    """The end of a day that has many finished jobs."""
    count = 500_000 if sitting.is_quick else 5_000_000
    row = Row(f"Retention: a day with {count:,} finished jobs ends")
    with sitting.installation() as installation:
        figures = in_database(installation, "prune", count)
    row.add("manage.py prune", seconds=figures["seconds"], dead_rows=figures["dead_rows"])
    row.checks = [
        Check("seconds", figures["seconds"], at_most=2.0),
        Check("dead rows that are left", figures["dead_rows"], at_most=0),
    ]
    return row
