"""Measures the queries and the processor time of an idle service."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.timing import Figure
from sandbox.environment import Sandbox
from sandbox.service import Service

# By then, each worker of the cluster has run a loop once, and has imported its code.
SETTLE_SECONDS = 90
MEASURE_SECONDS = 30
QUERIES_GOAL = 6
CPU_GOAL_PERCENT = 3

# A statement in the server's log, except statements that only begin or end a transaction.
STATEMENT = re.compile(
    rb"LOG:  (?:statement|execute [^:]*): (?!BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)"
)


def measure_idle() -> tuple[list[Figure], list[str]]:
    """Watch a cluster and a web server with one queue; returns figures and the top statements.

    Queries are counted in PostgreSQL's log of statements; processor times come from /proc.
    """
    with Sandbox(fsync=False) as sandbox, Service(sandbox) as service:
        with psycopg.connect(sandbox.postgres.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET log_statement = 'all'")
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(SETTLE_SECONDS)
        log = sandbox.postgres.child.log
        ours = [service.cluster.pid, service.child.pid]
        start = log.stat().st_size
        began, used = time.monotonic(), cpu_seconds(ours)
        used_by_postgres = cpu_seconds([sandbox.postgres.child.pid])
        time.sleep(MEASURE_SECONDS)
        seconds = time.monotonic() - began
        used = cpu_seconds(ours) - used
        used_by_postgres = cpu_seconds([sandbox.postgres.child.pid]) - used_by_postgres
        statements = _statements(log, start)
    rate, cpu = len(statements) / seconds, used / seconds * 100
    figures = [
        Figure("queries", [rate], f"< {QUERIES_GOAL}/s", rate < QUERIES_GOAL, unit="/s"),
        Figure(
            "processor time of the service's processes",
            [cpu],
            f"< {CPU_GOAL_PERCENT} % of a core",
            cpu < CPU_GOAL_PERCENT,
            unit="%",
        ),
        Figure("processor time of PostgreSQL", [used_by_postgres / seconds * 100], unit="%"),
    ]
    most = Counter(statements).most_common(15)
    return figures, [f"{number / seconds:5.2f}/s  {text}" for text, number in most]


def _statements(log: Path, start: int) -> list[str]:
    """The beginnings of the statements that were logged after the offset `start`."""
    with log.open("rb") as file:
        file.seek(start)
        logged = file.read()
    return [
        re.sub(r"\s+", " ", logged[found.end() : found.end() + 150].decode(errors="replace")).split(
            " 20", 1
        )[0][:90]
        for found in STATEMENT.finditer(logged)
    ]


def cpu_seconds(roots: list[int]) -> float:
    """Processor time of these processes and all their descendants, including ended ones."""
    fields = {int(path.parent.name): text for path, text in _stats()}
    children: dict[int, list[int]] = {}
    for pid, text in fields.items():
        children.setdefault(int(text[1]), []).append(pid)
    ticks, waiting = 0, list(roots)
    while waiting:
        pid = waiting.pop()
        # utime and stime; cutime and cstime, the times of children that were waited for.
        ticks += sum(int(number) for number in fields[pid][11:15])
        waiting += children.get(pid, [])
    return ticks / os.sysconf("SC_CLK_TCK")


def _stats() -> Iterator[tuple[Path, list[str]]]:
    """Each process's /proc/<pid>/stat, split after its name, which may have spaces and brackets."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield path, path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
