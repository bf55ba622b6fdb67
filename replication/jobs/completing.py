"""running → completed: out of the queue, into the history with its proof, counted for status."""

import json
from collections.abc import Sequence

from django.db import connection, transaction

from replication.jobs.claiming import RUNS, ClaimedJob
from replication.jobs.ending import PROOF, TAKEN_OVER, TRIES_LEAVE
from replication.jobs.enqueueing import PRIORITY_EVENT, JobOrder, enqueue
from replication.models import LAG_BOUNDS_SECONDS, JobOrigin
from replication.transfer.results import Completion


def complete(completions: Sequence[tuple[ClaimedJob, Completion]]) -> set[tuple[int, int]]:
    """running → completed, for many jobs in one statement, which also counts them for status.

    Returns (id, token) of the jobs that were still ours. Two kinds of keys are looked at once more:

    - a key that was copied while an earlier write might still land, once that write can't land;
    - a key whose rule was changed since the lane read the rule.
    """
    in_doubt = [one for one in completions if one[0].write_in_doubt_until]
    # Usually there are none: one statement, which is its own transaction.
    completed = _complete([one for one in completions if not one[0].write_in_doubt_until])
    if in_doubt:
        completed |= _complete_and_look_again(in_doubt, JobOrigin.DOUBT)
    # These are of an older version of their rule, or not ours any more.
    if rest := [one for one in completions if one[0].claim not in completed]:
        completed |= _complete_and_look_again(rest, JobOrigin.RULE_CHANGED, of_any_version=True)
    return completed


def _complete_and_look_again(
    completions: Sequence[tuple[ClaimedJob, Completion]],
    origin: JobOrigin,
    *,
    of_any_version: bool = False,
) -> set[tuple[int, int]]:
    with transaction.atomic():
        completed = _complete(completions, of_any_version=of_any_version)
        enqueue(
            [
                JobOrder(
                    job.rule_id,
                    job.key,
                    not_before=job.write_in_doubt_until,
                    ignores_filters=job.ignores_filters,
                    # A changed rule may ask for another copy.
                    only_tags=job.only_tags and not of_any_version,
                )
                for job, _ in completions
                if job.claim in completed
            ],
            origin=origin,
            priority=PRIORITY_EVENT,
        )
    return completed


def _complete(
    completions: Sequence[tuple[ClaimedJob, Completion]], *, of_any_version: bool = False
) -> set[tuple[int, int]]:
    """Complete the jobs that are still ours, and whose rule is still as the lane read it."""
    if not completions:
        return set()
    # JSON, because psycopg takes many times as long to write arrays.
    rows = json.dumps(
        [
            {"id": job.id, "token": job.token, "rule_version": job.rule_version} | vars(done)
            for job, done in completions
        ]
    )
    ids = f"{{{','.join(str(job.id) for job, _ in completions)}}}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH done AS MATERIALIZED (
                SELECT * FROM json_to_recordset(%s)
                    AS done (id bigint, token int, rule_version bigint, outcome text,
                             size_bytes bigint,
                             source_etag text, source_version_id text, source_crc64 text,
                             source_checksum text, source_request_id text, destination_etag text,
                             destination_crc64 text, destination_request_id text, remarks text)
            ), ended AS (
                DELETE FROM replication_transferjob AS job USING done
                -- The ids as a constant: their number is known when this is planned.
                WHERE job.id = ANY(%s::bigint[])
                  AND job.id = done.id AND {RUNS} AND job.token = done.token
                  AND (%s OR done.rule_version = (
                      SELECT version FROM replication_replicationrule WHERE id = job.rule_id))
                RETURNING job.*
            ), {TRIES_LEAVE}, history AS (
                INSERT INTO replication_endedjob
                    ({TAKEN_OVER}, {PROOF}, rule_version, state, finalized_at,
                     error_code, error_detail, tries)
                SELECT {_of("ended", TAKEN_OVER)}, {_of("done", PROOF)}, done.rule_version,
                       'completed', now(), '', '', tries
                FROM ended JOIN done USING (id) LEFT JOIN told ON told.job_id = ended.id
            ), completed AS (
                SELECT ended.rule_id, done.outcome, done.size_bytes, ended.delete_permit,
                    ended.origin,
                    -- Nobody waits for what a comparison of buckets has found.
                    CASE WHEN ended.origin <> 'sweep' THEN width_bucket(
                        extract(epoch FROM now() - ended.event_at)::float8, %s::float8[])
                    END AS lag_bucket
                FROM ended JOIN done USING (id)
            ), counted AS (
                INSERT INTO replication_completedminute AS sofar
                    (rule_id, minute, jobs, swept_jobs, copied_bytes, charged_deletes, lag_counts)
                SELECT rule_id, date_trunc('minute', now()), count(*),
                       count(*) FILTER (WHERE origin = 'sweep'),
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
                    swept_jobs = sofar.swept_jobs + excluded.swept_jobs,
                    copied_bytes = sofar.copied_bytes + excluded.copied_bytes,
                    charged_deletes = sofar.charged_deletes + excluded.charged_deletes,
                    lag_counts = ARRAY(
                        SELECT had + came
                        FROM unnest(sofar.lag_counts, excluded.lag_counts) WITH ORDINALITY
                            AS both_counts (had, came, number)
                        ORDER BY number)
            )
            SELECT id, token FROM ended
            """,  # noqa: S608 - inserts our own constants only
            [rows, ids, of_any_version, LAG_BOUNDS_SECONDS, len(LAG_BOUNDS_SECONDS)],
        )
        return set(cursor.fetchall())


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))
