"""`manage.py verify RULE KEY…`"""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from replication.cluster.database import why_not_ready
from replication.errors import MEANINGS, ErrorCode, ReplicationError
from replication.intake.matching import KeysOutsideRule, look_again
from replication.intake.message_fields import UnparseableMessage, check_key
from replication.management.rules import rule_named
from replication.models import ReplicationRule
from replication.sweep.verify import Comparison, Verified, verify, would_be_repaired

ENQUEUE_BATCH = 100

# The exit status if the keys could not be compared; 1 means that some are not equal.
_COULD_NOT_COMPARE = 2


class Command(BaseCommand):
    help = (
        "Reads both sides of each key in full and compares the replica with what the rule would "
        "write: length, CRC-64, headers, user metadata, tags, storage class and encryption. Prints "
        "a line for each key. The exit status is 0 if all keys are equal, 1 if some are not, 2 if "
        "they could not be compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the name of a rule")
        parser.add_argument("key", metavar="KEY", nargs="*", help="a key of the rule's source")
        parser.add_argument(
            "--keys",
            metavar="FILE",
            help="read keys from a file, one on each line; - is standard input",
        )
        parser.add_argument(
            "--json", action="store_true", help="print a JSON object for each key, one on each line"
        )
        parser.add_argument(
            "--enqueue", action="store_true", help="have lanes look again at the keys that differ"
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=8,
            metavar="N",
            help="how many keys to compare at once (default: 8)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["key"] and options["keys"] is None:
            raise CommandError(
                "name keys, or a file of keys with --keys", returncode=_COULD_NOT_COMPARE
            )
        if (not_ready := why_not_ready()) is not None:
            raise CommandError(not_ready.reason, returncode=_COULD_NOT_COMPARE)
        if options["threads"] < 1:
            raise CommandError("--threads must be at least 1", returncode=_COULD_NOT_COMPARE)
        rule = rule_named(options["rule"])
        counts: Counter[Comparison] = Counter()
        codes: set[ErrorCode] = set()
        to_enqueue: list[str] = []
        enqueued = 0
        with _lines_of(options["keys"]) as lines:
            keys = chain(_checked(rule, options["key"], "KEY"), _checked(rule, lines, "line"))
            try:
                for verified in verify(rule, keys, threads=options["threads"]):
                    self.stdout.write(_as_json(verified) if options["json"] else _line(verified))
                    counts[verified.verdict] += 1
                    codes |= {verified.code} if verified.code else set()
                    if options["enqueue"] and would_be_repaired(verified, rule):
                        to_enqueue.append(verified.key)
                    if len(to_enqueue) == ENQUEUE_BATCH:
                        enqueued += len(look_again(rule, to_enqueue))
                        to_enqueue.clear()
            except ReplicationError as error:
                raise CommandError(
                    f"stopped after {counts.total():,} keys: {error}\n{_hint(error.code)}",
                    returncode=_COULD_NOT_COMPARE,
                ) from error
            finally:
                enqueued += len(look_again(rule, to_enqueue))
        for code in sorted(codes):
            self.stderr.write(f"{code}: {_hint(code)}")
        if options["enqueue"]:
            self.stderr.write(f"keys to look at again: {enqueued:,}")
        summary = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
        if set(counts) - {Comparison.EQUAL}:
            raise CommandError(summary, returncode=1)
        self.stderr.write(summary or "no keys")


@contextmanager
def _lines_of(name: str | None) -> Iterator[Iterable[str]]:
    """The lines of a file, without their ends (LF or CRLF) and without a byte order mark."""
    if name is None:
        yield ()
        return
    try:
        binary = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115  below
    except OSError as error:
        raise CommandError(
            f"{name} can't be read: {error.strerror}", returncode=_COULD_NOT_COMPARE
        ) from error
    text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="\n")
    try:
        yield (line.removesuffix("\n").removesuffix("\r") for line in text)
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8", returncode=_COULD_NOT_COMPARE) from error
    finally:
        if name == "-":
            text.detach()
        else:
            text.close()


def _checked(rule: ReplicationRule, keys: Iterable[str], where: str) -> Iterator[str]:
    for number, key in enumerate(keys, start=1):
        try:
            check_key(key, where=f"{where} {number}")
        except UnparseableMessage as error:
            raise CommandError(str(error), returncode=_COULD_NOT_COMPARE) from error
        if not key.startswith(rule.source_prefix):
            reason = f"{where} {number}: {KeysOutsideRule(rule, [key])}"
            raise CommandError(reason, returncode=_COULD_NOT_COMPARE)
        yield key


def _line(verified: Verified) -> str:
    text = f"{_printable(verified.key)}\t{verified.verdict}"
    if verified.reasons:
        text += f": {_printable('; '.join(verified.reasons))}"
    return text + (" (a job of this key is not finished)" if verified.has_unfinished_job else "")


def _printable(text: str) -> str:
    """The text on one line. Escape sequences in keys or answers must not reach the terminal."""
    return text if text.isprintable() else repr(text)


def _as_json(verified: Verified) -> str:
    return json.dumps(vars(verified))


def _hint(code: ErrorCode) -> str:
    meaning = MEANINGS[code]
    return f"{meaning.cause} {meaning.hint}"
