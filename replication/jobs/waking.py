"""Wakes the lanes of all hosts, after the commit of what they are to do.

PostgreSQL commits transactions that NOTIFY one after the other, each with its own flush to disk. So
a NOTIFY has a transaction of its own, which writes nothing and flushes nothing, and the threads of
a process share one: the first of them sends at once, and later ones leave theirs to it.
"""

import threading
import time

from django.db import connection, transaction

# Lanes listen on this channel, to start a job as soon as it is committed.
JOBS_CHANNEL = "s3sync_jobs"
# Payloads; without one, jobs may be due.
RULES_CHANGED = "rules"  # sent by a trigger of the database on each change of a rule
PARTS = "parts"  # there are parts to carry, or few of an upload are missing

# The wait between two NOTIFYs in a row of a process, in which commits of its threads gather.
GATHER_SECONDS = 0.01
SEND_SECONDS = 0.1  # for so long a thread sends for others before one of them takes its place

_sending = threading.Lock()
_relief = threading.Event()  # the thread that sends is to be relieved
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
    while _wanted and _sending.acquire(blocking=_relief.is_set()):
        try:
            _send()
        finally:
            _sending.release()


def _send() -> None:
    """Send what is wanted, also what comes meanwhile, but not for ever."""
    relieved_at = time.monotonic() + SEND_SECONDS
    _relief.clear()
    with connection.cursor() as cursor:
        while _wanted:
            cursor.execute("SELECT pg_notify(%s, %s)", [JOBS_CHANNEL, _wanted.pop()])
            if time.monotonic() >= relieved_at:
                _relief.set()  # whoever comes now waits for the lock, so this ends
            elif _wanted:
                time.sleep(GATHER_SECONDS)
