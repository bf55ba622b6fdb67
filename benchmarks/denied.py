"""Measures two rules, one of which OSS refuses: its requests, and the lag of the other rule.

.venv/bin/python -m benchmarks.denied
"""

import argparse
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import django
from django.db import connection

from benchmarks.timing import Figure
from sandbox.environment import Sandbox
from sandbox.service import Service

if TYPE_CHECKING:
    from replication.models import Job

HEADINGS = "| | calls | p50 | p99 | max | goal |\n|---|---:|---:|---:|---:|---|"
LAG_GOAL_MS = 2000
REQUESTS_GOAL = 20
TRICKLE_SECONDS = 0.1
WRITERS = 2
PATIENCE_SECONDS = 300


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.denied", description=__doc__)
    parser.add_argument("--denied", type=int, default=2000, help="objects of the refused rule")
    parser.add_argument("--fresh", type=int, default=300, help="objects of the other rule")
    options = parser.parse_args()
    with Sandbox(fsync=False) as sandbox, Service(sandbox) as service:
        os.environ.update(
            DATABASE_URL=sandbox.postgres.url,
            S3SYNC_SECRET_KEY="a key for the benchmark that guards nothing",
            S3SYNC_LOG_LEVEL="ERROR",
            DJANGO_SETTINGS_MODULE="s3sync.settings",
        )
        django.setup()
        print(HEADINGS)
        for figure in measure(sandbox, service, denied=options.denied, fresh=options.fresh):
            print(figure.row(), flush=True)
        connection.close()
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}.")


def measure(sandbox: Sandbox, service: Service, *, denied: int, fresh: int) -> Iterator[Figure]:
    """The other rule's lag, the refused rule's requests, and how long its backlog then takes.

    The objects of the refused rule are put, while one by one objects of the other rule follow; OSS
    refuses from the start. Then OSS accepts writes again, and no person does anything else.
    """
    from replication.models import JobState, ReplicationRule  # noqa: PLC0415

    good = ReplicationRule.objects.get()
    ReplicationRule.objects.filter(pk=good.pk).update(source_prefix="fresh/")
    bad = ReplicationRule.objects.create(
        name="refused",
        source=good.source,
        destination=good.destination,
        source_prefix="denied/",
    )
    denial = {"key_prefix": "denied/", "actions": ["oss:PutObject"]}
    ask_oss(sandbox, "POST", "/-/denials", denial)
    s3 = sandbox.aws.client("s3")

    def put(key: str) -> None:
        s3.put_object(Bucket=sandbox.source_bucket, Key=key, Body=b"content")

    jobs = Job.objects.filter(rule=bad)
    fresh_done = Job.objects.filter(rule=good, state=JobState.COMPLETED)
    with ThreadPoolExecutor(WRITERS) as writers:
        writing = [writers.submit(put, f"denied/{number}") for number in range(denied)]
        for number in range(fresh):
            put(f"fresh/{number}")
            time.sleep(TRICKLE_SECONDS)
        for write in writing:
            write.result()
    _await(service, lambda: fresh_done.count() == fresh and jobs.count() == denied)
    lags_ms = list(map(_lag_ms, fresh_done))
    is_met = max(lags_ms) < LAG_GOAL_MS
    yield Figure("lag of the other rule, in ms", lags_ms, f"max < {LAG_GOAL_MS}", is_met)

    log = json.loads(ask_oss(sandbox, "GET", "/-/requests"))
    assert not log["dropped"], "the stand-in's log is too short for this many objects"
    refused = [entry for entry in log["requests"] if entry["key"].startswith("denied/")]
    assert {entry["status"] for entry in refused} == {403}
    yield Figure(
        f"requests of the refused rule, {denied:,} jobs",
        [len(refused)],
        f"<= {REQUESTS_GOAL}",
        len(refused) <= REQUESTS_GOAL,
        unit="",
    )

    began = time.monotonic()
    ask_oss(sandbox, "DELETE", "/-/denials")
    _await(service, lambda: jobs.filter(state=JobState.COMPLETED).count() == denied)
    yield Figure(
        "from the end of the refusal to the last copy", [time.monotonic() - began], unit="s"
    )


def _lag_ms(job: "Job") -> float:
    assert job.lag is not None
    return job.lag.total_seconds() * 1000


def _await(service: Service, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        service.check()
        if time.monotonic() > deadline:
            raise SystemExit(
                f"The jobs were not done within {PATIENCE_SECONDS} s: see the service's status."
            )
        time.sleep(0.25)


def ask_oss(sandbox: Sandbox, method: str, path: str, payload: Any = None) -> bytes:
    """Call the OSS stand-in's control API."""
    control = http.client.HTTPConnection(urlsplit(sandbox.oss.endpoint_url).netloc, timeout=60)
    try:
        control.request(method, path, json.dumps(payload) if payload is not None else None)
        answer = control.getresponse()
        body = answer.read()
    finally:
        control.close()
    if answer.status != 200:
        raise SystemExit(f"The OSS stand-in refused {method} {path}: {body.decode()}")
    return body


if __name__ == "__main__":
    main()
