"""Measures the pages and the API through Django's test client."""

import statistics
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from benchmarks.timing import Figure, Stopwatch
from replication.models import JobState, ReplicationRule

CALLS = 10
API_GOAL_MS = 100
PAGE_GOAL_MS = 500

JOBS = "/admin/replication/transferjob/"
FAILURES = "/admin/replication/failedjob/"
API_PATHS = [
    "/api/v1/status",
    "/metrics",
    "/api/v1/jobs",
    "/api/v1/jobs?state=pending",
    "/api/v1/jobs?state=completed",
    "/api/v1/jobs?state=completed&rule=rule-1",
    "/api/v1/jobs?state=failed",
    "/api/v1/jobs?state=failed&rule=rule-1",
    "/api/v1/jobs?state=failed&error=unexpected",
    "/api/v1/jobs?rule=rule-1",
    "/api/v1/jobs?rule=idle",
    "/api/v1/jobs?state=completed&rule=idle",
    "/api/v1/jobs?prefix=albums/2026/100/0123",
]
SEARCH = "/api/v1/jobs?prefix=albums/2026/1"
PAGES = {
    "status page": "/status/",
    "admin: index": "/admin/",
    "admin: jobs": JOBS,
    **{f"admin: jobs, state {state.value}": f"{JOBS}?state={state.value}" for state in JobState},
    "admin: jobs, state retrying": f"{JOBS}?state=retrying",
    "admin: jobs, one rule": f"{JOBS}?rule__id__exact=1",
    "admin: jobs, one rule, pending": f"{JOBS}?rule__id__exact=1&state=pending",
    "admin: jobs, search a prefix of many": f"{JOBS}?q=albums/2026/1",
    "admin: jobs, search a prefix of few": f"{JOBS}?q=albums/2026/100/0123",
    "admin: jobs, search a prefix of none": f"{JOBS}?q=zzz",
    "admin: jobs, search a prefix of many, failed": f"{JOBS}?q=albums/2026/1&state=failed",
    "admin: failures": FAILURES,
    "admin: failures, one rule": f"{FAILURES}?rule__id__exact=1",
    "admin: failures, one cause": f"{FAILURES}?error_code=unexpected",
}


# What machines and people ask again and again.
WATCHED = {
    "status": "/api/v1/status",
    "metrics": "/metrics",
    "jobs": "/api/v1/jobs",
    "completed jobs": "/api/v1/jobs?state=completed",
    "status page": "/status/",
    "page of jobs": JOBS,
}


def median_ms(api_token: str, *, calls: int) -> dict[str, float]:
    """GET each of WATCHED so often, after a first time; returns the median by its name, in ms."""
    client = _logged_in()
    bearer = {"Authorization": f"Bearer {api_token}"}
    figures = {}
    for name, path in WATCHED.items():
        headers = {} if path in {JOBS, "/status/"} else bearer
        watch = _timed(client, path, calls=calls, headers=headers)
        figures[f"{name.replace(' ', '_')}_ms"] = statistics.median(watch.times_ms)
    return figures


def measure_pages(api_token: str) -> Iterator[Figure]:
    """GET each page ten times, after a first time that loads its code and templates."""
    client = _logged_in()
    _make_idle_rule()
    bearer = {"Authorization": f"Bearer {api_token}"}
    for path in API_PATHS:
        yield _figure(client, f"GET {path}", path, API_GOAL_MS, headers=bearer)
    yield _figure(client, f"GET {SEARCH}", SEARCH, PAGE_GOAL_MS, headers=bearer)
    yield _pages_of_jobs(client, bearer)
    for what, path in PAGES.items():
        yield _figure(client, what, path, PAGE_GOAL_MS)


def _logged_in() -> Client:
    import_module("s3sync.wsgi")  # the web server loads it, and freezes what it has loaded
    client = Client()
    users = get_user_model().objects
    users.filter(username="bench").delete()
    client.force_login(users.create_superuser("bench"))
    return client


def _make_idle_rule() -> None:
    """Make a rule without jobs: the worst case for a search among all jobs."""
    rule = ReplicationRule.objects.get(name="rule-1")
    rule.pk, rule.name = 1000, "idle"
    rule.save(force_insert=True)


def _pages_of_jobs(client: Client, bearer: dict[str, str]) -> Figure:
    """Fetch 100 pages, one after another: later pages must not take longer."""
    watch, cursor = Stopwatch(), ""
    for _ in range(100):
        query = {"state": "completed", "limit": "500", "cursor": cursor}
        cursor = watch(client.get, "/api/v1/jobs", query, headers=bearer).json()["next_cursor"]
    is_met = max(watch.times_ms) < PAGE_GOAL_MS
    goal = f"max < {PAGE_GOAL_MS}"
    return Figure("100 pages of 500 completed jobs, each", watch.times_ms, goal, is_met)


def _figure(client: Client, what: str, path: str, goal_ms: int, **options: Any) -> Figure:
    watch = _timed(client, path, calls=CALLS, **options)
    return Figure(what, watch.times_ms, f"max < {goal_ms}", max(watch.times_ms) < goal_ms)


def _timed(client: Client, path: str, *, calls: int, **options: Any) -> Stopwatch:
    watch = Stopwatch()
    client.get(path, **options)
    for _ in range(calls):
        answer = watch(client.get, path, **options)
        assert answer.status_code == 200, (path, answer.status_code)
    return watch
