"""`manage.py reconcile RULE`: compares the two buckets of a rule, whole, and mends on request."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from replication.errors import MEANINGS, ReplicationError
from replication.models import ReplicationRule
from replication.sweep.comparing import CantCompare, Level, Tally
from replication.sweep.judging import Verdict
from replication.sweep.reconciling import Finding, reconcile

EQUAL, DIFFERENT, UNKNOWN = range(3)


class Command(BaseCommand):
    help = (
        "Compares all keys of a rule by listing both buckets, and prints each difference with its "
        "cause. Ends with status 0 if both sides are equal, 1 if they differ, and 2 if that could "
        "not be found out. Keys with a job that is waiting, and keys that changed within 5 "
        "minutes, are no differences yet. Replicas with rewritten keys are compared, but not "
        "searched for extra ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the rule's name")
        parser.add_argument("--prefix", default="", help="only keys that begin with this")
        parser.add_argument(
            "--level",
            type=Level,
            choices=list(Level),
            default=Level.LISTING,
            help="listing: a newer replica of the same size is taken for a copy; head: its "
            "provenance must prove it, at a HEAD for each such key",
        )
        parser.add_argument(
            "--mend",
            action="store_true",
            help="have each missing or different key looked at; the deletes of extra ones are "
            "left to a person",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(self._run(**options))

    def _run(self, *, rule: str, **options: Any) -> int:
        rules = ReplicationRule.objects.select_related("source", "destination")
        found = rules.filter(name=rule).first()
        if found is None:
            names = ", ".join(rules.values_list("name", flat=True)) or "none"
            self.stderr.write(f"There is no rule named {rule!r}; there are: {names}.")
            return UNKNOWN
        report, tally = _Report(self, is_json=options["json"]), Tally()
        try:
            for finding in reconcile(
                found,
                tally,
                level=options["level"],
                prefix=options["prefix"],
                mends=options["mend"],
            ):
                report.add(finding)
        except CantCompare as error:
            self.stderr.write(str(error))
            return UNKNOWN
        except ReplicationError as error:
            self.stderr.write(f"{error} {MEANINGS[error.code].hint}")
            return UNKNOWN
        report.end(found, tally)
        return DIFFERENT if report.differences else EQUAL


class _Report:
    """Prints findings as they come, or all at the end as one JSON document."""

    def __init__(self, command: Command, *, is_json: bool) -> None:
        self._command = command
        self._is_json = is_json
        self._findings: list[dict[str, Any]] = []
        self.differences = 0

    def add(self, finding: Finding) -> None:
        self.differences += finding.is_difference
        if self._is_json:
            self._findings.append(finding.as_json())
        elif finding.is_difference:
            self._command.stdout.write(str(finding))

    def end(self, rule: ReplicationRule, tally: Tally) -> None:
        if self._is_json:
            document = {
                "rule": rule.name,
                "verdicts": {verdict.value: tally.verdicts[verdict] for verdict in Verdict},
                "plausible": tally.plausible,
                "differences": self.differences,
                "requests": {
                    "source": tally.source_requests,
                    "destination": tally.destination_requests,
                },
                "findings": self._findings,
            }
            self._command.stdout.write(json.dumps(document, indent=2))
            return
        seen = {verdict: tally.verdicts[verdict] for verdict in Verdict if tally.verdicts[verdict]}
        counts = ", ".join(f"{number:,} {verdict}" for verdict, number in seen.items())
        self._command.stdout.write(
            f"{tally.source_keys:,} keys at the source, {tally.replica_keys:,} at the destination: "
            f"{counts or 'none'}. {tally.plausible:,} of the equal ones are plausible, not proved "
            f"(--level head proves them). {self.differences:,} differences. Requests: "
            f"{tally.source_requests:,} to S3, {tally.destination_requests:,} to OSS."
        )
