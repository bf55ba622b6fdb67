"""`manage.py sweepsql RULE`: the comparison of two inventories as SQL for Athena and Trino."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.models import ReplicationRule, SourceKind
from replication.sweep.inventories.manifests import FileFormat
from replication.sweep.inventories.sql import OPTIONAL_COLUMNS, comparison_sql

# ORC has its keys as they are, like Parquet.
_FORMATS = {"parquet": FileFormat.PARQUET, "orc": FileFormat.PARQUET, "csv": FileFormat.CSV}


class Command(BaseCommand):
    help = (
        "Prints the comparison of a rule's two inventories as SQL for Athena or Trino. Its result "
        "is CSV with the source's keys to look at. Tables have the columns key, size, e_tag and "
        "last_modified_date, as AWS documents them for Athena."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the rule's name")
        parser.add_argument("--source-table", required=True, metavar="TABLE")
        parser.add_argument("--destination-table", required=True, metavar="TABLE")
        parser.add_argument(
            "--dialect",
            choices=["athena", "trino"],
            default="athena",
            help="both run the same SQL (default: athena)",
        )
        parser.add_argument(
            "--source-format",
            choices=list(_FORMATS),
            default="parquet",
            help="how S3 writes the inventory (default: parquet); keys are URL-encoded in csv",
        )
        for side in ("source", "destination"):
            parser.add_argument(
                f"--{side}-columns",
                nargs="+",
                choices=OPTIONAL_COLUMNS,
                default=[],
                metavar="COLUMN",
                help=f"which of {', '.join(OPTIONAL_COLUMNS)} the table has; the first two must be "
                "named if the inventory has all versions",
            )
            parser.add_argument(
                f"--{side}-dt",
                default="",
                metavar="DT",
                help="the partition to read, such as 2026-11-30-01-00, if the table has any",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        rules = ReplicationRule.objects.select_related("source", "destination")
        rule = rules.filter(name=options["rule"]).first()
        if rule is None:
            names = ", ".join(rules.values_list("name", flat=True)) or "none"
            raise CommandError(f"there is no rule named {options['rule']!r}; there are: {names}")
        if rule.source.kind != SourceKind.S3:
            raise CommandError(f"rule {rule.name} copies from a web server, without an inventory")
        try:
            text = comparison_sql(
                rule,
                options["source_table"],
                options["destination_table"],
                source_format=_FORMATS[options["source_format"]],
                source_columns=options["source_columns"],
                destination_columns=options["destination_columns"],
                source_dt=options["source_dt"],
                destination_dt=options["destination_dt"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)
