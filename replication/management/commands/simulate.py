"""`manage.py simulate RULE`: what a rule would do to its buckets."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.errors import MEANINGS, ReplicationError
from replication.management.rules import rule_named
from replication.sweep.comparing import CantCompare
from replication.sweep.simulating import Simulation, simulate


class Command(BaseCommand):
    help = (
        "Lists both buckets of a rule, which may be disabled, and says what the rule would do: "
        "how many keys and bytes it would copy, what OSS refuses, what would be renamed or "
        "deleted, and what the requests cost. Nothing is written."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the rule's name")
        parser.add_argument("--prefix", default="", help="only keys that begin with this")

    def handle(self, *args: Any, **options: Any) -> None:
        rule = rule_named(options["rule"])
        try:
            found = simulate(rule, prefix=options["prefix"])
        except CantCompare as error:
            raise CommandError(str(error), returncode=2) from error
        except ReplicationError as error:
            raise CommandError(f"{error} {MEANINGS[error.code].hint}", returncode=2) from error
        counts = found.counts
        lines = [
            f"{counts['source_keys']:,} keys at the source, {counts['source_bytes']:,} bytes",
            f"{counts['equal']:,} are equal already",
            f"{found.to_copy:,} would be copied, {counts['missing_bytes']:,} bytes"
            f"{_examples(found, 'missing')}{_examples(found, 'different')}",
            f"{found.renamed:,} of these would be renamed, because OSS does not accept their keys",
            f"{counts['refused']:,} OSS does not accept{_examples(found, 'refused')}",
            f"{counts['archived']:,} are archived{_examples(found, 'archived')}",
            f"{counts['left_out']:,} the filters leave out",
            f"{counts['extra']:,} are only in OSS; {found.would_delete:,} of these would be "
            f"deleted, if they are replicas of this rule{_examples(found, 'extra')}",
            f"requests to S3 US$ {found.dollars:,.4f}, to OSS CNY {found.yuan:,.4f} at list "
            "prices, without the traffic out of AWS",
        ]
        self.stdout.write("\n".join(lines))


def _examples(found: Simulation, verdict: str) -> str:
    keys = found.examples.get(verdict)
    return f", such as {keys[0]!r}" if keys else ""
