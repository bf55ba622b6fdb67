"""`manage.py reconcile RULE --keys FILE`: the list, the progress and the report."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.cluster.database import why_not_ready
from replication.errors import MEANINGS, ReplicationError
from replication.management.rules import rule_named
from replication.management.sweeping import (
    DIFFERENT,
    EQUAL,
    TOLD_SECONDS,
    TOLD_SECONDS_IN_LOGS,
    UNKNOWN,
    finding_line,
    summary,
)
from replication.models import (
    FindingState,
    ReplicationRule,
    SourceKind,
    SweepFinding,
    SweepLevel,
    SweepState,
)
from replication.sweep import reporting
from replication.sweep.causes import Cause
from replication.sweep.comparing import Sides
from replication.sweep.inventories.errors import KeyListError
from replication.sweep.inventories.key_lists import KeyListFormat, format_of, read_keys
from replication.sweep.key_list import KeyListComparison
from replication.sweep.key_looks import RuleChanged
from replication.sweep.looking import LOOKS_AT_ONCE

# What only a comparison by listings has, and what it is without the option.
_OF_LISTINGS = {
    "prefix": "",
    "level": SweepLevel.LISTING,
    "rate": None,
    "window": None,
    "requests": None,
    "detach": False,
}


def add_options(parser: CommandParser) -> None:
    """Add the options of a list of keys."""
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="look at these keys of the source on both sides, in place of listing them; - is "
        "standard input",
    )
    parser.add_argument(
        "--keys-format",
        type=KeyListFormat,
        choices=list(KeyListFormat),
        metavar="{" + ",".join(KeyListFormat) + "}",
        help="plain: a key on each line, as it is; url: the same, URL-encoded; csv: with the "
        "column Key, URL-encoded (default: csv if the name of FILE ends with .csv, else url)",
    )


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Compare the keys of the list. Returns the exit status.

    Raises:
        CommandError: with exit status 2, nothing was compared.
    """
    if wrong := [name for name, usual in _OF_LISTINGS.items() if options[name] != usual]:
        raise CommandError(
            f"--{wrong[0]} is for comparing by listings, not with --keys: each key of the list is "
            "looked at on both sides, at once and by this process.",
            returncode=UNKNOWN,
        )
    if (not_ready := why_not_ready()) is not None:
        raise CommandError(not_ready.reason, returncode=UNKNOWN)
    rule = rule_named(options["rule"])
    _check(rule, options)
    name = options["keys"]
    list_format = options["keys_format"] or format_of(name)
    told, findings = _Told(command), []
    with ThreadPoolExecutor(LOOKS_AT_ONCE, "look") as lookers, _opened(name) as stream:
        try:
            comparison = KeyListComparison(
                Sides.of(rule),
                lookers=lookers,
                mends=options["mend"],
                mends_extras=options["mend_extras"],
                settle_seconds=options["settle"],
                on_look=told.tell,
            )
        except ReplicationError as error:
            raise CommandError(_in_words(error), returncode=UNKNOWN) from error
        told.comparison = comparison
        bucket = rule.source.bucket
        keys = read_keys(stream, list_format, bucket=bucket, prefix=rule.source_prefix)
        try:
            for one in comparison.findings(keys):
                if options["json"]:
                    findings.append(one)
                elif one.state != FindingState.GONE:
                    command.stdout.write(finding_line(one))
        except KeyListError as error:
            _fail(comparison, f"{name}, {error}. Correct the list, and start again.")
        except ReplicationError as error:
            _fail(comparison, _in_words(error))
        except RuleChanged:
            _fail(comparison, f"Rule {rule.name} was changed meanwhile: start again.")
        except KeyboardInterrupt:
            _fail(comparison, "It was interrupted.")
    return _report(command, comparison, findings if options["json"] else None)


def _check(rule: ReplicationRule, options: dict[str, Any]) -> None:
    """
    Raises:
        CommandError: its objects can't be looked at, or no job of the rule would run.
    """
    if rule.source.kind != SourceKind.S3:
        raise CommandError(
            f"The source of rule {rule.name} is a web server, whose objects can't be looked at "
            "without reading them: compare the keys with `manage.py verify`.",
            returncode=UNKNOWN,
        )
    if not (options["mend"] or options["mend_extras"]):
        return
    if not rule.enabled:
        raise CommandError(f"Rule {rule.name} is disabled: enable it first.", returncode=UNKNOWN)
    if rule.paused_at:
        raise CommandError(f"Rule {rule.name} is paused: resume it first.", returncode=UNKNOWN)


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115  below
    except OSError as error:
        reason = f"{name} can't be read: {error.strerror}"
        raise CommandError(reason, returncode=UNKNOWN) from error
    with stream:
        yield stream


class _Told:
    """Shows on stderr how many keys were looked at."""

    def __init__(self, command: BaseCommand) -> None:
        self.comparison: KeyListComparison | None = None
        self._command = command
        self._is_terminal = sys.stderr.isatty()
        self._every = TOLD_SECONDS if self._is_terminal else TOLD_SECONDS_IN_LOGS
        self._next = time.monotonic() + self._every

    def tell(self) -> None:
        """Show it, if that is due."""
        if self.comparison is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        line = (
            f"{self.comparison.looked_at:,} keys looked at, "
            f"{self.comparison.open_differences:,} differ, {self.comparison.waiting:,} of these "
            "wait for a second look"
        )
        self._command.stderr.write(
            f"\r\033[K{line}" if self._is_terminal else f"{line}\n", ending=""
        )


def _report(
    command: BaseCommand, comparison: KeyListComparison, findings: list[SweepFinding] | None
) -> int:
    if sys.stderr.isatty():
        command.stderr.write("\r\033[K", ending="")
    sweep, differences = comparison.sweep, comparison.open_differences
    is_known = sweep.state == SweepState.COMPLETED and not sweep.unknown
    if findings is None:
        command.stdout.write(summary(sweep, differences))
    else:
        findings.sort(key=lambda one: one.key)
        document = reporting.facts(sweep) | {
            "is_equal": not differences if is_known else None,
            "slices": {"done": 0, "open": 0},
            "lost": _lost_by(sweep.rule, findings),
            "differences": differences,
            "findings": [reporting.finding_as_json(one) for one in findings],
        }
        command.stdout.write(json.dumps(document, indent=2))
    if comparison.absent:
        command.stderr.write(
            f"{comparison.absent:,} keys are on neither side. If that is unexpected, the list may "
            "be in another format: see --keys-format."
        )
    if sweep.state != SweepState.COMPLETED:
        command.stderr.write(f"The comparison is {sweep.get_state_display()}: {sweep.error}")
        return UNKNOWN
    if sweep.unknown:
        command.stderr.write(f"{sweep.unknown:,} keys could not be compared.")
        return UNKNOWN
    return DIFFERENT if differences else EQUAL


def _lost_by(rule: ReplicationRule, findings: list[SweepFinding]) -> dict[str, Any]:
    """As reporting.lost_by has it; how many changes were announced is not counted."""
    hours, folders = Counter[str](), Counter[str]()
    for one in findings:
        if one.cause == Cause.LOST and one.state != FindingState.GONE:
            modified = one.source_modified
            hours[f"{modified[:13]}:00" if modified else "deleted, unknown when"] += 1
            first, slash, _ = one.key.removeprefix(rule.source_prefix).partition("/")
            folders[f"{rule.source_prefix}{first}{slash}"] += 1
    return {
        "by_hour": {
            hour: {"lost": number, "announced": None} for hour, number in sorted(hours.items())
        },
        "by_folder": dict(folders.most_common(20)),
    }


def _fail(comparison: KeyListComparison, error: str) -> None:
    comparison.sweep.state, comparison.sweep.error = SweepState.FAILED, error


def _in_words(error: ReplicationError) -> str:
    return f"{error} {MEANINGS[error.code].hint}"
