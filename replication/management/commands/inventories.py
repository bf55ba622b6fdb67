"""`manage.py inventories RULE`: the keys in which the inventories of both buckets differ."""

import csv
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandParser

from replication.errors import MEANINGS, ReplicationError
from replication.models import ReplicationRule, SourceKind
from replication.stores.factory import destination_store, source_store
from replication.stores.listing import Listable, Unlistable
from replication.sweep.inventories.errors import InventoryError
from replication.sweep.inventories.joining import DEFAULT_MEMORY, Comparison, compared
from replication.sweep.inventories.key_lists import encode_key
from replication.sweep.inventories.manifests import Inventory, Provider, read_inventory
from replication.sweep.inventories.spooling import listed, spool
from replication.sweep.inventories.sql import Reason

NONE, SOME, UNKNOWN = range(3)


class Command(BaseCommand):
    help = (
        "Compares the inventories of a rule's buckets, and prints the source's keys to look at, "
        "URL-encoded, one on each line. A side without an inventory is listed. The files must lie "
        "in a local folder. Needs DuckDB: requirements/inventory.txt. Ends with status 0 if there "
        "is no such key, 1 if there are some, and 2 if that could not be found out. It changes "
        "nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the rule's name")
        parser.add_argument(
            "--source", type=Path, metavar="MANIFEST", help="manifest.json of S3's inventory"
        )
        parser.add_argument(
            "--destination", type=Path, metavar="MANIFEST", help="manifest.json of OSS's inventory"
        )
        parser.add_argument(
            "--memory",
            default=DEFAULT_MEMORY,
            metavar="SIZE",
            help=f"how much memory DuckDB may take (default: {DEFAULT_MEMORY}); what does not fit "
            "is spilled to disk",
        )
        parser.add_argument(
            "--temp",
            type=Path,
            metavar="FOLDER",
            help="where to spill; it needs about the space of both inventories unpacked (default: "
            "the system's folder for temporary files)",
        )
        parser.add_argument(
            "--extras",
            type=Path,
            metavar="FILE",
            help="write the replicas that only the destination has into a CSV file, to read: "
            "nothing may be deleted because of an inventory",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(self._run(**options))

    def _run(self, *, rule: str, temp: Path | None, **options: Any) -> int:
        try:
            found = _rule(rule)
            with TemporaryDirectory(dir=temp, prefix="s3sync-inventories-") as folder:
                return self._compare(found, Path(folder), **options)
        except InventoryError as error:
            self.stderr.write(f"{error}.")
        except Unlistable as error:
            self.stderr.write(f"A listing can't be followed: {error}.")
        except ReplicationError as error:
            self.stderr.write(f"{error} {MEANINGS[error.code].hint}")
        except OSError as error:
            self.stderr.write(f"{error.filename or 'A file'} can't be used: {error.strerror}.")
        return UNKNOWN

    def _compare(
        self,
        rule: ReplicationRule,
        folder: Path,
        *,
        source: Path | None,
        destination: Path | None,
        memory: str,
        extras: Path | None,
        **_: Any,
    ) -> int:
        sides = _inventories(rule, folder, source=source, destination=destination)
        with (
            compared(
                rule, source=sides[0], destination=sides[1], folder=folder, memory=memory
            ) as comparison,
            extras.open("w", newline="") if extras else nullcontext() as file,
        ):
            candidates = 0
            for candidate in comparison.candidates():
                candidates += 1
                self.stdout.write(encode_key(candidate.key))
            _write_extras(comparison, file)
            self.stderr.write(_summary(comparison, candidates, *sides))
        return SOME if candidates else NONE


def _rule(name: str) -> ReplicationRule:
    rules = ReplicationRule.objects.select_related("source", "destination")
    rule = rules.filter(name=name).first()
    if rule is None:
        names = ", ".join(rules.values_list("name", flat=True)) or "none"
        raise InventoryError(f"There is no rule named {name!r}; there are: {names}")
    if rule.source.kind != SourceKind.S3:
        raise InventoryError(
            f"Rule {rule.name} copies from a web server, which has no inventory: compare a list of "
            "keys with `verify`"
        )
    return rule


def _inventories(
    rule: ReplicationRule, folder: Path, *, source: Path | None, destination: Path | None
) -> tuple[Inventory, Inventory]:
    """The inventories of both sides; one may be a listing instead."""
    if source is None and destination is None:
        raise InventoryError(
            "Name the manifest of an inventory with --source, --destination or both; without one, "
            "`manage.py reconcile` compares two listings"
        )
    # Both manifests are checked before a listing, which may take hours.
    of_source = of_destination = None
    if source is not None:
        bucket = rule.source.bucket
        of_source = read_inventory(source, provider=Provider.S3, bucket=bucket)
    if destination is not None:
        bucket = rule.destination.bucket
        of_destination = read_inventory(destination, provider=Provider.OSS, bucket=bucket)
    if of_source is None:
        objects = listed(_listable(source_store(rule.source)), prefix=rule.source_prefix)
        of_source = spool(objects, folder / "source.csv.gz", bucket=rule.source.bucket)
    if of_destination is None:
        store = _listable(destination_store(rule.destination))
        objects = listed(store, prefix=rule.destination_key(rule.source_prefix))
        path = folder / "destination.csv.gz"
        of_destination = spool(objects, path, bucket=rule.destination.bucket)
    return of_source, of_destination


def _listable(store: object) -> Listable:
    assert isinstance(store, Listable)  # S3 and OSS are
    return store


def _write_extras(comparison: Comparison, file: TextIO | None) -> None:
    """Count the extra replicas, and write them if there is a file."""
    writer = csv.writer(file) if file else None
    if writer:
        # No column is named Key, so that the file is not taken for a list of keys to look at.
        writer.writerow(["OnlyAtDestination", "Note"])
    for key in comparison.only_at_destination():
        if writer:
            writer.writerow([encode_key(key), "never delete because of an inventory"])


def _summary(
    comparison: Comparison, candidates: int, source: Inventory, destination: Inventory
) -> str:
    tally = comparison.tally
    to_look_at = [
        f"{tally[reason]:,} {reason}"
        for reason in Reason
        if tally[reason] and reason not in {Reason.ARCHIVED, Reason.EXTRA}
    ]
    left_alone = {
        "only at the destination": tally[Reason.EXTRA],
        "archived": tally[Reason.ARCHIVED],
        "refused by OSS": comparison.refused,
    }
    others = [f"{number:,} {name}" for name, number in left_alone.items() if number]
    return (
        f"{candidates:,} keys to look at ({', '.join(to_look_at) or 'no differences'}), "
        f"and left alone: {', '.join(others) or 'none'}. "
        f"Source as of {source.created_at:%Y-%m-%d %H:%M}Z, "
        f"destination as of {destination.created_at:%Y-%m-%d %H:%M}Z: what changed since then is "
        "not seen."
    )
