"""`manage.py pollsqs`: the cluster's poll loop, in the foreground."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.cluster import loops
from replication.cluster.database import wait_until_ready
from replication.intake.poll_loop import poll_until
from replication.models import EventQueue, LoopKind
from s3sync.environment import refuse_published_secret_key
from s3sync.postgresql.base import give_up_statements_after


class Command(BaseCommand):
    help = (
        "Polls SQS in the foreground until SIGTERM or Ctrl-C. It first finishes a long poll that "
        "has begun, which takes up to 20 s. To let only this command poll, set "
        "S3SYNC_POLL_IN_CLUSTER=false for the cluster."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", default="", metavar="NAME", help="poll only this queue")

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_published_secret_key(settings.S3SYNC)
        give_up_statements_after(settings.S3SYNC.statement_seconds)
        wait_until_ready(lambda reason: self.stderr.write(f"pollsqs: {reason}"))
        name = options["queue"]
        if name and not EventQueue.objects.filter(name=name).exists():
            names = ", ".join(EventQueue.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"there is no queue named {name!r}; there are: {names}")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with loops.running(LoopKind.POLLER) as loop:
            assert loop is not None
            self.stderr.write("polling; stop with Ctrl-C")
            poll_until(loop, stop, only=name)
