"""django-q's broker of tasks in the database, through restarts of the database."""

import time

import structlog
from django.db import connections
from django_q.brokers.orm import ORM
from django_q.conf import Conf

from replication.database import DATABASE_AWAY

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0


class PatientBroker(ORM):
    """Where django-q's own gives up, and its cluster takes no task for 10 s, this asks again."""

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Tasks to do; None if there are none now."""
        try:
            tasks: list[tuple[int, str]] | None = super().dequeue()
        except DATABASE_AWAY as error:
            log.warning("cluster.database_unavailable", reason=str(error))
            connections[Conf.ORM].close()
            time.sleep(PAUSE_SECONDS)
            return None
        return tasks
