"""Enqueues one job after the other in several threads, and prints how many, as JSON.

python -m benchmarks.committers THREADS SECONDS [--silent]

Prints a first line when it is ready, and begins when it reads one, so that several of these
processes begin together. With `--silent`, no NOTIFY follows the commits.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from uuid import uuid4

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "s3sync.settings"
    django.setup()
    from replication.jobs import enqueueing  # noqa: PLC0415  imports the models
    from replication.models import ReplicationRule  # noqa: PLC0415

    writers_wanted, seconds = int(sys.argv[1]), float(sys.argv[2])
    if sys.argv[3:] == ["--silent"]:
        enqueueing.wake_lanes = lambda payload="": None
    rule_id = ReplicationRule.objects.earliest("pk").pk
    together = threading.Barrier(writers_wanted + 1)
    with ThreadPoolExecutor(writers_wanted) as pool:
        writers = [pool.submit(write, rule_id, together, seconds) for _ in range(writers_wanted)]
        print("ready", flush=True)
        sys.stdin.readline()
        together.wait()
        print(json.dumps(sum(writer.result() for writer in writers)))


def write(rule_id: int, together: threading.Barrier, seconds: float) -> int:
    """Commit job after job for so long; returns how many."""
    from django.db import connection  # noqa: PLC0415

    from replication import jobs  # noqa: PLC0415
    from replication.models import JobOrigin  # noqa: PLC0415

    connection.ensure_connection()
    name = uuid4().hex
    together.wait()
    until = time.monotonic() + seconds
    try:
        for number in count():
            if time.monotonic() >= until:
                return number
            order = jobs.JobOrder(rule_id, f"{name}/{number}")
            jobs.enqueue([order], origin=JobOrigin.EVENT, priority=jobs.PRIORITY_EVENT)
    finally:
        connection.close()
    raise AssertionError("count() never ends")


if __name__ == "__main__":
    main()
