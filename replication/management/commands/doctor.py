"""manage.py doctor"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.tools.doctor import Examined, Finding, Level, examine
from replication.tools.doctor.checklist import UnknownRule

# 1 is of a set-up that fails; what follows is of a doctor that could not begin.
_FAILED = 1
_COULD_NOT_LOOK = 2

_SIGNS = {
    Level.PASS: "ok  ",
    Level.WARN: "warn",
    Level.FAIL: "FAIL",
    Level.UNKNOWN: "?   ",
}


class Command(BaseCommand):
    help = (
        "Walks the whole road of each rule, from the settings to an object of its own at the "
        "destination, and says what is right, what is wrong, and the fix. It needs no more "
        "permission than the service has, takes no message, and changes nothing but that object. "
        "The exit status is 0 if nothing fails, 1 if something does, 2 if it could not begin."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  doctor itself says what they say

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rule",
            action="append",
            default=[],
            metavar="NAME",
            help="this rule alone, enabled or not; may be repeated",
        )
        parser.add_argument(
            "--profile",
            default="",
            metavar="NAME",
            help="an administrator's credential profile, to read a queue's attributes and a "
            "bucket's notifications, which the service need not",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object, for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            examined = examine(options["rule"], administrator=options["profile"])
        except UnknownRule as error:
            raise CommandError(str(error), returncode=_COULD_NOT_LOOK) from error
        counts = Counter(finding.level for each in examined for finding in each.findings)
        if options["json"]:
            text = json.dumps(_as_json(examined, counts), ensure_ascii=False, indent=2)
            self.stdout.write(text)
        else:
            self._show(examined, counts)
        if counts[Level.FAIL]:
            raise SystemExit(_FAILED)

    def _show(self, examined: Sequence[Examined], counts: Counter[Level]) -> None:
        width = max(len(finding.check) for each in examined for finding in each.findings)
        for each in examined:
            if each.findings:
                self.stdout.write(_printable(each.place))
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


def _as_json(examined: Sequence[Examined], counts: Counter[Level]) -> dict[str, Any]:
    return {
        "healthy": not counts[Level.FAIL],
        "counts": {level.value: counts[level] for level in Level},
        "findings": [
            {
                "level": finding.level.value,
                "check": finding.check.value,
                "place": each.place,
                "rule": each.rule or None,
                "found": finding.found,
                "fix": finding.fix,
            }
            for each in examined
            for finding in each.findings
        ],
    }


def _printable(text: str) -> str:
    """On one line; an escape sequence in a key, or an answer, shall not reach the terminal."""
    return text if text.isprintable() else repr(text)
