"""Fills the tables like those of an installation that has run for many months."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any

from django.db import connection

from replication.jobs import history
from replication.models import Destination, ReplicationRule, Source
from replication.monitoring.metrics import fold_minutes


@dataclass(frozen=True)
class Scale:
    """The numbers of rows; a fifth of the finished jobs ended within the last day."""

    finished: int
    pending: int
    failed: int
    rules: int


DAYS = 14  # over which the finished jobs ended
OVER_THESE_DAYS = """
    now() - interval '1 s' - CASE
        WHEN share < 0.8 THEN interval '14 days' - interval '13 days' * share / 0.8
        ELSE interval '1 day' * (1 - share) / 0.2 END
"""
ON_ONE_DAY = "%(day)s::timestamptz + share * interval '23 hours'"

FINISHED = """
    INSERT INTO replication_endedjob
        (id, rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at, started_at, finalized_at, outcome, size_bytes,
         source_etag, source_version_id, source_crc64, source_request_id,
         destination_etag, destination_crc64, destination_request_id, rule_version)
    SELECT i, 1 + i %% %(rules)s,
           'albums/2026/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'completed', 'event', 0, 0, 10,
           ended - lag, ended - lag * 0.9, ended - lag * 0.9, ended - interval '0.1 s', ended,
           (ARRAY['copied', 'copied', 'copied', 'unchanged', 'deleted'])[1 + i %% 5],
           CASE WHEN i %% 5 < 4 THEN 20000 + i %% 3000000 END,
           md5(i::text), md5('v' || i), '1284612837460' || i, upper(left(md5(i::text), 16)),
           upper(md5(i::text)), '1284612837460' || i, upper(left(md5('d' || i), 24)), 1
    FROM generate_series(%(first)s, %(last)s) AS i,
         LATERAL (SELECT i::float8 / %(finished)s AS share) AS progress,
         -- Job ids grow with time, as in a real installation.
         LATERAL (SELECT {ended} AS ended,
                  interval '1 s' * (0.3 + -ln(1 - random()) * 0.5) AS lag) AS times
"""
FAILED = """
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at, started_at, finalized_at, error_code, error_detail)
    SELECT 1 + i %% %(rules)s, 'broken/2026/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'failed', 'event', 0, 3, 3, ended - interval '9 s', ended - interval '9 s', ended, ended,
           ended,
           (ARRAY['source_truncated', 'destination_unavailable', 'unexpected'])[1 + i %% 3],
           'what the other side answered, in some sixty letters or somewhat more'
    FROM generate_series(1, %(failed)s) AS i,
         LATERAL (SELECT now() - interval '14 days' * i / %(failed)s AS ended) AS times
"""
ATTEMPTS = """
    INSERT INTO replication_transferattempt (job_id, number, started_at, ended_at, code, detail,
                                             request_id)
    SELECT job.id, number, job.started_at, job.finalized_at, job.error_code, job.error_detail, 'R'
    FROM replication_transferjob AS job, generate_series(1, 3) AS number
    WHERE job.state = 'failed'
"""
TRIES_TOTALS = """
    INSERT INTO replication_triestotal (rule_id, code, shard, tries)
    SELECT rule, code, shard, 1000
    FROM generate_series(1, %(rules)s) AS rule, generate_series(0, 15) AS shard,
         unnest(ARRAY['source_truncated', 'destination_unavailable', 'unexpected']) AS code
"""
PENDING = """
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at)
    SELECT CASE WHEN random() < %(share)s THEN 1 ELSE 1 + i %% %(rules)s END,
           'waiting/' || %(round)s || '/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'pending', 'event', 0, (i %% 20 = 0)::int, 10, due, due, due
    FROM generate_series(1, %(pending)s) AS i,
         LATERAL (SELECT now() - interval '10 min' * random() AS due) AS times
"""
WITHOUT_CHECKS = "SET session_replication_role = replica"  # no foreign-key check per row


def fill(scale: Scale) -> None:
    """Make rules, finished jobs, failed jobs and their tries; then VACUUM and ANALYZE."""
    _make_rules(scale.rules)
    fill_history(scale)


def fill_history(scale: Scale) -> None:
    """The same for the existing rules, whose ids must be 1, 2, …."""
    values = vars(scale)
    with connection.cursor() as cursor:
        for number in range(DAYS + 1):
            history.make_day(datetime.now(UTC).date() - timedelta(days=number))
        cursor.execute(WITHOUT_CHECKS)
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid IN ('replication_transferjob'::regclass, "
            "'replication_endedjob'::regclass) AND NOT indisunique"
        )
        indexes = cursor.fetchall()
        # Building an index afterwards takes a tenth of the time of filling it row by row.
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        _insert_finished(OVER_THESE_DAYS, values)
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('replication_transferjob', 'id'), "
            "(SELECT coalesce(max(id), 1) FROM replication_job))"
        )
        cursor.execute(FAILED, values)
        cursor.execute(ATTEMPTS)
        for _, definition in indexes:
            cursor.execute(definition.replace(" ON ONLY ", " ON "))  # and on each day
        rollups = import_module("replication.migrations.0004_rollups").FILL
        cursor.execute(rollups.replace("replication_transferjob", "replication_job"))
        cursor.execute(TRIES_TOTALS, values)
        cursor.execute("SET session_replication_role = DEFAULT")
        fold_minutes()  # as the cluster does every hour
        cursor.execute("VACUUM ANALYZE")


def fill_day(day: date, *, jobs: int) -> None:
    """Make finished jobs of the first rule that ended on one day of the past."""
    history.make_day(day)
    _insert_finished(ON_ONE_DAY, {"finished": jobs, "rules": 1, "day": f"{day}T00:00:00Z"})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _insert_finished(ended: str, values: Mapping[str, Any]) -> None:
    """Make the finished jobs, on all cores."""
    cores = os.cpu_count() or 1
    bounds = [values["finished"] * number // cores for number in range(cores + 1)]
    sql = FINISHED.format(ended=ended)

    def insert(first: int, last: int) -> None:
        with closing(connection), connection.cursor() as cursor:  # a connection of this thread
            cursor.execute(WITHOUT_CHECKS)
            cursor.execute(sql, {**values, "first": first, "last": last})

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(insert, (bound + 1 for bound in bounds), bounds[1:]))


def refill_pending(scale: Scale, *, share_of_first_rule: float, round_name: str) -> None:
    """Replace all pending and running jobs by new pending jobs.

    The first rule gets `share_of_first_rule` of them, and its part of the rest.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM replication_transferjob WHERE state = 'pending' OR state = 'running'"
        )
        cursor.execute(PENDING, {**vars(scale), "share": share_of_first_rule, "round": round_name})
        cursor.execute("VACUUM ANALYZE replication_transferjob")


def _make_rules(count: int) -> None:
    source = Source.objects.create(name="bench", bucket="bench", region="ap-east-1")
    destination = Destination.objects.create(
        name="bench",
        bucket="bench",
        endpoint="https://oss-cn-hongkong.aliyuncs.com",
        region="cn-hongkong",
    )
    for number in range(1, count + 1):
        ReplicationRule.objects.create(
            id=number, name=f"rule-{number}", source=source, destination=destination
        )
