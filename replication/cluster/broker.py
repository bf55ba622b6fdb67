"""django-q's database broker: survives restarts of the database, delivers without delay, and only
our own tasks.
"""

import time
from typing import Any

import structlog
from django.conf import settings
from django.db import connections
from django.db.models import QuerySet
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ

from replication.cluster import known_tasks, watchdog
from replication.cluster.database import DATABASE_AWAY
from replication.cluster.loops import (
    LOOPS_CHANNEL,
    asked_for,
    has_sweeper_here,
    is_barred_here,
)
from replication.cluster.pooling import ASK_SECONDS, is_pooled
from replication.models import LoopKind

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
# How often to check for tasks that no NOTIFY announced: timers queued them. A loop that renews
# itself overlaps with its successor for longer than that.
CHECK_SECONDS = 1.6
# A host whose credentials are refused gives the other hosts this head start for a new loop, and a
# cluster with a sweeper gives the other clusters this one for another sweeper.
HEAD_START_SECONDS = 1.0
HEAD_START_SWEEPER_SECONDS = 0.3  # longer than ASK_SECONDS


class PatientBroker(ORM):
    """A broker that retries while the database is away, and listens for new tasks.

    django-q's own broker fails instead, and its cluster then takes no task for 10 s. Between two
    checks it sleeps, where this broker waits for a NOTIFY: a lane that is asked for starts at once.
    Behind a pooler it asks for loops every ASK_SECONDS instead.
    """

    _keeps_connection = False
    _known_connection: Any = None  # psycopg's, which listens unless it is pooled
    _is_pooled = False

    def get_connection(self, list_key: str | None = None) -> QuerySet[OrmQ]:
        """Return the tasks. A broker that listens keeps its connection; django-q's closes it."""
        if self._keeps_connection:
            return OrmQ.objects.using(Conf.ORM)
        tasks: QuerySet[OrmQ] = super().get_connection(list_key)
        return tasks

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Return tasks of ours to run; None when a loop was asked for, after CHECK_SECONDS, or an
        error.
        """
        self._keeps_connection = True
        with watchdog.watching(seconds=settings.S3SYNC.silence_seconds):
            return self._dequeue()

    def _dequeue(self) -> list[tuple[int, str]] | None:
        try:
            self._listen()  # before the query, so that a NOTIFY sent after it is heard
            tasks: list[tuple[int, str]] | None = super().dequeue()
            if tasks is None:
                self._wait_for_loops()
                return None
            return [task for task in map(self._checked, tasks) if task is not None]
        except DATABASE_AWAY as error:
            log.warning("cluster.database_unavailable", reason=str(error))
            connections[Conf.ORM].close()
            time.sleep(RECONNECT_SECONDS)
            return None

    def _checked(self, task: tuple[int, str]) -> tuple[int, str] | None:
        """Return the task as django-q may run it; None if it is none of ours."""
        number, payload = task
        checked = known_tasks.checked(payload)
        if isinstance(checked, known_tasks.Refusal):
            self._drop(number, checked)
            return None
        return number, checked

    def _drop(self, number: int, refusal: known_tasks.Refusal) -> None:
        """Drop a task that is none of ours."""
        log.error(
            "cluster.task_refused",
            number=number,
            reason=refusal.reason,
            effect="the task was not run, and is dropped",
            fix=refusal.fix,
        )
        self.fail(number)

    def _listen(self) -> None:
        connection = connections[Conf.ORM]
        connection.ensure_connection()
        if connection.connection is self._known_connection:
            return
        self._is_pooled = is_pooled(connection)
        if not self._is_pooled:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {LOOPS_CHANNEL}")
        self._known_connection = connection.connection

    def _wait_for_loops(self) -> None:
        kinds = self._ask() if self._is_pooled else self._wait_for_notify()
        if kinds and is_barred_here():
            time.sleep(HEAD_START_SECONDS)
        elif kinds == {LoopKind.SWEEPER} and has_sweeper_here():
            time.sleep(HEAD_START_SWEEPER_SECONDS)

    def _wait_for_notify(self) -> set[str]:
        connection = connections[Conf.ORM]
        with connection.wrap_database_errors:
            heard = connection.connection.notifies(timeout=CHECK_SECONDS, stop_after=1)
            return {notify.payload for notify in heard}

    def _ask(self) -> set[str]:
        check_at = time.monotonic() + CHECK_SECONDS
        kinds: set[str] = set()
        while not kinds and time.monotonic() < check_at:
            # Sleep first: what was asked for may be on its way to a worker already.
            time.sleep(ASK_SECONDS)
            kinds = asked_for()
        return kinds
