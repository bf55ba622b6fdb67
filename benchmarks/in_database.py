"""Works on the database at DATABASE_URL, and prints its figures as JSON.

python -m benchmarks.in_database fill 5000000      # finished jobs of the first rule, over 14 days
python -m benchmarks.in_database pages 10          # status, metrics and lists, asked so often
python -m benchmarks.in_database prune 5000000     # the end of a day that has so many
python -m benchmarks.in_database snapshot 40000    # jobs claimed and completed beside a snapshot
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import django

CLAIMED_AT_ONCE = 16
ENQUEUED_AT_ONCE = 1000
API_TOKEN = "a-token-for-the-benchmark-only"


def main() -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "s3sync.settings",
        "S3SYNC_ALLOWED_HOSTS": "*",
        "S3SYNC_API_TOKENS": API_TOKEN,
        "S3SYNC_API_CALLS_PER_SECOND": "0",
        "S3SYNC_LOG_LEVEL": "ERROR",
    }
    django.setup()
    works: dict[str, Callable[[int], dict[str, float]]] = {
        "fill": fill,
        "pages": pages,
        "prune": prune,
        "snapshot": snapshot,
    }
    print(json.dumps(works[sys.argv[1]](int(sys.argv[2]))))


def fill(finished: int) -> dict[str, float]:
    from benchmarks.tables import Scale, fill_history  # noqa: PLC0415  imports the models

    began = time.monotonic()
    fill_history(Scale(finished=finished, pending=0, failed=0, rules=1))
    return {"seconds": time.monotonic() - began}


def pages(calls: int) -> dict[str, float]:
    from benchmarks.pages import median_ms  # noqa: PLC0415

    return median_ms(API_TOKEN, calls=calls)


def prune(finished: int) -> dict[str, float]:
    """Fill a day that is past retention, and drop it as the cluster does."""
    from django.db import connection  # noqa: PLC0415

    from benchmarks.tables import fill_day  # noqa: PLC0415
    from replication.operations.retention import prune  # noqa: PLC0415

    fill_day(datetime.now(UTC).date() - timedelta(days=30), jobs=finished)
    began = time.monotonic()
    pruned = prune(seconds=60)
    seconds = time.monotonic() - began
    if pruned.rows.finished_jobs < 0.9 * finished:
        raise RuntimeError(f"expected {finished:,} jobs to be deleted, found {pruned}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT sum(n_dead_tup) FROM pg_stat_user_tables "
            "WHERE relname LIKE 'replication_endedjob%' OR relname = 'replication_transferjob'"
        )
        (dead,) = cursor.fetchone()
    return {"seconds": seconds, "dead_rows": int(dead)}


def snapshot(count: int) -> dict[str, float]:
    """Claim and complete so many jobs, without and with a snapshot that is open meanwhile."""
    from django.db import connection  # noqa: PLC0415

    alone = _work_off(count, "alone/")
    reader = connection.copy("reader")
    with reader.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM replication_replicationrule")
        beside = _work_off(count, "beside/")
    reader.close()
    return {"alone_seconds": alone, "beside_seconds": beside}


def _work_off(count: int, prefix: str) -> float:
    from replication import jobs  # noqa: PLC0415
    from replication.jobs import JobOrder  # noqa: PLC0415
    from replication.models import JobOrigin, Outcome, ReplicationRule  # noqa: PLC0415
    from replication.transfer.results import Completion  # noqa: PLC0415

    rule = ReplicationRule.objects.get().pk
    orders = [JobOrder(rule, f"{prefix}{number}") for number in range(count)]
    for start in range(0, count, ENQUEUED_AT_ONCE):
        some = orders[start : start + ENQUEUED_AT_ONCE]
        jobs.enqueue(some, origin=JobOrigin.EVENT, priority=jobs.PRIORITY_EVENT)
    lane, turns, done, began = uuid4(), jobs.Turns(), 0, time.monotonic()
    while held := jobs.claim(lane, limit=CLAIMED_AT_ONCE, lease_seconds=60, turns=turns):
        done += len(jobs.complete([(job, Completion(Outcome.COPIED)) for job in held]))
    if done != count:
        raise RuntimeError(f"expected {count:,} completed jobs, found {done:,}")
    return time.monotonic() - began


if __name__ == "__main__":
    main()
