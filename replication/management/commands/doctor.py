"""`manage.py doctor`"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.tools.doctor import CheckResults, Finding, Level, examine
from replication.tools.doctor.checklist import UnknownRule

# Exit statuses: a check failed; doctor could not begin.
_FAILED = 1
_COULD_NOT_BEGIN = 2

_SIGNS = {
    Level.PASS: "ok  ",
    Level.WARN: "warn",
    Level.FAIL: "FAIL",
    Level.UNKNOWN: "?   ",
}


class Command(BaseCommand):
    help = (
        "Checks each rule from the settings to the destination, where it writes and deletes an "
        "object of its own, and says what is right, what is wrong, and the fix. It needs no more "
        "permissions than the service has, takes no message from a queue, and changes nothing but "
        "that object and the record of which characters the bucket takes. The exit status is 0 if "
        "no check fails, 1 if a check fails, 2 if doctor could not begin."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  doctor reports them itself

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rule",
            action="append",
            default=[],
            metavar="NAME",
            help="check this rule only, enabled or not; may be repeated",
        )
        parser.add_argument(
            "--profile",
            default="",
            metavar="NAME",
            help="a credential profile of an administrator, to read queues' attributes and "
            "buckets' notifications, which the service itself need not read",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object, for machines"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            results = examine(options["rule"], administrator=options["profile"])
        except UnknownRule as error:
            raise CommandError(str(error), returncode=_COULD_NOT_BEGIN) from error
        counts = Counter(finding.level for each in results for finding in each.findings)
        if options["json"]:
            text = json.dumps(_as_json(results, counts), ensure_ascii=False, indent=2)
            self.stdout.write(text)
        else:
            self._show(results, counts)
        if counts[Level.FAIL]:
            raise SystemExit(_FAILED)

    def _show(self, results: Sequence[CheckResults], counts: Counter[Level]) -> None:
        width = max(len(finding.check) for each in results for finding in each.findings)
        for each in results:
            if each.findings:
                self.stdout.write(_printable(each.subject))
            for finding in each.findings:
                self._show_finding(finding, width)
        summary = ", ".join(f"{counts[level]} {name}" for level, name in _NAMES if counts[level])
        self.stdout.write(f"\n{summary}")

    def _show_finding(self, finding: Finding, width: int) -> None:
        sign = self._colour(finding.level)(_SIGNS[finding.level])
        self.stdout.write(f"  {sign} {finding.check:<{width}}  {_printable(finding.found)}")
        if finding.fix:
            self.stdout.write(f"       {'':<{width}}  → {_printable(finding.fix)}")

    def _colour(self, level: Level) -> Callable[[str], str]:
        colours: dict[Level, Callable[[str], str]] = {
            Level.PASS: self.style.SUCCESS,
            Level.WARN: self.style.WARNING,
            Level.FAIL: self.style.ERROR,
            Level.UNKNOWN: self.style.NOTICE,
        }
        return colours[level]


_NAMES = (
    (Level.PASS, "passed"),
    (Level.WARN, "warnings"),
    (Level.FAIL, "failed"),
    (Level.UNKNOWN, "can't tell"),
)


def _as_json(results: Sequence[CheckResults], counts: Counter[Level]) -> dict[str, Any]:
    return {
        "healthy": not counts[Level.FAIL],
        "counts": {level.value: counts[level] for level in Level},
        "findings": [
            {
                "level": finding.level.value,
                "check": finding.check.value,
                "place": each.subject,
                "rule": each.rule or None,
                "found": finding.found,
                "fix": finding.fix,
            }
            for each in results
            for finding in each.findings
        ],
    }


def _printable(text: str) -> str:
    """The text on one line. Escape sequences in keys or answers must not reach the terminal."""
    return text if text.isprintable() else repr(text)
