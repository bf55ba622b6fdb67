"""`manage.py exportrules [FILE]`"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from replication.tools.rules_file import export_rules


class Command(BaseCommand):
    help = "Writes the sources, destinations, rules and queues as a YAML file for applyrules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file",
            metavar="FILE",
            nargs="?",
            default="-",
            help="the file to write; default: standard output",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"] == "-":
            self.stdout.write(export_rules(), ending="")
            return
        try:
            Path(options["file"]).write_text(export_rules(), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['file']} can't be written: {error.strerror}") from error
