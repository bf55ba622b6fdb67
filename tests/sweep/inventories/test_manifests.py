"""A manifest is taken only with all its data files, unaltered, and of the rule's bucket."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from replication.sweep.inventories.errors import InventoryError
from replication.sweep.inventories.manifests import (
    FileFormat,
    Inventory,
    KeyEncoding,
    Provider,
    read_inventory,
)
from tests.sweep.inventories.files import (
    write_csv,
    write_manifest,
    write_oss,
    write_s3_csv,
    write_s3_parquet,
)
from tests.sweep.inventories.samples import BEGAN, DESTINATION_BUCKET, SOURCE_BUCKET, Entry


def read(manifest: Path, provider: Provider = Provider.S3) -> Inventory:
    bucket = SOURCE_BUCKET if provider is Provider.S3 else DESTINATION_BUCKET
    return read_inventory(manifest, provider=provider, bucket=bucket)


def change(manifest: Path, **fields: Any) -> Path:
    """Change fields of a manifest, whose checksum is gone then; None removes a field."""
    manifest.with_name("manifest.checksum").unlink(missing_ok=True)
    document = {**json.loads(manifest.read_text()), **fields}
    kept = {name: value for name, value in document.items() if value is not None}
    manifest.write_text(json.dumps(kept))
    return manifest


def test_s3s_csv_has_its_columns_in_the_order_of_the_schema(tmp_path: Path) -> None:
    found = read(write_s3_csv(tmp_path, [Entry("a"), Entry("b")]))
    assert (found.bucket, found.file_format) == (SOURCE_BUCKET, FileFormat.CSV)
    assert found.encoding is KeyEncoding.PLUS
    assert found.created_at - BEGAN < timedelta(seconds=1)
    assert found.columns[:6] == (
        *("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size"),
    )
    assert found.columns[6:] == (
        *("last_modified_date", "e_tag", "storage_class", "encryption_status"),
    )
    assert [path.name for path in found.files] == ["0.csv.gz", "1.csv.gz"]


def test_s3s_parquet_has_its_keys_as_they_are(tmp_path: Path) -> None:
    found = read(write_s3_parquet(tmp_path, [Entry("a")]))
    assert (found.file_format, found.encoding) == (FileFormat.PARQUET, KeyEncoding.PLAIN)
    assert {"key", "size", "e_tag", "last_modified_date", "is_latest"} <= set(found.columns)


def test_osss_manifest_counts_seconds_and_has_md5_sums_in_capitals(tmp_path: Path) -> None:
    found = read(write_oss(tmp_path, [Entry("a")]), Provider.OSS)
    assert (found.encoding, found.created_at) == (KeyEncoding.PERCENT, BEGAN)
    assert "crc64" in found.columns


def test_data_files_may_lie_beside_the_manifest(tmp_path: Path) -> None:
    manifest = write_s3_csv(tmp_path, [Entry("a")])
    (tmp_path / "data").rename(manifest.parent / "data")
    assert read(manifest).files[0].parent == manifest.parent / "data"


def without_files(manifest: Path) -> None:
    for path in (manifest.parent.parent / "data").iterdir():
        path.unlink()


def altered(manifest: Path) -> None:
    with (manifest.parent.parent / "data" / "1.csv.gz").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "can't be read: No such file"),
        (lambda path: path.write_text("<html>"), "is no manifest of an inventory .it is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "it is not JSON"),
        (lambda path: path.write_text("[1]"), "it is no JSON object"),
        (lambda path: change(path, fileSchema=None), "is no manifest .*fileSchema"),
        (lambda path: change(path, files="x"), "is no manifest"),
        (lambda path: change(path, files=[{"key": "x"}]), "is no manifest .*MD5checksum"),
        (lambda path: change(path, files=[]), "names no data files"),
        (lambda path: change(path, creationTimestamp="soon"), "is no manifest"),
        (lambda path: change(path, fileSchema="Key; DROP"), "is no manifest .*fileSchema"),
        (lambda path: change(path, fileFormat="ORC"), "in the format ORC.*choose Parquet or CSV"),
        (lambda path: change(path, startTimestamp="1"), "an incremental inventory"),
        (lambda path: change(path, sourceBucket="other"), "of bucket other, but .* is photos"),
        (lambda path: change(path, fileSchema="Bucket, Key, ETag"), "lacks size, last_mod.*: add"),
        (lambda path: path.write_text(path.read_text() + " "), "not match manifest.checksum"),
        (without_files, "the data file 0.csv.gz is not in .*download"),
        (altered, "1.csv.gz has the MD5 sum .*, but the manifest says .*: download it again"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    manifest = write_s3_csv(tmp_path, [Entry("a")])
    spoil(manifest)
    with pytest.raises(InventoryError, match=message):
        read(manifest)


def test_an_inventory_of_the_other_side_is_refused(tmp_path: Path) -> None:
    manifest = write_oss(tmp_path, [Entry("a")])
    with pytest.raises(InventoryError, match="is an inventory of OSS, not S3"):
        read(manifest)


def test_a_data_file_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    outside = write_csv(tmp_path / "secret.csv.gz", [["b", "k"]], 0)
    manifest = write_manifest(
        tmp_path / "s3", "Bucket, Key, Size, ETag, LastModifiedDate", [outside]
    )
    files = json.loads(manifest.read_text())["files"]
    change(manifest, files=[{**files[0], "key": "../../secret.csv.gz"}])
    with pytest.raises(InventoryError, match="is not in"):
        read(manifest)
