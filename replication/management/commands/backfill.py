"""`manage.py backfill RULE`: has what was in the bucket before the rule copied."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from replication.management import sweeping
from replication.models import SweepKind


class Command(BaseCommand):
    help = (
        "Compares both buckets of a rule, and has each missing or different key copied by the "
        "lanes of the clusters, below the priority of events. Waits until all is copied. "
        f"{sweeping.STATUSES}"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        sweeping.add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(sweeping.run(self, SweepKind.BACKFILL, options, mends=True))
