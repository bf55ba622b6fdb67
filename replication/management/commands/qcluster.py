"""`manage.py qcluster`: django-q's own, begun when the database is ready, with our loops."""

from typing import Any

from django.db import connection
from django_q.management.commands import qcluster

from replication import loops
from replication.database import wait_until_ready


class Command(qcluster.Command):
    help = "Runs the cluster: lanes, which copy, and pollers, which ask SQS. Stop it with SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        wait_until_ready(lambda reason: self.stderr.write(f"qcluster: {reason}"))
        # django-q's schedule would start them too, but half a minute later.
        loops.start()
        connection.close()  # a connection does not survive the fork
        super().handle(*args, **options)
