"""Notes each job as the old code tells it, and compares that with what the new code tells.

The notes are tables in the schema `noted` of the same database, so that millions of jobs can be
compared by SQL. Triggers note each job that ends in the queue, and each try, from then on.
"""

import psycopg

from tests.upgrade.rows import CARRIED, KINDS

_COLUMNS = (
    "id, rule_id, key, state, origin, priority, attempt, attempt_limit, ignores_filters, "
    "only_tags, event_at, enqueued_at, available_at, started_at, finalized_at, "
    "write_in_doubt_until, delete_permit, hold_reason, size_bytes, error_code, error_detail, "
    "outcome, source_etag, source_version_id, source_crc64, source_request_id, source_checksum, "
    "destination_etag, destination_crc64, destination_request_id, remarks"
)
_QUEUED = f"{_COLUMNS}, lease_expires_at, claimed_by"
_TRY = "job_id, number, started_at, ended_at, code, detail, request_id"
_ENDED = "state IN ('completed', 'cancelled', 'superseded')"


def _of(row: str, columns: str) -> str:
    return ", ".join(f"{row}.{column}" for column in columns.split(", "))


_BEGIN = f"""
CREATE SCHEMA noted;
CREATE TABLE noted.ended AS SELECT {_COLUMNS} FROM replication_transferjob WHERE {_ENDED};
CREATE TABLE noted.unfinished AS SELECT {_QUEUED} FROM replication_transferjob
    WHERE NOT {_ENDED} AND key LIKE '{CARRIED}%';
CREATE TABLE noted.try AS SELECT {_TRY} FROM replication_transferattempt;

CREATE FUNCTION noted.note_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted.ended SELECT {_of("NEW", _COLUMNS)};
    RETURN NULL;
END $$;
CREATE TRIGGER note_ended AFTER UPDATE ON replication_transferjob
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.{_ENDED})
    EXECUTE FUNCTION noted.note_ended();

CREATE FUNCTION noted.note_try() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted.try SELECT {_of("NEW", _TRY)};
    RETURN NULL;
END $$;
CREATE TRIGGER note_try AFTER INSERT ON replication_transferattempt
    FOR EACH ROW EXECUTE FUNCTION noted.note_try();
"""
_END = """
DROP TRIGGER note_ended ON replication_transferjob;
DROP TRIGGER note_try ON replication_transferattempt;
CREATE INDEX ON noted.ended (id);
CREATE INDEX ON noted.try (job_id);
ANALYZE noted.ended, noted.unfinished, noted.try;
"""

_NOTED = f"SELECT {_COLUMNS} FROM noted.ended"
_TOLD = f"SELECT {_COLUMNS} FROM replication_job WHERE id IN (SELECT id FROM noted.ended)"
_NOTED_TRIES = """
    SELECT job_id AS id, jsonb_agg(to_jsonb(one) - 'job_id' ORDER BY number) AS tries
    FROM noted.try AS one GROUP BY job_id
"""
_TOLD_TRIES = """
    SELECT id, tries FROM replication_job WHERE tries IS NOT NULL
    UNION ALL
    SELECT job_id, jsonb_agg(to_jsonb(one) - 'id' - 'job_id' ORDER BY number)
    FROM replication_transferattempt AS one GROUP BY job_id
"""
_STAYS = " OR ".join(f"key LIKE '{kind.prefix}%'" for kind in KINDS if not kind.is_carried_on)
_STAYING = f"SELECT {_QUEUED} FROM noted.unfinished WHERE {_STAYS}"
_STAYED = f"SELECT {_QUEUED} FROM replication_job WHERE {_STAYS}"

# Each is a query that finds no row if all is well; its first column is an id.
_CHECKS = {
    "ended jobs that are missing or differ": f"({_NOTED}) EXCEPT ALL ({_TOLD})",
    "ended jobs that are told twice or differ": f"({_TOLD}) EXCEPT ALL ({_NOTED})",
    "ids of two jobs": "SELECT id FROM replication_job GROUP BY id HAVING count(*) > 1",
    "jobs whose tries are missing or differ": f"({_NOTED_TRIES}) EXCEPT ALL ({_TOLD_TRIES})",
    "jobs whose tries are told twice or differ": f"({_TOLD_TRIES}) EXCEPT ALL ({_NOTED_TRIES})",
    "jobs that should have stayed as they were": f"({_STAYING}) EXCEPT ALL ({_STAYED})",
    "jobs that stayed and differ": f"({_STAYED}) EXCEPT ALL ({_STAYING})",
    "jobs that were not carried on": f"""
        SELECT was.id, was.key, job.state FROM noted.unfinished AS was
        LEFT JOIN replication_job AS job ON job.id = was.id AND job.key = was.key
            AND job.rule_id = was.rule_id AND job.event_at = was.event_at
            AND job.enqueued_at = was.enqueued_at AND job.attempt >= was.attempt
        WHERE NOT ({_STAYS.replace("key", "was.key")}) AND (job.outcome = 'copied') IS NOT TRUE
    """,
    "rows in the default partition": "SELECT id FROM replication_endedjob_default",
    "rows outside of their day": """
        SELECT id, tableoid::regclass FROM replication_endedjob
        WHERE tableoid::regclass::text
              <> 'replication_endedjob_' || to_char(finalized_at AT TIME ZONE 'UTC', 'YYYYMMDD')
    """,
    "ended jobs that are left in the queue": (
        f"SELECT id, state FROM replication_transferjob WHERE {_ENDED}"
    ),
    "tries of no job": """
        SELECT job_id FROM replication_transferattempt
        WHERE job_id NOT IN (SELECT id FROM replication_transferjob)
    """,
}


def begin(database: psycopg.Connection) -> None:
    """Note all jobs as they are now, and have the database note what ends and is tried."""
    database.execute(_BEGIN)


def end(database: psycopg.Connection) -> None:
    """Note nothing any more."""
    database.execute(_END)


def ended(database: psycopg.Connection) -> int:
    """How many ended jobs are noted."""
    row = database.execute("SELECT count(*) FROM noted.ended").fetchone()
    assert row is not None
    return int(row[0])


def carried_on(database: psycopg.Connection) -> list[int]:
    """The ids of the noted jobs that are to be carried on."""
    rows = database.execute(f"SELECT id FROM noted.unfinished WHERE NOT ({_STAYS})")
    return [job_id for (job_id,) in rows]


def days_left(database: psycopg.Connection) -> float:
    """How many days ago the oldest completed job of the queue ended; they are moved oldest first.

    Asks an index, where a count would read millions of rows.
    """
    row = database.execute(
        "SELECT coalesce(extract(epoch FROM now() - min(finalized_at)), 0)::float8 / 86400 "
        "FROM replication_transferjob WHERE state = 'completed'"
    ).fetchone()
    assert row is not None
    return float(row[0])


def are_left(database: psycopg.Connection) -> bool:
    """Whether any ended job is left in the queue."""
    row = database.execute(
        "SELECT EXISTS (SELECT FROM replication_transferjob WHERE state = 'completed') OR "
        "EXISTS (SELECT FROM replication_transferjob WHERE state IN ('cancelled', 'superseded'))"
    ).fetchone()
    return row == (True,)


def differences(database: psycopg.Connection) -> dict[str, list[tuple]]:
    """What is not as it was noted: for each kind of difference that was found, its rows."""
    database.execute("SET timezone = 'UTC'")  # the text of a try's times in JSON depends on it
    database.execute("SET work_mem = '256MB'")
    found = {name: database.execute(query).fetchall() for name, query in _CHECKS.items()}
    return {name: rows for name, rows in found.items() if rows}


def forget(database: psycopg.Connection) -> None:
    """Remove the notes."""
    database.execute("DROP SCHEMA noted CASCADE")
