"""`manage.py sweeps`: the comparisons of whole buckets, and how far they are."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.models import Sweep
from replication.sweep.running import cancel

SHOWN = 20


class Command(BaseCommand):
    help = "Lists the latest sweeps, shows the report of one, or cancels one."

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group()
        chosen.add_argument("--report", type=int, metavar="ID", help="show all of one, as JSON")
        chosen.add_argument("--cancel", type=int, metavar="ID", help="end one where it is")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["report"] is not None:
            self._report(_find(options["report"]))
        elif options["cancel"] is not None:
            sweep = _find(options["cancel"])
            if not cancel(sweep):
                raise CommandError(f"sweep {sweep.pk} is not running: it is {sweep.state}")
            self.stdout.write(f"Sweep {sweep.pk} was cancelled.")
        else:
            for sweep in Sweep.objects.select_related("rule").order_by("-pk")[:SHOWN]:
                self.stdout.write(_line(sweep))

    def _report(self, sweep: Sweep) -> None:
        hidden = {"token", "held_until", "rule_version"}
        fields = {
            field.name: field.value_from_object(sweep)
            for field in Sweep._meta.concrete_fields
            if field.name not in hidden
        }
        self.stdout.write(json.dumps(fields | {"rule": sweep.rule.name}, default=str, indent=2))


def _find(pk: int) -> Sweep:
    sweep = Sweep.objects.select_related("rule").filter(pk=pk).first()
    if sweep is None:
        raise CommandError(f"there is no sweep {pk}; `manage.py sweeps` lists them")
    return sweep


def _line(sweep: Sweep) -> str:
    differ = f"{sweep.missing:,} missing, {sweep.different:,} different, {sweep.extra:,} extra"
    error = f"; {sweep.error}" if sweep.error else ""
    return (
        f"{sweep.pk}  {sweep.kind} of {sweep.rule.name}: {sweep.state} since "
        f"{sweep.ended_at or sweep.began_at:%Y-%m-%d %H:%M}; {sweep.source_keys:,} keys listed, "
        f"{sweep.equal:,} equal, {differ}, {sweep.lost:,} never announced, "
        f"{sweep.ordered:,} looked at{error}"
    )
