"""Joins two inventories in DuckDB, within a stated memory, and yields the keys to look at.

DuckDB is an optional dependency: it is imported when inventories are joined, not before.
"""

import importlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from replication.errors import ReplicationError
from replication.mapping.keys import KeyPolicy, SkippedKey, plan_key, rewritten_prefix
from replication.models import ReplicationRule
from replication.sweep.inventories.errors import InventoryError
from replication.sweep.inventories.manifests import FileFormat, Inventory
from replication.sweep.inventories.sql import Reason, Table, differences_sql, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DEFAULT_MEMORY = "512MB"
_ROWS_AT_ONCE = 10_000
# Each thread takes memory for itself; the default suffices for so many.
_THREADS_AT_MOST = 4
# A key takes 3 KiB at most. DuckDB reads CSV in buffers, of 32 MB unless it is told otherwise.
_MAX_LINE_BYTES = 64 * 1024


class Candidate(NamedTuple):
    """A key of the source to look at, because two inventories differ in it."""

    key: str
    reason: Reason


class Comparison:
    """The differences of two inventories, in a file of DuckDB.

    Attributes:
        tally: how many candidates of each reason were yielded so far; of REWRITTEN, ARCHIVED and
            EXTRA too.
        refused: how many keys can't be in OSS, by the rule's policy; these are no candidates.
    """

    def __init__(self, rule: ReplicationRule, connection: "DuckDBPyConnection") -> None:
        self._rule = rule
        self._connection = connection
        self.tally: Counter[Reason] = Counter()
        self.refused = 0

    def candidates(self) -> Iterator[Candidate]:
        """Yield the keys to look at, in no order."""
        rows = self._rows("SELECT key, reason FROM differences WHERE reason <> 'extra'")
        for key, text in rows:
            if not self._rule.matches(key):
                continue
            reason = self._reason(key, Reason(text))
            if reason is None:
                self.refused += 1
                continue
            self.tally[reason] += 1
            if reason is not Reason.ARCHIVED:
                yield Candidate(key, reason)

    def only_at_destination(self) -> Iterator[str]:
        """Yield the replicas' keys that only the destination's inventory has. Never mend by them.

        An inventory is no reason to delete: the source's may be older than the object.
        """
        rule = self._rule
        # A replica whose key was rewritten has its object under another key.
        rewritten = rewritten_prefix(rule.destination_prefix)
        for (key,) in self._rows("SELECT replica_key FROM differences WHERE reason = 'extra'"):
            rest = key.removeprefix(rule.destination_prefix)
            original = rule.source_prefix + rest if rule.strip_source_prefix else rest
            if rule.matches(original) and not key.startswith(rewritten):
                self.tally[Reason.EXTRA] += 1
                yield key

    def _reason(self, key: str, reason: Reason) -> Reason | None:
        """Why the key is to be looked at; None if OSS can't have it."""
        rule = self._rule
        if "\0" in key:
            return None
        try:
            planned = plan_key(
                rule.destination_key(key),
                policy=KeyPolicy(rule.key_policy),
                prefix=rule.destination_prefix,
            )
        except ReplicationError:
            return None
        if isinstance(planned, SkippedKey):
            return None
        return Reason.REWRITTEN if planned.is_rewritten else reason

    def _rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor() as cursor, _duckdb_errors():
            cursor.execute(statement)
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield from rows


@contextmanager
def compared(
    rule: ReplicationRule,
    *,
    source: Inventory,
    destination: Inventory,
    folder: Path,
    memory: str = DEFAULT_MEMORY,
) -> Iterator[Comparison]:
    """Join the inventories of both sides of a rule.

    Args:
        rule: with its source and destination loaded.
        folder: an empty folder for DuckDB's file and for what does not fit into memory; as large
            as both inventories unpacked.
        memory: DuckDB's limit, such as 512MB. The process takes about a fifth more.

    Raises:
        InventoryError: DuckDB is missing, refuses a file, or lacks memory or disk space.
    """
    duckdb = _duckdb()
    with _duckdb_errors():
        connection = duckdb.connect(
            str(folder / "inventories.duckdb"),
            config={
                "memory_limit": memory,
                "temp_directory": str(folder / "spilled"),
                "threads": min(_THREADS_AT_MOST, os.cpu_count() or 1),
                # The order of rows in a file means nothing, and keeping it takes memory.
                "preserve_insertion_order": False,
                # Extensions would be downloaded.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    with connection:
        differences = differences_sql(rule, _table(source), _table(destination))
        with _duckdb_errors():
            # Timestamps of Parquet are written as texts, in the zone of the session.
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("CREATE MACRO regexp_like(a, b) AS regexp_matches(a, b)")
            connection.execute(f"CREATE TABLE differences AS {differences}")
        yield Comparison(rule, connection)


def _table(inventory: Inventory) -> Table:
    """The inventory's files as a table."""
    paths = ", ".join(literal(str(path)) for path in inventory.files)
    if inventory.file_format is FileFormat.PARQUET:
        sql = f"read_parquet([{paths}])"
    else:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in inventory.columns)
        sql = (
            f"read_csv([{paths}], columns = {{{columns}}}, auto_detect = false, header = false, "
            "delim = ',', quote = '\"', escape = '\"', compression = 'gzip', "
            f"max_line_size = {_MAX_LINE_BYTES}, buffer_size = {16 * _MAX_LINE_BYTES})"
        )
    return Table(sql, inventory.columns, inventory.encoding)


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        raise InventoryError(
            "Inventories are joined by DuckDB, which is not installed: run "
            "`pip install --require-hashes --find-links requirements/wheels "
            "-r requirements/inventory.txt`"
        ) from error


@contextmanager
def _duckdb_errors() -> Iterator[None]:
    duckdb = _duckdb()
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise InventoryError(
            "DuckDB lacks memory or disk space to join the inventories: allow it more with "
            f"--memory, or name a larger disk with --temp. It says: {error}"
        ) from error
    except duckdb.IOException as error:
        raise InventoryError(
            "DuckDB can't read a data file, or can't spill to the folder of --temp: check the disk "
            f"of both. It says: {error}"
        ) from error
    except duckdb.Error as error:
        raise InventoryError(f"DuckDB can't compare the inventories: {error}") from error
