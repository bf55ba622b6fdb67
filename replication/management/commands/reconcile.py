"""`manage.py reconcile RULE`: compares the two buckets of a rule, and mends on request."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.management import key_lists, sweeping
from replication.models import SweepKind


class Command(BaseCommand):
    help = (
        "Compares all keys of a rule by listing both buckets, and prints each difference with its "
        f"cause. {sweeping.STATUSES} A key is called different only after a second look, while no "
        "job works on it. Clusters help with the work, and go on with it if this is stopped. With "
        "--keys, looks at the keys of a list instead, without their help."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        sweeping.add_options(parser)
        parser.add_argument(
            "--mend",
            action="store_true",
            help="have each missing or different key looked at by jobs, and wait for them",
        )
        parser.add_argument(
            "--mend-extras",
            action="store_true",
            help="have replicas looked at too whose objects are gone: the jobs delete what the "
            "rule deletes. Left to a person if they are more than 1 %% or the source is empty",
        )

        key_lists.add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keys"] is not None:
            sys.exit(key_lists.run(self, options))
        if options["keys_format"] is not None:
            raise CommandError("--keys-format needs --keys", returncode=sweeping.UNKNOWN)
        mends = {"mends": options["mend"] or options["mend_extras"]}
        mends["mends_extras"] = options["mend_extras"]
        sys.exit(sweeping.run(self, SweepKind.RECONCILE, options, **mends))
