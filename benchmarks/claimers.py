"""Claims jobs of the database at DATABASE_URL as lanes do, and prints how long that took, as JSON.

python -m benchmarks.claimers fill RULES JOBS: that many rules, and as many due jobs for each
python -m benchmarks.claimers claim CLAIMS: one lane, and then LANES at once
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import django

LANES = 4
LIMIT = 16
LEASE_SECONDS = 600
# What a lane of 32 places may still hold of a rule, if there are several.
ROOM = 24

DUE = """
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at,
         source_etag, source_version_id, source_crc64, source_request_id,
         destination_etag, destination_crc64, destination_request_id, error_code, error_detail)
    SELECT rule.id, 'albums/2026/' || md5(number::text) || '/original.jpg',
           'pending', 'event', 0, 0, 10, now(), now(), now() - interval '1 min' * random(),
           '', '', '', '', '', '', '', '', ''
    FROM generate_series(1, %s) AS number, replication_replicationrule AS rule
    -- As they come in: the rules mixed.
    ORDER BY number, rule.id
"""


def fill(rules: int, jobs_each: int) -> None:
    """Replace all rules and jobs.

    The checkpoint comes before the jobs: the first change of a page after a checkpoint writes the
    whole page to the WAL, and how many claims share that depends on the pause between checkpoints.
    """
    from django.db import connection  # noqa: PLC0415  imports the models

    from replication.models import ReplicationRule, Source  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE replication_transferjob CASCADE")
        if ReplicationRule.objects.count() != rules:
            first = ReplicationRule.objects.select_related("source").earliest("pk")
            ReplicationRule.objects.exclude(pk=first.pk).delete()
            sources = Source.objects.bulk_create(
                Source(name=f"{number}", bucket=f"source-{number}", region=first.source.region)
                for number in range(1, rules)
            )
            ReplicationRule.objects.bulk_create(
                ReplicationRule(
                    name=source.name,
                    source=source,
                    destination=first.destination,
                    destination_prefix=f"{source.name}/",
                )
                for source in sources
            )
        cursor.execute("CHECKPOINT")
        cursor.execute(DUE, [jobs_each])
        cursor.execute("VACUUM ANALYZE replication_transferjob")
        cursor.execute("ANALYZE replication_replicationrule")


class Lane:
    """Claims jobs and completes them; one at a time may count the WAL of its claims."""

    def __init__(self, *, counts_wal: bool = False) -> None:
        from replication.jobs import Turns  # noqa: PLC0415
        from replication.models import ReplicationRule  # noqa: PLC0415

        self.times_ms: list[float] = []
        self.sizes: list[int] = []
        self.wal_bytes: list[int] = []
        self._lane = uuid4()
        self._turns = Turns()
        self._room = dict.fromkeys(ReplicationRule.objects.values_list("pk", flat=True), ROOM)
        self._counts_wal = counts_wal

    def work(self, claims: int) -> None:
        from django.db import connection  # noqa: PLC0415

        from benchmarks.statements import settle  # noqa: PLC0415
        from replication import jobs  # noqa: PLC0415

        try:
            for _ in range(claims):
                with self._measured():
                    held = jobs.claim(
                        self._lane,
                        limit=LIMIT,
                        lease_seconds=LEASE_SECONDS,
                        room=self._room,
                        turns=self._turns,
                    )
                self.sizes.append(len(held))
                settle(held)
        finally:
            connection.close()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        before = _wal_bytes() if self._counts_wal else 0
        began = time.perf_counter()
        yield
        self.times_ms.append((time.perf_counter() - began) * 1000)
        if self._counts_wal:
            self.wal_bytes.append(_wal_bytes() - before)


def claim(claims: int) -> dict[str, float]:
    """The figures of so many claims by each lane."""
    alone = Lane(counts_wal=True)
    alone.work(claims)
    together = [Lane() for _ in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(lane.work, claims) for lane in together]:
            done.result()
    sizes = [size for lane in together for size in lane.sizes]
    return {
        "ms_a_claim": statistics.median(alone.times_ms),
        f"ms_a_claim_of_{LANES}_lanes": statistics.median(
            one for lane in together for one in lane.times_ms
        ),
        "wal_bytes_a_job": sum(alone.wal_bytes) / sum(alone.sizes),
        "empty_claims": sizes.count(0),
        "short_claims": sum(size < LIMIT for size in sizes),
    }


def _wal_bytes() -> int:
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return int(cursor.fetchone()[0])


COMMANDS: dict[str, Callable[..., Any]] = {"fill": fill, "claim": claim}


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "s3sync.settings"
    django.setup()
    command, *numbers = sys.argv[1:]
    print(json.dumps(COMMANDS[command](*map(int, numbers))))


if __name__ == "__main__":
    main()
