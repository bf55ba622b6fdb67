"""`manage.py backfill RULE`: has a cluster copy what was in the bucket before the rule."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.models import ReplicationRule, SweepKind
from replication.sweep.running import start


class Command(BaseCommand):
    help = (
        "Compares both buckets of a rule, and has each missing or different key looked at, below "
        "the priority of events. The cluster does the work, within a minute from now; "
        "`manage.py sweeps` shows how far it is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the rule's name")

    def handle(self, *args: Any, **options: Any) -> None:
        rule = ReplicationRule.objects.filter(name=options["rule"]).first()
        if rule is None:
            names = ", ".join(ReplicationRule.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"there is no rule named {options['rule']!r}; there are: {names}")
        if not rule.enabled:
            raise CommandError(f"rule {rule.name} is disabled: enable it first")
        sweep = start(rule, SweepKind.BACKFILL)
        if sweep is None:
            raise CommandError(f"a backfill of rule {rule.name} is under way: manage.py sweeps")
        self.stdout.write(f"Backfill {sweep.pk} of rule {rule.name} begins within a minute.")
