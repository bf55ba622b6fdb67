"""django-q's database broker that survives database restarts and delivers tasks without delay."""

import time
from typing import Any

import structlog
from django.conf import settings
from django.db import connections
from django.db.models import QuerySet
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ

from replication.cluster import watchdog
from replication.cluster.database import DATABASE_AWAY
from replication.cluster.loops import LOOPS_CHANNEL, has_sweeper_here, is_barred_here
from replication.models import LoopKind

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
# How often to check for tasks that no NOTIFY announced: a schedule made them, or NOTIFY is not
# passed on. A loop that renews itself overlaps with its successor for longer than that.
CHECK_SECONDS = 1.6
# A host whose credentials are refused gives the other hosts this head start for a new loop, and a
# cluster with a sweeper gives the other clusters this one for another sweeper.
HEAD_START_SECONDS = 1.0
HEAD_START_SWEEPER_SECONDS = 0.2


class PatientBroker(ORM):
    """A broker that retries while the database is away, and listens for new tasks.

    django-q's own broker fails instead, and its cluster then takes no task for 10 s. Between two
    checks it sleeps, where this broker waits for a NOTIFY: a lane that is asked for starts at once.
    """

    _keeps_connection = False
    _listening_connection: Any = None  # psycopg's

    def get_connection(self, list_key: str | None = None) -> QuerySet[OrmQ]:
        """Return the tasks. A broker that listens keeps its connection; django-q's closes it."""
        if self._keeps_connection:
            return OrmQ.objects.using(Conf.ORM)
        tasks: QuerySet[OrmQ] = super().get_connection(list_key)
        return tasks

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Return tasks to run, or None after a NOTIFY, CHECK_SECONDS without one, or an error."""
        self._keeps_connection = True
        with watchdog.watching(seconds=settings.S3SYNC.silence_seconds):
            return self._dequeue()

    def _dequeue(self) -> list[tuple[int, str]] | None:
        try:
            self._listen()  # before the query, so that a NOTIFY sent after it is heard
            tasks: list[tuple[int, str]] | None = super().dequeue()
            if tasks is None:
                self._wait_for_notify()
        except DATABASE_AWAY as error:
            log.warning("cluster.database_unavailable", reason=str(error))
            connections[Conf.ORM].close()
            time.sleep(RECONNECT_SECONDS)
            return None
        return tasks

    def _listen(self) -> None:
        connection = connections[Conf.ORM]
        connection.ensure_connection()
        if connection.connection is not self._listening_connection:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {LOOPS_CHANNEL}")
            self._listening_connection = connection.connection

    def _wait_for_notify(self) -> None:
        connection = connections[Conf.ORM]
        with connection.wrap_database_errors:
            heard = list(connection.connection.notifies(timeout=CHECK_SECONDS, stop_after=1))
        if heard and is_barred_here():
            time.sleep(HEAD_START_SECONDS)
        elif heard and heard[0].payload == LoopKind.SWEEPER and has_sweeper_here():
            time.sleep(HEAD_START_SWEEPER_SECONDS)
