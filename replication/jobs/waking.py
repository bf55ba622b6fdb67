"""Wakes the lanes of all hosts, after the commit of what they are to do.

PostgreSQL commits transactions that NOTIFY one after the other, each with its own flush to disk. So
a NOTIFY has a transaction of its own, which writes nothing and flushes nothing, and the threads of
a process share one.
"""

import threading

from django.db import connection, transaction

# Lanes listen on this channel, to start a job as soon as it is committed.
JOBS_CHANNEL = "s3sync_jobs"
# Payloads; without one, jobs may be due.
RULES_CHANGED = "rules"  # sent by a trigger of the database on each change of a rule
PARTS = "parts"  # there are parts to carry, or none are missing any more

_sending = threading.Lock()
_wanted: set[str] = set()


def wake_lanes(payload: str = "") -> None:
    """Wake the lanes once the transaction is committed, or now if there is none.

    A NOTIFY that fails is logged: the lanes look for due work by themselves, a little later.
    """
    transaction.on_commit(lambda: _notify(payload), robust=True)


def _notify(payload: str) -> None:
    """Send the payload, or leave it to the thread that is sending."""
    _wanted.add(payload)
    # Once more after the release: another thread may have left its payload just before it.
    while _wanted and _sending.acquire(blocking=False):
        try:
            with connection.cursor() as cursor:
                while _wanted:
                    cursor.execute("SELECT pg_notify(%s, %s)", [JOBS_CHANNEL, _wanted.pop()])
        finally:
            _sending.release()
