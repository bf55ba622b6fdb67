"""`manage.py qcluster`: django-q's cluster with our loops, started once the database is ready."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from replication import tasks  # noqa: F401 - imported once, before the forks
from replication.cluster.database import wait_until_ready
from replication.cluster.pooling import say_if_pooled
from replication.cluster.supervisor import Cluster
from replication.jobs import circuits
from s3sync.environment import refuse_published_secret_key
from s3sync.postgresql.base import give_up_statements_after


class Command(BaseCommand):
    help = (
        "Runs the cluster: lanes, which copy objects, and pollers, which poll SQS. Stop it with "
        "SIGTERM."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_published_secret_key(settings.S3SYNC)
        give_up_statements_after(settings.S3SYNC.statement_seconds)
        wait_until_ready(lambda reason: self.stderr.write(f"qcluster: {reason}"))
        say_if_pooled()
        circuits.begin_anew_on_this_host()
        Cluster().run()
