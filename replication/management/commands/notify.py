"""`manage.py notify`"""

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
        "Looks for problems and notifies the targets of what is new, as the cluster does each "
        "minute. With --test, sends a test message and prints the result. The exit "
        "status is 1 if a target could not be notified."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--test",
            nargs="?",
            const="",
            metavar="TARGET",
            help="send a test message to this target, enabled or not; without a name, to all "
            "enabled targets",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["test"] is None:
            self._report(notify_targets(), nothing="nothing new")
            return
        if not settings.S3SYNC.public_url:
            self.stderr.write("S3SYNC_PUBLIC_URL is not set, so the messages have no links.")
        targets = NotificationTarget.objects.filter(enabled=True)
        if name := options["test"]:
            targets = NotificationTarget.objects.filter(name=name)
            if not targets.exists():
                names = ", ".join(NotificationTarget.objects.values_list("name", flat=True))
                raise CommandError(
                    f"there is no target named {name!r}; there are: {names or 'none'}"
                )
        self._report(actions.send_tests(targets, by=command_line_actor()))

    def _report(self, done: Sequence[Delivery], *, nothing: str = "") -> None:
        if not done:
            self.stdout.write("There is no enabled target: add one in the admin.")
        for each in done:
            self.stdout.write(f"{each.target}: {_result(each) or nothing}")
        if any(each.error for each in done):
            raise SystemExit(1)


def _result(delivery: Delivery) -> str:
    parts = []
    if delivery.accepted_by:
        parts.append(f"{delivery.title!r} was accepted by {', '.join(delivery.accepted_by)}")
    if delivery.error:
        parts.append(f"FAILED: {delivery.error}")
    return "; ".join(parts)
