"""Writes the comparison of two inventories as SQL that DuckDB, Trino and Athena run alike.

Tables have the columns of AWS's documented tables for Athena (storage-inventory-athena-query.html
of the S3 user guide), whatever their types: `size` may be a number or a text, and
`last_modified_date` a timestamp, milliseconds since 1970, or a text of S3 or OSS. Athena has no
documented table for OSS's inventory; `oss_table` of docs/guides/inventories.md has the same names.

DuckDB needs one macro: `regexp_like`, which it calls `regexp_matches`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from replication.mapping.filters import parse_globs
from replication.mapping.keys import REWRITTEN_MARK, KeyPolicy
from replication.models import ArchivePolicy, ReplicationRule
from replication.sweep.inventories.manifests import FileFormat, KeyEncoding
from replication.sweep.inventories.patterns import regexp_of_glob, regexp_of_suffix
from replication.sweep.judging import CLOCK_SKEW

# Columns that a table may lack. With the first two, it has all versions of objects.
OPTIONAL_COLUMNS = ("is_latest", "is_delete_marker", "storage_class", "encryption_status")

_TABLE = re.compile(r'(?:\w+|"[^"]+")(?:\.(?:\w+|"[^"]+")){0,2}')
_DECODED = {
    KeyEncoding.PLAIN: "key",
    # Trino's url_decode takes a plus for a space, DuckDB's does not.
    KeyEncoding.PLUS: "url_decode(replace(key, '+', '%20'))",
    KeyEncoding.PERCENT: "url_decode(replace(key, '+', '%2B'))",
}


class Reason(StrEnum):
    """Why a key is not plainly equal in two inventories. The values are printed."""

    MISSING = "missing"
    SIZE = "size"
    OLDER = "older"  # the replica is older than the object
    ETAG = "etag"  # both sides have a plain MD5 sum, and they differ
    REWRITTEN = "rewritten"  # the replica has another key, which only a look finds
    ARCHIVED = "archived"  # missing, and the rule fails such objects
    EXTRA = "extra"  # only the destination has the key


@dataclass(frozen=True)
class Table:
    """What stands after FROM, which of the columns it has, and how its keys are written."""

    sql: str
    columns: Collection[str]
    encoding: KeyEncoding


def comparison_sql(
    rule: ReplicationRule,
    source_table: str,
    destination_table: str,
    *,
    source_format: FileFormat = FileFormat.PARQUET,
    source_columns: Collection[str] = (),
    destination_columns: Collection[str] = (),
    source_dt: str = "",
    destination_dt: str = "",
) -> str:
    """The comparison for Athena and Trino. Its result is CSV with URL-encoded keys to look at.

    Args:
        source_format: PARQUET also for ORC: both have keys as they are. OSS has CSV alone.
        source_columns, destination_columns: those of OPTIONAL_COLUMNS that the table has.
        source_dt, destination_dt: the partition `dt` to read; empty if the table has none.

    Raises:
        ValueError: a name is no name of a table.
    """
    is_csv = source_format is FileFormat.CSV
    encoding = KeyEncoding.PLUS if is_csv else KeyEncoding.PLAIN
    source = Table(_table(source_table, source_dt), source_columns, encoding)
    destination = Table(
        _table(destination_table, destination_dt), destination_columns, KeyEncoding.PERCENT
    )
    return f"""\
SELECT
  {literal(rule.source.bucket)} AS "Bucket",
  replace(url_encode(key), '+', '%20') AS "Key",
  reason AS "Reason"
FROM (
{differences_sql(rule, source, destination, join="LEFT")}
) AS differences
WHERE reason <> '{Reason.ARCHIVED}'
  AND strpos(key, chr(0)) = 0
"""  # noqa: S608  names were checked, and texts are quoted


def differences_sql(
    rule: ReplicationRule, source: Table, destination: Table, *, join: str = "FULL"
) -> str:
    """Select `key`, `replica_key` and `reason` of all keys that are not plainly equal.

    The order of reasons is that of `judge`: equal sizes and MD5 sums prove that a key is equal,
    whatever its age. With `join` LEFT, extra replicas are left out.
    """
    start = len(rule.source_prefix) + 1 if rule.strip_source_prefix else 1
    wanted_key = f"concat({literal(rule.destination_prefix)}, substr(key, {start}))"
    rewrites, archives = "FALSE", "FALSE"
    if rule.key_policy == KeyPolicy.REWRITE:
        # Such a key can be a replica's own, under which it would wrongly be found.
        rewrites = f"strpos(s.wanted_key, {literal(REWRITTEN_MARK)}) > 0"
    if rule.archive_policy == ArchivePolicy.FAIL:
        archives = "s.storage_class IN ('GLACIER', 'DEEP_ARCHIVE')"
    seconds = int(CLOCK_SKEW.total_seconds())
    return f"""\
SELECT key, replica_key, reason FROM (
  SELECT
    s.key AS key,
    r.key AS replica_key,
    CASE
      WHEN s.key IS NULL THEN '{Reason.EXTRA}'
      WHEN {rewrites} THEN '{Reason.REWRITTEN}'
      WHEN r.key IS NULL AND {archives} THEN '{Reason.ARCHIVED}'
      WHEN r.key IS NULL THEN '{Reason.MISSING}'
      WHEN s.size IS DISTINCT FROM r.size THEN '{Reason.SIZE}'
      WHEN s.md5 = r.md5 THEN NULL
      WHEN coalesce(r.modified < s.modified - INTERVAL '{seconds}' SECOND, TRUE)
        THEN '{Reason.OLDER}'
      WHEN s.md5 <> r.md5 THEN '{Reason.ETAG}'
    END AS reason
  FROM (
    SELECT listed.*, {wanted_key} AS wanted_key
    FROM (
{_listed(source)}
    ) AS listed
    WHERE {_covered(rule)}
  ) AS s
  {join} JOIN (
    SELECT * FROM (
{_listed(destination)}
    ) AS listed
    WHERE starts_with(key, {literal(rule.destination_key(rule.source_prefix))})
  ) AS r ON r.key = s.wanted_key
) AS compared
WHERE reason IS NOT NULL"""  # noqa: S608  names were checked, and texts are quoted


def literal(text: str) -> str:
    """The text as SQL has it; neither Trino nor DuckDB gives a backslash a meaning."""
    return "'" + text.replace("'", "''") + "'"


def _listed(table: Table) -> str:
    """Select the current objects of an inventory, in one form for all kinds of tables."""
    conditions = ["TRUE"]
    # A bucket without versions may leave both empty.
    if "is_latest" in table.columns:
        conditions.append("coalesce(lower(CAST(is_latest AS varchar)), '') <> 'false'")
    if "is_delete_marker" in table.columns:
        conditions.append("coalesce(lower(CAST(is_delete_marker AS varchar)), '') <> 'true'")
    storage_class = "storage_class" if "storage_class" in table.columns else "NULL"
    etag = "lower(replace(e_tag, '\"', ''))"
    is_md5 = f"regexp_like({etag}, '\\A[0-9a-f]{{32}}\\z')"
    if "encryption_status" in table.columns:
        # Under these, S3's ETag looks like an MD5 sum and is none.
        is_md5 += " AND coalesce(encryption_status, '') NOT IN ('SSE-KMS', 'DSSE-KMS', 'SSE-C')"
    return f"""\
      SELECT
        {_DECODED[table.encoding]} AS key,
        TRY_CAST(size AS bigint) AS size,
        CASE WHEN {is_md5} THEN {etag} END AS md5,
        {_time()} AS modified,
        CAST({storage_class} AS varchar) AS storage_class
      FROM {table.sql}
      WHERE {" AND ".join(conditions)}"""  # noqa: S608  names were checked


def _time() -> str:
    """The time of the last change, to the second.

    It is `2026-11-30T08:00:00.000Z` in S3's CSV, `2026-11-30T08-00-00Z` in OSS's, and
    `2026-11-30 08:00:00.000` where a timestamp is cast: the digits stand at the same places.
    """
    text = "CAST(last_modified_date AS varchar)"
    digits = ", ':', ".join(f"substr({text}, {at}, 2)" for at in (12, 15, 18))
    since_1970 = f"CAST(TRY_CAST({text} AS bigint) / 1000 AS bigint)"
    return (
        f"coalesce(TRY_CAST(concat(substr({text}, 1, 10), ' ', {digits}) AS timestamp), "
        f"TIMESTAMP '1970-01-01 00:00:00' + {since_1970} * INTERVAL '1' SECOND)"
    )


def _covered(rule: ReplicationRule) -> str:
    """The condition under which the rule covers a key of its source; see mapping/filters.py."""
    conditions = [f"starts_with(key, {literal(rule.source_prefix)})"]
    if rule.source_suffix:
        conditions.append(_matches(regexp_of_suffix(rule.source_suffix)))
    if included := parse_globs(rule.include):
        any_of = " OR ".join(_matches(regexp_of_glob(glob)) for glob in included)
        conditions.append(f"({any_of})")
    conditions += [f"NOT {_matches(regexp_of_glob(glob))}" for glob in parse_globs(rule.exclude)]
    return " AND ".join(conditions)


def _matches(regexp: str) -> str:
    return f"regexp_like(key, {literal(regexp)})"


def _table(name: str, dt: str) -> str:
    if not _TABLE.fullmatch(name):
        raise ValueError(
            f'{name!r} is no name of a table, such as inventories.source or inventories."my-bucket"'
        )
    return f"(SELECT * FROM {name} WHERE dt = {literal(dt)}) AS partition_of" if dt else name  # noqa: S608  the name was checked
