"""The lock against deadlocks between statements that touch many pending jobs.

Statements that touch the jobs in the order of their keys share it. All others hold it alone, and so
must be short: nothing is enqueued meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

PENDING_LOCK = 0x53335331  # the number of a PostgreSQL advisory lock

# A statement for so many jobs holds the lock for some 40 ms.
BATCH = 1000


@contextmanager
def alone() -> Iterator[CursorWrapper]:
    """A transaction that holds the lock alone until its end; it must have locked no job before."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PENDING_LOCK])
        yield cursor
