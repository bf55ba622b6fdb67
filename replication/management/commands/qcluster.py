"""`manage.py qcluster`: django-q's cluster, begun when the database is ready, with our loops."""

from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from django_q.cluster import Cluster
from django_q.signals import post_spawn

from replication import loops, tasks  # noqa: F401 - imported once, before the forks
from replication.database import DATABASE_AWAY, wait_until_ready


class Command(BaseCommand):
    help = "Runs the cluster: lanes, which copy, and pollers, which ask SQS. Stop it with SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        wait_until_ready(lambda reason: self.stderr.write(f"qcluster: {reason}"))
        # django-q's schedule would start them too, but half a minute later.
        loops.start()
        connection.close()  # a connection does not survive the fork
        post_spawn.connect(replace_the_dead)
        StoppableCluster().start()


def replace_the_dead(**_: Any) -> None:
    """In each process that the cluster starts to work, before its first task."""
    try:
        loops.replace_the_dead()
    except DATABASE_AWAY:
        # They will be missed soon enough, by those who beat when the database is back.
        connection.close()


class StoppableCluster(Cluster):
    """django-q waits for running tasks and tells them nothing; ours are told."""

    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        """On SIGTERM or SIGINT, in the cluster's first process."""
        loops.tell_to_stop()
        super().sig_handler(signum, frame)
