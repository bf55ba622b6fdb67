"""Times of the pages and of the API, through Django's test client."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from benchmarks.timing import Figure, Stopwatch
from replication.models import JobState

CALLS = 10
STATUS_GOAL_MS = 100
PAGE_GOAL_MS = 500

JOBS = "/admin/replication/transferjob/"
FAILURES = "/admin/replication/failedjob/"
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


def measure_pages(api_token: str) -> Iterator[Figure]:
    """GET each page ten times, after once that loads its code and templates."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("bench"))
    bearer = {"Authorization": f"Bearer {api_token}"}
    yield _figure(client, "GET /api/v1/status", "/api/v1/status", STATUS_GOAL_MS, headers=bearer)
    for what, path in PAGES.items():
        yield _figure(client, what, path, PAGE_GOAL_MS)


def _figure(client: Client, what: str, path: str, goal_ms: int, **options: Any) -> Figure:
    watch = Stopwatch()
    client.get(path, **options)
    for _ in range(CALLS):
        answer = watch(client.get, path, **options)
        assert answer.status_code == 200, (path, answer.status_code)
    return Figure(what, watch.times_ms, f"max < {goal_ms}", max(watch.times_ms) < goal_ms)
