"""`manage.py applyrules FILE`"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

from replication.models import AuditAction
from replication.operations.audit import command_line_actor, describe, recorded
from replication.tools.rules_file import (
    MAX_FILE_BYTES,
    Applied,
    Change,
    FieldChange,
    RulesFileError,
    apply_rules,
)

MAX_SHOWN_MISTAKES = 50


class Command(BaseCommand):
    help = (
        "Writes the sources, destinations, rules and queues of a YAML file to the database. Rows "
        "that the file does not mention stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a YAML file; - is standard input")
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would change; change nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["file"]
        try:
            applied = _apply(name, dry_run=options["dry_run"])
        except RulesFileError as error:
            raise CommandError(_report_mistakes(error, file_name=name)) from error
        except IntegrityError as error:
            raise CommandError(
                "Nothing was changed: another process changed the same entries meanwhile. "
                f"Run it again. ({error})"
            ) from error
        for line in _report(applied):
            self.stdout.write(line)
        if options["dry_run"]:
            self.stdout.write("Dry run: nothing was changed.")


def _apply(name: str, *, dry_run: bool) -> Applied:
    """Apply the file, and record that together with its changes."""
    text = _read(name)
    with transaction.atomic():
        applied = apply_rules(text, dry_run=dry_run)
        changed = [each for each in applied.changes if each.created or each.fields]
        if changed and not dry_run:
            about = describe(
                f"rules file {name}:", [f"{each.noun} {each.name}" for each in changed]
            )
            with recorded(command_line_actor(), AuditAction.CHANGED, about=about) as record:
                record.affected = len(changed)
    return applied


def _read(name: str) -> str:
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{name} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8 (byte {error.start + 1:,})") from error


def _report(applied: Applied) -> list[str]:
    lines = [_describe(change) for change in applied.changes]
    lines += [f"starts    backfill of rule {name}" for name in applied.backfills]
    lines += [f"kept      {noun} {name}: not in the file" for noun, name in applied.absent]
    return lines or ["Neither the file nor the database has entries."]


def _describe(change: Change) -> str:
    what = f"{change.noun} {change.name}"
    if change.created:
        return f"created   {what}"
    if change.fields:
        return f"changed   {what}: {', '.join(map(_describe_field, change.fields))}"
    return f"unchanged {what}"


def _describe_field(change: FieldChange) -> str:
    old, new = (json.dumps(value, ensure_ascii=False) for value in (change.old, change.new))
    return f"{change.name}: {old} → {new}"


def _report_mistakes(error: RulesFileError, *, file_name: str) -> str:
    shown = [f"{file_name}:{mistake}" for mistake in error.mistakes[:MAX_SHOWN_MISTAKES]]
    if len(error.mistakes) > len(shown):
        shown.append(f"… and {len(error.mistakes) - len(shown)} more")
    return "\n".join([*shown, "Nothing was changed."])
