"""Explains the queries behind the figures: their plans, times and buffers."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.pages import FAILURES, JOBS
from replication import jobs
from replication.monitoring.status import read_status

TABLES = (
    "replication_transferjob",
    "replication_job",
    "replication_endedjob",
    "replication_completedminute",
)
LEASE_SECONDS = 60


class Rollback(Exception):
    """Rolls a transaction back."""


def explain_all() -> Iterator[tuple[str, str]]:
    """Yield the name and the plan of each query; the database is not changed."""
    operator = Client()
    operator.force_login(get_user_model().objects.get(username="bench"))
    calls: dict[str, Callable[[], Any]] = {
        "Claim of 64": lambda: jobs.claim(uuid4(), limit=64, lease_seconds=LEASE_SECONDS),
        "Status": read_status,
        "Jobs": lambda: operator.get(JOBS),
        "Failures": lambda: operator.get(FAILURES),
    }
    for what, call in calls.items():
        statements = [sql for sql in _queries_of(call) if any(table in sql for table in TABLES)]
        for number, statement in enumerate(statements, start=1):
            yield f"{what} ({number} of {len(statements)})", _plan(statement)


def _queries_of(call: Callable[[], Any]) -> list[str]:
    with suppress(Rollback), transaction.atomic():
        with CaptureQueriesContext(connection) as queries:
            call()
        raise Rollback
    return [query["sql"] for query in queries.captured_queries]


def _plan(statement: str) -> str:
    with suppress(Rollback), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        raise Rollback
    # Shorten long lists of ids.
    return re.sub(r"\{[^{}]{80,}\}", "{…}", plan)
