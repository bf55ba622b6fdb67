"""running → completed, with the proof of copy, and counted for status."""

import json
from collections.abc import Sequence

from django.db import connection, transaction

from replication.jobs.claiming import ClaimedJob
from replication.jobs.enqueueing import PRIORITY_EVENT, JobOrder, enqueue
from replication.models import LAG_BOUNDS_SECONDS, JobOrigin
from replication.transfer.results import Completion


def complete(completions: Sequence[tuple[ClaimedJob, Completion]]) -> set[int]:
    """running → completed, for many jobs in one statement, which also counts them for status.

    Returns the ids of the jobs that were still ours. A key that was copied while an earlier write
    might still land is looked at once more when that write can't land any longer.
    """
    in_doubt = [job for job, _ in completions if job.write_in_doubt_until]
    if not in_doubt:
        return _complete(completions)
    with transaction.atomic():
        completed = _complete(completions)
        enqueue(
            [
                JobOrder(job.rule_id, job.key, not_before=job.write_in_doubt_until)
                for job in in_doubt
                if job.id in completed
            ],
            origin=JobOrigin.DOUBT,
            priority=PRIORITY_EVENT,
        )
    return completed


def _complete(completions: Sequence[tuple[ClaimedJob, Completion]]) -> set[int]:
    if not completions:
        return set()
    # JSON, because psycopg takes many times as long to write arrays.
    rows = json.dumps(
        [{"id": job.id, "attempt": job.attempt} | vars(done) for job, done in completions]
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH completed AS (
                UPDATE replication_transferjob AS job
                SET state = 'completed', finalized_at = now(),
                    lease_expires_at = NULL, claimed_by = NULL,
                    outcome = done.outcome, size_bytes = done.size_bytes,
                    source_etag = done.source_etag, source_version_id = done.source_version_id,
                    source_crc64 = done.source_crc64, source_checksum = done.source_checksum,
                    source_request_id = done.source_request_id,
                    destination_etag = done.destination_etag,
                    destination_crc64 = done.destination_crc64,
                    destination_request_id = done.destination_request_id,
                    remarks = done.remarks,
                    error_code = '', error_detail = ''
                FROM json_to_recordset(%s)
                    AS done (id bigint, attempt int, outcome text, size_bytes bigint,
                             source_etag text, source_version_id text, source_crc64 text,
                             source_checksum text, source_request_id text, destination_etag text,
                             destination_crc64 text, destination_request_id text, remarks text)
                WHERE job.id = done.id AND job.state = 'running' AND job.attempt = done.attempt
                RETURNING job.id, job.rule_id, job.outcome, job.size_bytes, job.delete_permit,
                    width_bucket(extract(epoch FROM now() - job.event_at)::float8, %s::float8[])
                        AS lag_bucket
            ), counted AS (
                INSERT INTO replication_completedminute AS sofar
                    (rule_id, minute, jobs, copied_bytes, charged_deletes, lag_counts)
                SELECT rule_id, date_trunc('minute', now()), count(*),
                       coalesce(sum(size_bytes) FILTER (WHERE outcome = 'copied'), 0),
                       count(*) FILTER (
                           WHERE outcome = 'deleted' AND delete_permit <> 'confirmed'),
                       ARRAY(SELECT count(same.bucket)::int
                             FROM generate_series(0, %s) AS number
                             LEFT JOIN unnest(array_agg(lag_bucket)) AS same (bucket)
                                    ON same.bucket = number
                             GROUP BY number ORDER BY number)
                FROM completed GROUP BY rule_id
                ORDER BY rule_id  -- so that two lanes can't deadlock
                ON CONFLICT (minute, rule_id) DO UPDATE SET
                    jobs = sofar.jobs + excluded.jobs,
                    copied_bytes = sofar.copied_bytes + excluded.copied_bytes,
                    charged_deletes = sofar.charged_deletes + excluded.charged_deletes,
                    lag_counts = ARRAY(
                        SELECT had + came
                        FROM unnest(sofar.lag_counts, excluded.lag_counts) WITH ORDINALITY
                            AS both_counts (had, came, number)
                        ORDER BY number)
            )
            SELECT id FROM completed
            """,
            [rows, LAG_BOUNDS_SECONDS, len(LAG_BOUNDS_SECONDS)],
        )
        return {row[0] for row in cursor.fetchall()}
