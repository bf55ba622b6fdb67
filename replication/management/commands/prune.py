"""`manage.py prune`"""

import math
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.operations.retention import Rows, count_due, prune


class Command(BaseCommand):
    help = (
        "Deletes finished jobs older than S3SYNC_KEEP_JOBS_DAYS, and failed jobs and dead letters "
        "older than S3SYNC_KEEP_FAILURES_DAYS, as the cluster does each hour. You may interrupt "
        "it at any moment."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would be deleted; delete nothing"
        )
        parser.add_argument(
            "--seconds",
            type=float,
            default=math.inf,
            metavar="N",
            help="stop after N seconds; default: when nothing is left to delete",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["seconds"] > 0:
            raise CommandError("--seconds must be more than 0")
        if options["dry_run"]:
            self._report("Would delete", count_due())
            self.stdout.write("Dry run: nothing was deleted.")
            return
        pruned = prune(seconds=options["seconds"])
        self._report("Deleted", pruned.rows)
        if not pruned.is_complete:
            self.stdout.write("The time was up: run it again to delete the rest, if any.")

    def _report(self, verb: str, rows: Rows) -> None:
        jobs_days, failures_days = (
            settings.S3SYNC.keep_jobs_days,
            settings.S3SYNC.keep_failures_days,
        )
        self.stdout.write(
            f"{verb} finished jobs older than {jobs_days} days: {rows.finished_jobs:,}\n"
            f"{verb} failed jobs older than {failures_days} days: {rows.failed_jobs:,}\n"
            f"{verb} their unsuccessful tries: {rows.attempts:,}\n"
            f"{verb} dead letters older than {failures_days} days: {rows.dead_letters:,}\n"
            f"{verb} findings of sweeps that ended over {jobs_days} days ago: {rows.findings:,}"
        )
