"""django-q's broker of tasks in the database: through restarts of it, and without delay."""

import time
from typing import Any

import structlog
from django.db import connections
from django.db.models import QuerySet
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ

from replication.cluster.database import DATABASE_AWAY
from replication.cluster.loops import SUMMONS_CHANNEL

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
# Between two looks for a task that no NOTIFY told of: one that a schedule made, or where NOTIFY is
# not passed on. A loop that renews itself overlaps with its successor by twice as long.
LOOK_SECONDS = 1.25


class PatientBroker(ORM):
    """Where django-q's own gives up, and its cluster takes no task for 10 s, this asks again.

    And where its own sleeps, this listens: a lane that is asked for starts at once.
    """

    _keeps_connection = False
    _listens_on: Any = None  # psycopg's connection

    def get_connection(self, list_key: str | None = None) -> QuerySet[OrmQ]:
        """The tasks. Who listens keeps the connection; else django-q closes it each time."""
        if self._keeps_connection:
            return OrmQ.objects.using(Conf.ORM)
        tasks: QuerySet[OrmQ] = super().get_connection(list_key)
        return tasks

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Tasks to do; None if there are none for LOOK_SECONDS, or there may be some now."""
        self._keeps_connection = True
        try:
            self._listen()  # first: what is asked for after we looked is heard
            tasks: list[tuple[int, str]] | None = super().dequeue()
            if tasks is None:
                self._await_summons()
        except DATABASE_AWAY as error:
            log.warning("cluster.database_unavailable", reason=str(error))
            connections[Conf.ORM].close()
            time.sleep(PAUSE_SECONDS)
            return None
        return tasks

    def _listen(self) -> None:
        connection = connections[Conf.ORM]
        connection.ensure_connection()
        if connection.connection is not self._listens_on:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {SUMMONS_CHANNEL}")
            self._listens_on = connection.connection

    def _await_summons(self) -> None:
        connection = connections[Conf.ORM]
        with connection.wrap_database_errors:
            for _ in connection.connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                pass
