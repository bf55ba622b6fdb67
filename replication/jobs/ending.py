"""The way out of the queue: a job that ends becomes a row of the history, with its tries."""

from collections.abc import Collection

from django.db import connection

# A job that was tried for weeks is told by its last tries; its `attempt` counts them all.
KEPT_TRIES = 100

# What the history takes over from the queue as it is.
TAKEN_OVER = (
    "id, rule_id, key, origin, priority, attempt, attempt_limit, ignores_filters, only_tags, "
    "event_at, enqueued_at, available_at, started_at, write_in_doubt_until, delete_permit, "
    "hold_reason"
)
PROOF = (
    "outcome, size_bytes, source_etag, source_version_id, source_crc64, source_checksum, "
    "source_request_id, destination_etag, destination_crc64, destination_request_id, remarks"
)

# CTEs after one named `ended` with the rows that left the queue: their tries leave too. `told` has
# them as JSON, made once: to look for each job's tries among those of all takes minutes.
TRIES_LEAVE = f"""
    tried AS (
        DELETE FROM replication_transferattempt AS one USING ended
        WHERE one.job_id = ended.id AND ended.attempt > 0
        RETURNING one.*, ended.attempt
    ), told AS MATERIALIZED (
        SELECT job_id,
               jsonb_agg(to_jsonb(tried) - ARRAY['id', 'job_id', 'attempt'] ORDER BY number)
                   AS tries
        FROM tried WHERE attempt - number < {KEPT_TRIES} GROUP BY job_id
    )
"""  # noqa: S608 - inserts our own constants only


def leave(job_ids: Collection[int]) -> int:
    """Move those of these jobs that have ended into the history. Returns how many.

    For jobs that end without a copy, in the transaction that ends them; `complete` moves those with
    one. Also for jobs that completed under a version of s3sync that kept them in the queue.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH ended AS (
                DELETE FROM replication_transferjob
                WHERE id = ANY(%s) AND state IN ('completed', 'cancelled', 'superseded')
                RETURNING *
            ), {TRIES_LEAVE}
            INSERT INTO replication_endedjob
                ({TAKEN_OVER}, {PROOF}, state, finalized_at, error_code, error_detail, tries)
            SELECT {TAKEN_OVER}, {PROOF}, state, finalized_at, error_code, error_detail, tries
            FROM ended LEFT JOIN told ON told.job_id = ended.id
            """,  # noqa: S608 - inserts our own constants only
            [list(job_ids)],
        )
        return cursor.rowcount
