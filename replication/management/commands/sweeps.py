"""`manage.py sweeps`: the comparisons of whole buckets, and how far they are."""

import csv
import json
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from replication.management.sweeping import progress_line
from replication.models import UNENDED, Sweep
from replication.sweep import lifecycle, reporting

SHOWN = 20


class Command(BaseCommand):
    help = "Lists the latest sweeps; shows the report of one; pauses, resumes or cancels one."

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group()
        chosen.add_argument("--report", type=int, metavar="ID", help="show one, as JSON")
        chosen.add_argument("--findings", type=int, metavar="ID", help="print its keys, as CSV")
        chosen.add_argument("--pause", type=int, metavar="ID", help="stop until it is resumed")
        chosen.add_argument(
            "--resume", type=int, metavar="ID", help="go on with a paused or failed one"
        )
        chosen.add_argument("--cancel", type=int, metavar="ID", help="end one where it is")

    def handle(self, *args: Any, **options: Any) -> None:
        if (pk := options["report"]) is not None:
            self.stdout.write(json.dumps(reporting.as_json(_find(pk)), indent=2))
        elif (pk := options["findings"]) is not None:
            writer = csv.writer(self.stdout)
            writer.writerow(reporting.CSV_FIELDS)
            writer.writerows(reporting.findings_as_rows(_find(pk)))
        elif (pk := options["pause"]) is not None:
            self._change(pk, lifecycle.pause, "paused")
        elif (pk := options["resume"]) is not None:
            self._change(pk, lifecycle.resume, "resumed")
        elif (pk := options["cancel"]) is not None:
            self._change(pk, lifecycle.cancel, "cancelled")
        else:
            for sweep in Sweep.objects.select_related("rule").order_by("-pk")[:SHOWN]:
                self.stdout.write(_line(sweep))

    def _change(self, pk: int, change: Callable[[QuerySet[Sweep]], int], done: str) -> None:
        sweep = _find(pk)
        if not change(Sweep.objects.filter(pk=pk)):
            raise CommandError(f"sweep {pk} can't be {done}: it is {sweep.get_state_display()}")
        self.stdout.write(f"Sweep {pk} was {done}.")


def _find(pk: int) -> Sweep:
    sweep = Sweep.objects.select_related("rule__source", "rule__destination").filter(pk=pk).first()
    if sweep is None:
        raise CommandError(f"there is no sweep {pk}; `manage.py sweeps` lists them")
    return sweep


def _line(sweep: Sweep) -> str:
    head = f"{sweep.pk}  {sweep.kind} of {sweep.rule.name}: {sweep.get_state_display()}"
    if sweep.state in UNENDED:
        return f"{head} since {sweep.began_at:%Y-%m-%d %H:%M}; {progress_line(sweep)}"
    error = f"; {sweep.error}" if sweep.error else ""
    return (
        f"{head} since {sweep.ended_at:%Y-%m-%d %H:%M}; {sweep.source_keys:,} keys, "
        f"{sweep.equal:,} equal, {sweep.missing:,} missing, {sweep.different:,} different, "
        f"{sweep.extra:,} extra, {sweep.lost:,} never announced, {sweep.ordered:,} looked at{error}"
    )
