"""Fills the tables like those of an installation that has run for many months."""

from dataclasses import dataclass
from importlib import import_module

from django.db import connection

from replication.models import Destination, ReplicationRule, Source
from replication.monitoring.metrics import fold_minutes


@dataclass(frozen=True)
class Scale:
    """The numbers of rows; a fifth of the finished jobs ended within the last day."""

    finished: int
    pending: int
    failed: int
    rules: int


FINISHED = """
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at, started_at, finalized_at, outcome, size_bytes,
         source_etag, source_version_id, source_crc64, source_request_id,
         destination_etag, destination_crc64, destination_request_id, error_code, error_detail)
    SELECT 1 + i %% %(rules)s, 'albums/2026/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'completed', 'event', 0, 0, 10,
           ended - lag, ended - lag * 0.9, ended - lag * 0.9, ended - interval '0.1 s', ended,
           (ARRAY['copied', 'copied', 'copied', 'unchanged', 'deleted'])[1 + i %% 5],
           CASE WHEN i %% 5 < 4 THEN 20000 + i %% 3000000 END,
           md5(i::text), md5('v' || i), '1284612837460' || i, upper(left(md5(i::text), 16)),
           upper(md5(i::text)), '1284612837460' || i, upper(left(md5('d' || i), 24)), '', ''
    FROM generate_series(1, %(finished)s) AS i,
         LATERAL (SELECT i::float8 / %(finished)s AS share) AS progress,
         -- Job ids grow with time, as in a real installation.
         LATERAL (SELECT now() - interval '1 s' - CASE
                      WHEN share < 0.8 THEN interval '14 days' - interval '13 days' * share / 0.8
                      ELSE interval '1 day' * (1 - share) / 0.2 END AS ended,
                  interval '1 s' * (0.3 + -ln(1 - random()) * 0.5) AS lag) AS times
"""
FAILED = """
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit,
         event_at, enqueued_at, available_at, started_at, finalized_at,
         source_etag, source_version_id, source_crc64, source_request_id,
         destination_etag, destination_crc64, destination_request_id, error_code, error_detail)
    SELECT 1 + i %% %(rules)s, 'broken/2026/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'failed', 'event', 0, 3, 3, ended - interval '9 s', ended - interval '9 s', ended, ended,
           ended, '', '', '', '', '', '', '',
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
         event_at, enqueued_at, available_at,
         source_etag, source_version_id, source_crc64, source_request_id,
         destination_etag, destination_crc64, destination_request_id, error_code, error_detail)
    SELECT CASE WHEN random() < %(share)s THEN 1 ELSE 1 + i %% %(rules)s END,
           'waiting/' || %(round)s || '/' || i %% 366 || '/' || md5(i::text) || '/original.jpg',
           'pending', 'event', 0, (i %% 20 = 0)::int, 10, due, due, due,
           '', '', '', '', '', '', '', '', ''
    FROM generate_series(1, %(pending)s) AS i,
         LATERAL (SELECT now() - interval '10 min' * random() AS due) AS times
"""


def fill(scale: Scale) -> None:
    """Make rules, finished jobs, failed jobs and their tries; then VACUUM and ANALYZE."""
    _make_rules(scale.rules)
    fill_history(scale)


def fill_history(scale: Scale) -> None:
    """The same for the existing rules, whose ids must be 1, 2, …."""
    values = vars(scale)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no foreign-key check per row
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = 'replication_transferjob'::regclass AND NOT indisunique"
        )
        indexes = cursor.fetchall()
        # Building an index afterwards takes a tenth of the time of filling it row by row.
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        cursor.execute(FINISHED, values)
        cursor.execute(FAILED, values)
        cursor.execute(ATTEMPTS)
        for _, definition in indexes:
            cursor.execute(definition)
        cursor.execute(import_module("replication.migrations.0004_rollups").FILL)
        cursor.execute(TRIES_TOTALS, values)
        cursor.execute("SET session_replication_role = DEFAULT")
        fold_minutes()  # as the cluster does every hour
        cursor.execute("VACUUM ANALYZE")


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
