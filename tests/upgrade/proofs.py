"""Compares what the HTTP API of the old and of the new code tells of a sample of jobs."""

import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg

from tests.upgrade.installation import Api

SAMPLE = 400


def sample(database: psycopg.Connection, chance: random.Random) -> list[int]:
    """The ids of some jobs that have ended, of each state and outcome."""
    ids: list[int] = []
    kinds = database.execute(
        "SELECT state, coalesce(outcome, '') AS outcome, min(id), max(id) FROM noted.ended "
        "GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    for state, outcome, first, last in kinds:
        wanted = [chance.randint(first, last) for _ in range(SAMPLE // len(kinds))]
        rows = database.execute(
            "SELECT DISTINCT found.id FROM unnest(%s::bigint[]) AS wanted (id), LATERAL ("
            "SELECT id FROM replication_transferjob AS job WHERE job.id >= wanted.id "
            "AND state = %s AND coalesce(outcome, '') = %s ORDER BY id LIMIT 1) AS found",
            [wanted, state, outcome],
        )
        ids += [job_id for (job_id,) in rows]
    return ids


def told(api: Api, ids: list[int]) -> dict[int, Any]:
    """What the API answers for each job."""
    return {job_id: api.ask("GET", f"/api/v1/jobs/{job_id}") for job_id in ids}


def differences(api: Api, before: Mapping[int, Any]) -> list[str]:
    """What the API tells otherwise than before, or does not find by id or by key."""
    found = []
    for job_id, was in before.items():
        now = api.ask("GET", f"/api/v1/jobs/{job_id}")
        found += [f"job {job_id}: {text}" for text in _changes(was, now, "")]
        key = was["job"]["key"]
        listed = api.ask("GET", f"/api/v1/jobs?limit=500&prefix={quote(key, safe='')}")["jobs"]
        if [job for job in listed if job["id"] == job_id and job["key"] == key] != [now["job"]]:
            found.append(f"job {job_id} is not found once by its key {key!r}")
    return found


def _changes(was: Any, now: Any, path: str) -> list[str]:
    """Each value that differs; what only the new code tells is no change."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            text
            for name, value in was.items()
            for text in _changes(value, now.get(name, "nothing"), f"{path}.{name}")
        ]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = enumerate(zip(was, now, strict=True))
        return [text for n, (a, b) in pairs for text in _changes(a, b, f"{path}[{n}]")]
    return [] if was == now else [f"{path} was {was!r}, and is {now!r}"]
