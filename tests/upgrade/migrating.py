"""Runs `migrate` while the cluster of the version before goes on, and kills it first."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from sandbox.child import Child
from tests.upgrade.installation import kill

_LOOK_SECONDS = 0.001
_DEADLINE_SECONDS = 60.0

# The lock of `migrate` on the queue, which it awaits or has: the only program that asks for it.
_LOCK = """
    SELECT granted FROM pg_locks
    JOIN pg_database ON pg_database.oid = database AND datname = current_database()
    WHERE relation = 'replication_transferjob'::regclass AND mode = 'AccessExclusiveLock'
"""


def kill_waiting(migrate: Callable[[], Child], database: psycopg.Connection) -> bool:
    """Start `migrate`, and kill it while it waits for a reader, such as a backup. Returns whether
    it has then changed the database."""
    with _reader(database.info.dsn, database.info.password):
        process = migrate()
        _await(process, database, granted=False)
        kill(process)
    return _is_migrated(database)


def kill_beginning(migrate: Callable[[], Child], database: psycopg.Connection) -> bool:
    """Start `migrate`, and kill it while it has the queue locked. Returns whether it has then
    changed the database: it may have been at its end."""
    process = migrate()
    _await(process, database, granted=True)
    kill(process)
    return _is_migrated(database)


def _await(process: Child, database: psycopg.Connection, *, granted: bool) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (granted,) not in database.execute(_LOCK).fetchall():
        if not process.is_running() or time.monotonic() > deadline:
            raise RuntimeError(f"migrate took no lock:\n{process.log_tail()}")
        time.sleep(_LOOK_SECONDS)


def _is_migrated(database: psycopg.Connection) -> bool:
    """Whether the history exists, once PostgreSQL has noticed that its client is gone."""
    while database.execute(_LOCK).fetchall():
        time.sleep(_LOOK_SECONDS)
    row = database.execute("SELECT to_regclass('replication_endedjob') IS NOT NULL").fetchone()
    return row == (True,)


@contextmanager
def _reader(dsn: str, password: str) -> Iterator[None]:
    """A transaction that has read the queue, until the context ends."""
    with psycopg.connect(dsn, password=password) as reader:
        reader.execute("SELECT FROM replication_transferjob LIMIT 1")
        yield
        reader.rollback()
