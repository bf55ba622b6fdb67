"""Two inventories are joined like by an independent comparison, within the stated memory."""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from replication.stores.listing import ListedObject, ListedPage, Unlistable
from replication.sweep.inventories.errors import InventoryError
from replication.sweep.inventories.joining import DEFAULT_MEMORY, Comparison, compared
from replication.sweep.inventories.manifests import (
    FileFormat,
    Inventory,
    KeyEncoding,
    Provider,
    read_inventory,
)
from replication.sweep.inventories.spooling import listed, spool
from tests.sweep.inventories.files import write_oss, write_s3_csv, write_s3_parquet
from tests.sweep.inventories.oracle import Expected, expect
from tests.sweep.inventories.samples import (
    BEGAN,
    DESTINATION_BUCKET,
    SOURCE_BUCKET,
    Entry,
    rule_of,
    two_buckets,
)


def s3(manifest: Path) -> Inventory:
    return read_inventory(manifest, provider=Provider.S3, bucket=SOURCE_BUCKET)


def oss(manifest: Path) -> Inventory:
    return read_inventory(manifest, provider=Provider.OSS, bucket=DESTINATION_BUCKET)


def assert_as_expected(comparison: Comparison, expected: Expected) -> None:
    found = list(comparison.candidates())
    assert {key: str(reason) for key, reason in found} == expected.reasons
    assert len(found) == len(expected.reasons)
    assert set(comparison.only_at_destination()) == expected.extra
    assert comparison.refused == len(expected.refused)
    counts = Counter(expected.reasons.values())
    counts += Counter(archived=len(expected.archived), extra=len(expected.extra))
    assert {str(reason): number for reason, number in comparison.tally.items()} == counts


@pytest.mark.parametrize("write", [write_s3_csv, write_s3_parquet])
def test_20_000_odd_keys_are_compared_like_by_plain_python(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    rule = rule_of()
    sources, replicas = two_buckets(rule, keys=20_000, with_versions=True)
    source = s3(write(tmp_path / "s3", sources))
    destination = oss(write_oss(tmp_path / "oss", replicas))
    expected = expect(rule, sources, replicas)
    assert set(expected.reasons.values()) == {"missing", "size", "older", "etag"}
    assert expected.archived
    assert expected.extra
    assert expected.refused
    with compared(rule, source=source, destination=destination, folder=tmp_path) as comparison:
        assert_as_expected(comparison, expected)


@pytest.mark.parametrize(
    ("fields", "covers"),
    [
        ({"destination_prefix": "it's 图片/"}, None),
        ({"source_prefix": "p'/\U0001f600", "strip_source_prefix": True}, None),
        ({"source_prefix": "p/", "destination_prefix": "q "}, None),
        ({"key_policy": "rewrite", "destination_prefix": "r/"}, None),
        ({"key_policy": "skip", "archive_policy": "restore"}, None),
        ({"source_suffix": "7.jpg"}, lambda key: key.endswith("7.jpg")),
        (
            {"include": "*\n**/1*.jpg", "exclude": "[!a-y]*"},
            lambda key: (
                ("/" not in key or (key.split("/")[-1].startswith("1") and key.endswith(".jpg")))
                and ("/" in key or "a" <= key[0] <= "y")
            ),
        ),
    ],
)
def test_the_rule_maps_and_filters_keys(
    tmp_path: Path, fields: dict[str, Any], covers: Callable[[str], bool] | None
) -> None:
    rule = rule_of(**fields)
    sources, replicas = two_buckets(rule, keys=500, with_versions=False)
    expected = expect(rule, sources, replicas, covers=covers or (lambda _key: True))
    assert expected.reasons
    with compared(
        rule,
        source=s3(write_s3_csv(tmp_path / "s3", sources, with_versions=False)),
        destination=oss(write_oss(tmp_path / "oss", replicas, with_versions=False)),
        folder=tmp_path,
    ) as comparison:
        assert_as_expected(comparison, expected)


def test_a_key_with_a_nul_is_refused(tmp_path: Path) -> None:
    with compared(
        rule_of(key_policy="rewrite"),
        source=s3(write_s3_csv(tmp_path / "s3", [Entry("a\0b")])),
        destination=oss(write_oss(tmp_path / "oss", [])),
        folder=tmp_path,
    ) as comparison:
        assert_as_expected(comparison, Expected(refused={"a\0b"}))


def test_replicas_with_rewritten_keys_are_not_extra(tmp_path: Path) -> None:
    replicas = [Entry("q/.s3sync-key/escaped/bell%07"), Entry("q/b"), Entry("elsewhere")]
    with compared(
        rule_of(key_policy="rewrite", destination_prefix="q/"),
        source=s3(write_s3_csv(tmp_path / "s3", [Entry("bell\x07")])),
        destination=oss(write_oss(tmp_path / "oss", replicas)),
        folder=tmp_path,
    ) as comparison:
        assert_as_expected(comparison, Expected(reasons={"bell\x07": "rewritten"}, extra={"q/b"}))


def test_times_in_milliseconds_are_understood(tmp_path: Path) -> None:
    """Parquet files of older inventories have no type of time."""
    rule = rule_of()
    sources, replicas = two_buckets(rule, keys=300, with_versions=True)
    with compared(
        rule,
        source=s3(write_s3_parquet(tmp_path / "s3", sources, times="BIGINT")),
        destination=oss(write_oss(tmp_path / "oss", replicas)),
        folder=tmp_path,
    ) as comparison:
        assert_as_expected(comparison, expect(rule, sources, replicas))


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's [a] *folder* ?"
    with compared(
        rule_of(),
        source=s3(write_s3_csv(folder / "s3", [Entry("a"), Entry("b")])),
        destination=oss(write_oss(folder / "oss", [Entry("a")])),
        folder=tmp_path,
    ) as comparison:
        assert_as_expected(comparison, Expected(reasons={"b": "missing"}))


class Pages:
    """A bucket with a page for each ten keys, in no order."""

    def __init__(self, entries: list[Entry]) -> None:
        self._objects = [
            ListedObject(
                each.key,
                each.size,
                each.etag,
                each.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                each.storage_class,
            )
            for each in entries
        ]

    def list_page(self, *, prefix: str, after: str, limit: int = 10) -> ListedPage:
        raise Unlistable("no order")

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        found = [one for one in self._objects if one.key.startswith(prefix)]
        end = int(token or 0) + 10
        page = found[end - 10 : end]
        return ListedPage.of(page, is_truncated=end < len(found), next_token=str(end))


@pytest.mark.parametrize("listed_side", ["source", "destination"])
def test_a_listing_stands_for_the_inventory_of_one_side(tmp_path: Path, listed_side: str) -> None:
    rule = rule_of(destination_prefix="q/")
    sources, replicas = two_buckets(rule, keys=300, with_versions=False)
    path = tmp_path / "listing.csv.gz"
    if listed_side == "source":
        source = spool(listed(Pages(sources), prefix=""), path, bucket=SOURCE_BUCKET)
        destination = oss(write_oss(tmp_path / "oss", replicas))
    else:
        source = s3(write_s3_parquet(tmp_path / "s3", sources))
        destination = spool(listed(Pages(replicas), prefix="q/"), path, bucket=DESTINATION_BUCKET)
    with compared(rule, source=source, destination=destination, folder=tmp_path) as comparison:
        expected = expect(rule, sources, replicas, shows_encryption=listed_side == "destination")
        assert_as_expected(comparison, expected)


@dataclass(frozen=True)
class Sides:
    """Two inventories of a rule without prefixes and filters."""

    source: Inventory
    destination: Inventory

    def compared(
        self, *, folder: Path, memory: str = DEFAULT_MEMORY
    ) -> AbstractContextManager[Comparison]:
        return compared(
            rule_of(),
            source=self.source,
            destination=self.destination,
            folder=folder,
            memory=memory,
        )


# -- memory ------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Sides:
    """The inventories of 60,000 long keys, of which every second one has a replica."""

    def write(name: str, step: int) -> Inventory:
        path = tmp_path / f"{name}.csv.gz"
        with duckdb.connect() as connection:
            connection.execute(
                "COPY (SELECT lpad(number::varchar, 1000, '0'), 10, repeat('0', 32), "
                f"'2026-11-29T01:00:00.000Z' FROM range(0, 60000, {step}) AS keys(number)) "
                f"TO '{path}' (header false)"
            )
        return Inventory(
            bucket=name,
            created_at=BEGAN,
            file_format=FileFormat.CSV,
            encoding=KeyEncoding.PERCENT,
            columns=("key", "size", "e_tag", "last_modified_date"),
            files=(path,),
        )

    return Sides(write("source", 1), write("destination", 2))


def test_what_does_not_fit_into_memory_is_spilled(tmp_path: Path, large: Sides) -> None:
    (tmp_path / "spilled").write_text("a file where the folder would be")
    with (
        pytest.raises(InventoryError, match=r"can't spill to the folder of --temp"),
        large.compared(folder=tmp_path, memory="64MB"),
    ):
        pass
    folder = tmp_path / "roomy"
    folder.mkdir()
    with large.compared(folder=folder, memory="64MB") as comparison:
        assert sum(1 for _ in comparison.candidates()) == 30_000


# -- errors ------------------------------------------------------------------------------------


def one_each(tmp_path: Path) -> Sides:
    source = s3(write_s3_csv(tmp_path / "s3", [Entry("a")]))
    return Sides(source, oss(write_oss(tmp_path / "oss", [])))


def test_a_memory_that_is_no_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InventoryError, match=r"DuckDB can't compare the inventories: .*bananas"),
        one_each(tmp_path).compared(folder=tmp_path, memory="12 bananas"),
    ):
        pass


def test_without_duckdb_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = one_each(tmp_path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with (
        pytest.raises(InventoryError, match=r"not installed: run .*requirements/inventory\.txt"),
        sides.compared(folder=tmp_path),
    ):
        pass


def test_a_data_file_with_too_few_columns_is_an_error(tmp_path: Path) -> None:
    sides = one_each(tmp_path)
    fewer = replace(sides.source, columns=sides.source.columns[:-1])
    with (
        pytest.raises(InventoryError, match="DuckDB can't compare the inventories"),
        Sides(fewer, sides.destination).compared(folder=tmp_path),
    ):
        pass


def test_it_depends_neither_on_the_network_nor_on_the_machines_time_zone(tmp_path: Path) -> None:
    with one_each(tmp_path).compared(folder=tmp_path) as comparison:
        rows = comparison._connection.execute(
            "SELECT name, value FROM duckdb_settings() WHERE name = 'TimeZone' "
            "OR name IN ('autoinstall_known_extensions', 'autoload_known_extensions')"
        ).fetchall()
    assert dict(rows) == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "TimeZone": "UTC",
    }
