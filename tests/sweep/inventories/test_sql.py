"""The SQL for Athena, run on DuckDB, finds the keys that our own join finds."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from replication.models import ReplicationRule
from replication.sweep.inventories.joining import compared
from replication.sweep.inventories.key_lists import KeyListFormat, read_keys
from replication.sweep.inventories.manifests import (
    FileFormat,
    Inventory,
    Provider,
    read_inventory,
)
from replication.sweep.inventories.sql import OPTIONAL_COLUMNS, comparison_sql
from tests.sweep.inventories.files import write_oss, write_s3_csv, write_s3_parquet
from tests.sweep.inventories.oracle import expect
from tests.sweep.inventories.samples import (
    DESTINATION_BUCKET,
    SOURCE_BUCKET,
    Entry,
    rule_of,
    two_buckets,
)

VERSIONS = ("is_latest", "is_delete_marker")


@pytest.fixture
def athena() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with what Trino has and it lacks."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")  # as Athena's
        connection.execute("CREATE MACRO regexp_like(a, b) AS regexp_matches(a, b)")
        yield connection


def create_table(
    athena: duckdb.DuckDBPyConnection, name: str, inventory: Inventory, types: str = "VARCHAR"
) -> None:
    """Make the table that AWS documents for an inventory; in CSV, booleans are no texts."""
    files = [str(path) for path in inventory.files]
    if inventory.file_format is FileFormat.PARQUET:
        athena.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet({files})")
        athena.execute(f"ALTER TABLE {name} ALTER last_modified_date TYPE {types}")
        return
    columns = {
        column: "BOOLEAN" if column in VERSIONS else "VARCHAR" for column in inventory.columns
    }
    athena.execute(
        f"CREATE TABLE {name} AS SELECT * FROM "
        f"read_csv({files}, columns = {columns}, auto_detect = false, quote = '\"')"
    )


def run(
    athena: duckdb.DuckDBPyConnection, rule: ReplicationRule, path: Path, **options: Any
) -> dict[str, str]:
    """The reasons by key, by way of the CSV file that Athena writes."""
    sql = comparison_sql(rule, "source", "destination", **options)
    athena.execute(f"COPY ({sql}) TO '{path}' (header, force_quote *)")
    content = path.read_bytes()
    keys = list(read_keys(io.BytesIO(content), KeyListFormat.CSV, bucket=SOURCE_BUCKET))
    reasons = [line.rsplit(b",", 1)[1].strip(b'"').decode() for line in content.splitlines()[1:]]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, reasons, strict=True))


@pytest.mark.parametrize(
    ("kind", "fields", "columns"),
    [
        ("csv", {}, OPTIONAL_COLUMNS),
        ("TIMESTAMP", {"source_prefix": "p'/", "strip_source_prefix": True}, OPTIONAL_COLUMNS),
        ("BIGINT", {"destination_prefix": "q 图/", "key_policy": "skip"}, OPTIONAL_COLUMNS),
        ("csv", {"exclude": "**/1*\n[!a-y]*", "source_suffix": ".jpg"}, OPTIONAL_COLUMNS),
        ("csv", {"archive_policy": "restore", "key_policy": "skip"}, VERSIONS),
    ],
)
def test_athena_finds_the_keys_that_our_own_join_finds(
    tmp_path: Path,
    athena: duckdb.DuckDBPyConnection,
    kind: str,
    fields: dict[str, Any],
    columns: Collection[str],
) -> None:
    rule = rule_of(**fields)
    sources, replicas = two_buckets(rule, keys=1000, with_versions=True)
    write = write_s3_csv if kind == "csv" else write_s3_parquet
    sides = {
        "source": read_inventory(
            write(tmp_path / "s3", sources), provider=Provider.S3, bucket=SOURCE_BUCKET
        ),
        "destination": read_inventory(
            write_oss(tmp_path / "oss", replicas), provider=Provider.OSS, bucket=DESTINATION_BUCKET
        ),
    }
    for name, inventory in sides.items():
        create_table(athena, name, inventory, types="TIMESTAMP")
    if kind == "BIGINT":
        athena.execute(
            "ALTER TABLE source ALTER last_modified_date TYPE BIGINT "
            "USING epoch_ms(last_modified_date)"
        )
    found = run(
        athena,
        rule,
        tmp_path / "result.csv",
        source_format=FileFormat.CSV if kind == "csv" else FileFormat.PARQUET,
        source_columns=columns,
        destination_columns=VERSIONS,
    )
    source, destination = sides["source"], sides["destination"]
    with compared(rule, source=source, destination=destination, folder=tmp_path) as comparison:
        joined = {key: str(reason) for key, reason in comparison.candidates()}
    # The SQL does not know which keys OSS refuses.
    expected = expect(
        rule, sources, replicas, covers=rule.matches, shows_encryption=columns == OPTIONAL_COLUMNS
    )
    found = {key: reason for key, reason in found.items() if key not in expected.refused}
    assert found == expected.reasons
    if columns == OPTIONAL_COLUMNS:
        assert found == joined


def test_a_partition_is_read_alone(tmp_path: Path, athena: duckdb.DuckDBPyConnection) -> None:
    for name in ("source", "destination"):
        athena.execute(
            f"""
            CREATE TABLE {name} AS SELECT key, 1 AS size, '' AS e_tag, 'x{name}' AS bucket,
              '2026-11-29T01:00:00.000Z' AS last_modified_date, dt
            FROM (VALUES ('old', '2026-11-28-01-00'), ('new', '2026-11-29-01-00')) AS v(key, dt)
            """
        )
    athena.execute("DELETE FROM destination WHERE dt = '2026-11-29-01-00'")
    sides = {"source_dt": "2026-11-29-01-00", "destination_dt": "2026-11-29-01-00"}
    assert run(athena, rule_of(), tmp_path / "result.csv", **sides) == {"new": "missing"}


def test_a_bucket_without_versions_may_leave_their_columns_empty(
    tmp_path: Path, athena: duckdb.DuckDBPyConnection
) -> None:
    for name in ("source", "destination"):
        athena.execute(
            f"CREATE TABLE {name} AS SELECT 'a' AS key, len('{name}') AS size, '' AS e_tag, "
            "NULL AS last_modified_date, NULL AS is_latest, NULL AS is_delete_marker"
        )
    columns = {"source_columns": VERSIONS, "destination_columns": VERSIONS}
    assert run(athena, rule_of(), tmp_path / "result.csv", **columns) == {"a": "size"}


def test_a_key_with_a_nul_is_not_in_the_list(
    tmp_path: Path, athena: duckdb.DuckDBPyConnection
) -> None:
    source = read_inventory(
        write_s3_csv(tmp_path / "s3", [Entry("a\0b"), Entry("c")]),
        provider=Provider.S3,
        bucket=SOURCE_BUCKET,
    )
    create_table(athena, "source", source)
    athena.execute("CREATE TABLE destination AS SELECT * FROM source LIMIT 0")
    found = run(athena, rule_of(), tmp_path / "result.csv", source_format=FileFormat.CSV)
    assert found == {"c": "missing"}


@pytest.mark.parametrize(
    "name", ["a b", "a;drop table b", "", "a.b.c.d", 'a"b', "a--", "(select 1)"]
)
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a table"):
        comparison_sql(rule_of(), name, "b")
    assert comparison_sql(rule_of(), 'awsdatacatalog.db."my-bucket"', "b")
