"""What the database needs to stay fast: old transactions, dead rows, days of the history."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

# While a transaction is open, no row that died since it began can be removed from any table, and
# claims wade through ever more of them.
OLD_TRANSACTION_SECONDS = 600

# Autovacuum starts at 5,000 dead rows, and needs a moment.
DEAD_ROWS = 200_000
DEAD_ROWS_PER_JOB = 2

# Counting more of them tells no more.
MAX_STRAYS = 100_000


@dataclass(frozen=True)
class OldTransaction:
    """A transaction that keeps dead rows from being removed, and the SQL that ends it."""

    what: str
    began_at: datetime
    ends_by: str


@dataclass(frozen=True)
class Upkeep:
    """How the tables do, as far as our role may see."""

    old_transaction: OldTransaction | None  # the oldest, if over OLD_TRANSACTION_SECONDS old
    queued_rows: int  # by PostgreSQL's statistics, as the next one
    dead_rows: int  # of the queue's table
    strays: int  # ended jobs on days without a partition, at most MAX_STRAYS

    @property
    def is_bloated(self) -> bool:
        return self.dead_rows > max(DEAD_ROWS, DEAD_ROWS_PER_JOB * self.queued_rows)


def read_upkeep() -> Upkeep:
    """Read all of it with two queries, which do not touch what grows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_stat_get_live_tuples('replication_transferjob'::regclass),
                   pg_stat_get_dead_tuples('replication_transferjob'::regclass),
                   (SELECT count(*) FROM (
                       SELECT FROM replication_endedjob_default LIMIT %s) AS first)
            """,
            [MAX_STRAYS],
        )
        queued, dead, strays = cursor.fetchone()
    return Upkeep(_read_old_transaction(), queued, dead, strays)


def _read_old_transaction() -> OldTransaction | None:
    """The oldest one of this database, as far as our role may see sessions of other roles."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT what, began_at, ends_by FROM (
                SELECT format('The transaction of session %%s of role %%s (%%s)', pid, usename,
                              COALESCE(NULLIF(application_name, ''), 'unnamed')) AS what,
                       xact_start AS began_at,
                       format('SELECT pg_terminate_backend(%%s)', pid) AS ends_by
                FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                  AND COALESCE(backend_xmin, backend_xid) IS NOT NULL
                UNION ALL
                SELECT format('The prepared transaction %%L', gid), prepared,
                       format('ROLLBACK PREPARED %%L', gid)
                FROM pg_prepared_xacts WHERE database = current_database()
            ) AS open
            WHERE began_at < clock_timestamp() - make_interval(secs => %s)
            ORDER BY began_at LIMIT 1
            """,
            [OLD_TRANSACTION_SECONDS],
        )
        row = cursor.fetchone()
    return OldTransaction(*row) if row else None
