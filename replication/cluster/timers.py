"""Queues each timer's task once a period, however many clusters run.

Timers are code. A table of schedules would let whoever can write to the database choose what runs.
"""

from django.db import connection, transaction
from django_q.tasks import async_task

PERIOD_SECONDS = {
    "replication.tasks.revive": 60.0,
    "replication.tasks.notify": 60.0,
    "replication.tasks.prune": 3600.0,
}


def queue_due() -> list[str]:
    """Queue the tasks that are due, and return their names.

    Of several processes that call this at once, one queues each task. A task that was missed
    several times, because no cluster ran, is queued once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_clustertask AS task (name, due_at)
            -- Only what seems due, because a conflict locks the row: most calls write nothing.
            -- In one order, so that two clusters can't deadlock.
            SELECT timer.name, now() + make_interval(secs => timer.seconds)
                FROM unnest(%s::text[], %s::float[]) AS timer (name, seconds)
                LEFT JOIN replication_clustertask AS known USING (name)
                WHERE known.due_at IS NULL OR known.due_at <= now()
                ORDER BY timer.name
            ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at
                WHERE task.due_at IS NULL OR task.due_at <= now()
            RETURNING name
            """,
            [list(PERIOD_SECONDS), list(PERIOD_SECONDS.values())],
        )
        names = [name for (name,) in cursor.fetchall()]
        for name in names:
            async_task(name)
    return names
