"""manage.py notify"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.models import NotificationTarget
from replication.monitoring.notifications.dispatch import Delivery, notify_targets
from replication.operations import actions
from replication.operations.audit import command_line_actor


class Command(BaseCommand):
    help = (
        "Looks at what is wrong and tells the notification targets what is new, as the cluster "
        "does each minute. With --test: sends a test message, and says how it went. The exit "
        "status is 1 if a target could not be told."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--test",
            nargs="?",
            const="",
            metavar="TARGET",
            help="send a test message to this target, enabled or not; without a name, to all "
            "that are enabled",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["test"] is None:
            self._report(notify_targets(), nothing="nothing new")
            return
        if not settings.S3SYNC.public_url:
            self.stderr.write("S3SYNC_PUBLIC_URL is not set: messages will have no links.")
        targets = NotificationTarget.objects.filter(enabled=True)
        if name := options["test"]:
            targets = NotificationTarget.objects.filter(name=name)
            if not targets.exists():
                names = ", ".join(NotificationTarget.objects.values_list("name", flat=True))
                raise CommandError(f"there is no target {name!r}; there are: {names or 'none'}")
        self._report(actions.send_tests(targets, by=command_line_actor()))

    def _report(self, done: Sequence[Delivery], *, nothing: str = "") -> None:
        if not done:
            self.stdout.write("There is no enabled target: add one in the admin.")
        for each in done:
            self.stdout.write(f"{each.target}: {_how_it_went(each) or nothing}")
        if any(each.error for each in done):
            raise SystemExit(1)


def _how_it_went(delivery: Delivery) -> str:
    said = (
        [f"{delivery.title!r} was taken by {', '.join(delivery.accepted_by)}"]
        if delivery.accepted_by
        else []
    )
    return "; ".join([*said, *([f"FAILED: {delivery.error}"] if delivery.error else [])])
