"""Fills the queue of the version before the history with jobs in all states, by SQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

DAYS = 20  # over which the jobs ended

# The last instant of a day, the first one of the next, and any other.
_ENDED_AT = """
    CASE i %% 1000 WHEN 5 THEN date_trunc('day', at, 'UTC')
                  WHEN 6 THEN date_trunc('day', at, 'UTC') - interval '1 microsecond'
                  ELSE at END
"""
_PROOF = (
    "source_etag, source_version_id, source_crc64, source_checksum, source_request_id, "
    "destination_etag, destination_crc64, destination_request_id"
)

# Several jobs of a key; keys that need care; tries; all origins, permits and reasons.
ENDED = f"""
    INSERT INTO replication_transferjob
        (rule_id, key, state, origin, priority, attempt, attempt_limit, token, ignores_filters,
         only_tags, event_at, enqueued_at, available_at, started_at, finalized_at,
         write_in_doubt_until, delete_permit, hold_reason, outcome, size_bytes, {_PROOF}, remarks,
         error_code, error_detail)
    SELECT %(rule)s,
           'albums/' || CASE WHEN i %% 50 = 7 THEN '图片 +100%%/q''"<&>\\/' ELSE '' END
               || md5((i / 3)::text) || '/original.jpg',
           state,
           (ARRAY['event', 'api', 'admin', 'lost_lease', 'doubt', 'rule_changed', 'sweep'])
               [1 + i %% 7],
           (i %% 3)::int, tries, 10, tries + 1, i %% 11 = 0, i %% 13 = 0,
           ended - interval '3 s', ended - interval '2.9 s', ended - interval '2.5 s',
           CASE WHEN state <> 'cancelled' THEN ended - interval '0.1 s' END, ended,
           CASE WHEN i %% 17 = 0 THEN ended + interval '40 s' END,
           (ARRAY['', 'granted', 'confirmed'])[1 + i %% 3],
           (ARRAY['', '', 'brake', 'unmarked', 'other_mark'])[1 + i %% 5],
           CASE WHEN is_done THEN
               (ARRAY['copied', 'copied', 'copied', 'unchanged', 'deleted', 'skipped', 'absent'])
                   [1 + i %% 7] END,
           CASE WHEN i %% 7 < 4 THEN 20000 + i %% 3000000 END,
           CASE WHEN is_done THEN md5(i::text) ELSE '' END,
           CASE WHEN is_done AND i %% 2 = 0 THEN md5('v' || i) ELSE '' END,
           CASE WHEN is_done THEN '1284612837460' || i ELSE '' END,
           CASE WHEN is_done AND i %% 4 = 0 THEN 'crc32c ' || left(md5(i::text), 8) ELSE '' END,
           CASE WHEN is_done THEN upper(left(md5(i::text), 16)) ELSE '' END,
           CASE WHEN is_done THEN upper(md5(i::text)) ELSE '' END,
           CASE WHEN is_done THEN '1284612837460' || i ELSE '' END,
           CASE WHEN is_done THEN upper(left(md5('d' || i), 24)) ELSE '' END,
           CASE WHEN i %% 19 = 0 THEN E'the ACL is not kept\\nthe tag a/b is left out' ELSE '' END,
           CASE WHEN tries > 0 AND NOT is_done THEN 'destination_throttled' ELSE '' END,
           CASE WHEN tries > 0 AND NOT is_done THEN 'slow down' ELSE '' END
    FROM generate_series(1, %(jobs)s) AS i,
         LATERAL (SELECT now() - interval '1 s'
                      - interval '{DAYS} days' * (1 - i::float8 / %(jobs)s) AS at) AS moment,
         LATERAL (SELECT {_ENDED_AT} AS ended) AS times,
         LATERAL (SELECT CASE i %% 40 WHEN 0 THEN 'cancelled' WHEN 1 THEN 'superseded'
                         ELSE 'completed' END AS state,
                         CASE WHEN i %% 16 = 0 THEN 1 + i %% 7 ELSE 0 END AS tries) AS fate,
         LATERAL (SELECT state = 'completed' AS is_done) AS done
"""
TRIES = """
    INSERT INTO replication_transferattempt
        (job_id, number, started_at, ended_at, code, detail, request_id)
    SELECT job.id, number, job.enqueued_at + number * interval '10 ms',
           job.enqueued_at + number * interval '11 ms', 'destination_throttled',
           'slow down, try ' || number, upper(left(md5(job.id || ' ' || number), 16))
    FROM replication_transferjob AS job, generate_series(1, job.attempt) AS number
    WHERE NOT EXISTS (
        SELECT FROM replication_transferattempt AS one WHERE one.job_id = job.id)
"""


@dataclass(frozen=True)
class Kind:
    """Unfinished jobs with the keys `carried/NAME/1`, `carried/NAME/2`, …

    `is_carried_on` says whether the service copies them as soon as their rule is resumed; the
    others stay as they are. `columns` has SQL for what differs from a pending job that is due.
    """

    name: str
    is_carried_on: bool
    columns: dict[str, str]

    @property
    def prefix(self) -> str:
        return f"{CARRIED}{self.name}/"


CARRIED = "carried/"
_PENDING = {
    "state": "'pending'",
    "origin": "'event'",
    "priority": "0",
    "attempt": "0",
    "attempt_limit": "20",
    "event_at": "now() - interval '2 min'",
    "enqueued_at": "now() - interval '1 min'",
    "available_at": "now() - interval '1 min'",
    "error_code": "''",
    "error_detail": "''",
    **dict.fromkeys(_PROOF.replace("source_checksum, ", "").split(", "), "''"),
}
_LEASED = {"state": "'running'", "claimed_by": "gen_random_uuid()", "started_at": "now()"}
_TRIED = {"attempt": "1 + i % 4", "error_code": "'source_throttled'", "error_detail": "'later'"}
_FAILED = {"state": "'failed'", "attempt_limit": "1 + i % 4", "finalized_at": "now()"}
KINDS = [
    Kind("waiting", True, {}),
    Kind("retrying", True, _TRIED),
    # Their leases expire one after the other: before, during and after the upgrade.
    Kind("expiring", True, _LEASED | {"lease_expires_at": "now() + interval '0.2 s' * i"}),
    Kind("leased", False, _LEASED | {"lease_expires_at": "now() + interval '1 day'"}),
    Kind("later", False, _TRIED | {"available_at": "now() + interval '1 day'"}),
    Kind("held", False, {"delete_permit": "'awaited'", "hold_reason": "'unmarked'"}),
    Kind("failed", False, _TRIED | _FAILED),
]


def insert_ended(database: psycopg.Connection, *, jobs: int, rule_id: int) -> None:
    """Insert so many jobs that ended over DAYS days, with their tries."""
    database.execute(ENDED, {"jobs": jobs, "rule": rule_id})
    database.execute(TRIES)


def insert_unfinished(database: psycopg.Connection, *, of_each: int, rule_id: int) -> None:
    """Insert so many jobs of each of KINDS, with their tries."""
    for kind in KINDS:
        columns = _PENDING | kind.columns
        database.execute(
            f"""
            INSERT INTO replication_transferjob (rule_id, key, {", ".join(columns)})
            SELECT {rule_id}, '{kind.prefix}' || i, {", ".join(columns.values())}
            FROM generate_series(1, {of_each}) AS i
            """
        )
    database.execute(TRIES)


@contextmanager
def without_indexes(database: psycopg.Connection) -> Iterator[None]:
    """Build the queue's indexes afterwards, which takes a tenth of the time; then ANALYZE.

    For many rows. Foreign keys are not checked and triggers don't run meanwhile.
    """
    database.execute("SET session_replication_role = replica")
    indexes = database.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = 'replication_transferjob'::regclass AND NOT indisunique"
    ).fetchall()
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    yield
    for _, definition in indexes:
        database.execute(definition)
    database.execute("SET session_replication_role = DEFAULT")
    database.execute("VACUUM ANALYZE replication_transferjob, replication_transferattempt")
