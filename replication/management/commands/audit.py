"""`manage.py audit [--since TIME]`"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_date, parse_datetime

from replication.operations.audit import exported


class Command(BaseCommand):
    help = (
        "Prints the audit as JSON lines, the oldest first: what people did, and each change of the "
        "configuration with before and after."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", metavar="TIME", help="from this time on, e.g. 2026-11-30T08:00:00Z"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        since = _time(options["since"]) if options["since"] else None
        for line in _lines(since):
            self.stdout.write(line)


def _lines(since: datetime | None) -> Iterator[str]:
    for each in exported(since=since):
        yield json.dumps(each)


def _time(text: str) -> datetime:
    try:
        found = parse_datetime(text)
        day = parse_date(text) if found is None else None
    except ValueError:  # well formed, but no time: the 31st of November
        found = day = None
    if day is not None:
        found = datetime(day.year, day.month, day.day)  # noqa: DTZ001  gets its zone below
    if found is None:
        raise CommandError(f"--since {text!r} is no time: write it like 2026-11-30T08:00:00Z")
    return found if found.tzinfo else found.replace(tzinfo=UTC)
