"""Measures claims, the status and pages on the tables of a large, old installation.

.venv/bin/python -m benchmarks.scale --write docs/reports/scale.md
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import connection

from sandbox.postgres import Postgres

if TYPE_CHECKING:
    from benchmarks.tables import Scale
    from benchmarks.timing import Figure

API_TOKEN = "a-token-for-the-benchmark-only"
HEADINGS = "| | calls | p50 | p99 | max | goal |\n|---|---:|---:|---:|---:|---|"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--finished", type=int, default=5_000_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--failed", type=int, default=50_000)
    parser.add_argument("--rules", type=int, default=20)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report to FILE")
    options = parser.parse_args()
    with Postgres(fsync=False) as postgres:
        os.environ.update(
            DATABASE_URL=postgres.url,
            S3SYNC_SECRET_KEY="a key for the benchmark that guards nothing",
            S3SYNC_API_TOKENS=API_TOKEN,
            S3SYNC_API_CALLS_PER_SECOND="0",
            S3SYNC_ALLOWED_HOSTS="*",
            S3SYNC_LOG_LEVEL="ERROR",
            DJANGO_SETTINGS_MODULE="s3sync.settings",
        )
        django.setup()
        report = measure(options)
        connection.close()
    if options.write:
        options.write.write_text(report)


def measure(options: argparse.Namespace) -> str:
    """Fill the database, measure everything in one sitting, and return the report."""
    # These import the models, which need Django's settings, which need DATABASE_URL.
    from benchmarks.idle import MEASURE_SECONDS, measure_idle  # noqa: PLC0415
    from benchmarks.pages import measure_pages  # noqa: PLC0415
    from benchmarks.plans import explain_all  # noqa: PLC0415
    from benchmarks.statements import measure_statements  # noqa: PLC0415
    from benchmarks.tables import Scale, fill, refill_pending  # noqa: PLC0415

    scale = Scale(options.finished, options.pending, options.failed, options.rules)
    began = time.monotonic()
    call_command("migrate", verbosity=0)
    fill(scale)
    refill_pending(scale, share_of_first_rule=0, round_name="pages")
    print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    sections = [_about(scale)]
    loads = [_load()]
    sections.append(_section("Pages and the API, in ms", measure_pages(API_TOKEN)))
    plans = [f"### {what}\n\n```\n{plan}\n```" for what, plan in explain_all()]
    loads.append(_load())
    sections.append(_section("Statements, in ms", measure_statements(scale)))
    loads.append(_load())
    figures, statements = measure_idle()
    idle = _section(f"Idle: one cluster, one web server, one queue, {MEASURE_SECONDS} s", figures)
    top = "\n".join(statements)
    sections.append(f"{idle}\n\nThe most frequent statements:\n\n```\n{top}\n```")
    loads.append(_load())
    sections.append(
        "Load average before the pages, the statements and the idle part, and at the end: "
        f"{', '.join(f'{load:.1f}' for load in loads)}."
    )
    return "\n\n".join([*sections, "## Plans", *plans]) + "\n"


def _section(title: str, figures: "Iterable[Figure]") -> str:
    lines = [f"## {title}\n", HEADINGS]
    print(lines[0], file=sys.stderr)
    for figure in figures:
        print(figure.row(), file=sys.stderr)
        lines.append(figure.row())
    return "\n".join(lines)


def _about(scale: "Scale") -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'), "
            "pg_size_pretty(sum(pg_table_size(relid))), "
            "pg_size_pretty(sum(pg_indexes_size(relid))) "
            "FROM pg_partition_tree('replication_endedjob')"
        )
        version, table_size, index_size = cursor.fetchone()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"""# At scale

Written by `python -m benchmarks.scale --finished {scale.finished} --write docs/reports/scale.md` on
{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {os.cpu_count()} cores ({platform.machine()}),
{memory_gib:.0f} GB of memory, PostgreSQL {version.split()[0]} with its default settings (128 MB of
shared buffers) except fsync, which is off; all on one machine. The machine also did other work: the
line with the load average, before the plans, says how much.

The database has {scale.finished:,} finished jobs, a fifth of them from the last day;
{scale.pending:,} pending jobs; {scale.failed:,} failed jobs with 3 tries each; and {scale.rules}
rules. The history takes {table_size}, and its indexes take {index_size}. With fsync on, each
commit waits for the disk: on this machine 5 to 13 ms more for each claim, completion and
enqueueing."""


def _load() -> float:
    return os.getloadavg()[0]


if __name__ == "__main__":
    main()
