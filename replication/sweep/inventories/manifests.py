"""Reads the manifest of an inventory, and checks its data files, in a local folder.

S3 documents its manifest in storage-inventory-location.html of the S3 user guide, OSS in
help.aliyun.com/zh/oss/user-guide/bucket-inventory. The two differ in the names of buckets, the unit
of the creation time, the case of MD5 sums, and the encoding of keys.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from replication.sweep.inventories.errors import InventoryError

# Names of columns are those of the tables that AWS documents for Athena.
NEEDED_COLUMNS = ("key", "size", "e_tag", "last_modified_date")

_PARQUET_COLUMN = re.compile(r"\b(?:required|optional)\s+\w+\s+(\w+)")
# Before "Tag" in "ETag", and before "Modified" in "LastModifiedDate".
_WORD_BREAK = re.compile("(?<!^)(?=[A-Z][a-z])")


class Provider(StrEnum):
    """Whose inventory it is. The values are printed."""

    S3 = "S3"
    OSS = "OSS"


class FileFormat(StrEnum):
    """How data files are written. The values are those of manifests, in lower case."""

    CSV = "csv"
    PARQUET = "parquet"


class KeyEncoding(StrEnum):
    """How keys are written in data files."""

    PLAIN = "plain"
    PLUS = "plus"  # URL-encoded; a space is `+`, as S3 writes it in CSV
    PERCENT = "percent"  # URL-encoded; a space is `%20`, and a plus is a plus, as OSS writes it


@dataclass(frozen=True)
class Inventory:
    """Data files that list the objects of a bucket, with their columns in the order of CSV."""

    bucket: str
    created_at: datetime  # when the bucket's scan began
    file_format: FileFormat
    encoding: KeyEncoding
    columns: tuple[str, ...]
    files: tuple[Path, ...]


def read_inventory(manifest: Path, *, provider: Provider, bucket: str) -> Inventory:
    """Read a manifest, find its data files, and check their MD5 sums.

    Args:
        manifest: manifest.json in a folder that was downloaded whole.
        bucket: the bucket that the inventory must be of.

    Raises:
        InventoryError: it is no such manifest, or a data file is missing or altered.
    """
    document = _read(manifest)
    try:
        found = _parse(document, manifest)
        files = [(str(each["key"]), str(each["MD5checksum"])) for each in document["files"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InventoryError(_no_manifest(manifest, f"{type(error).__name__} {error}")) from error
    if _provider(document) is not provider:
        raise InventoryError(f"{manifest} is an inventory of {_provider(document)}, not {provider}")
    if found.bucket != bucket:
        raise InventoryError(
            f"{manifest} is of bucket {found.bucket}, but the rule's bucket is {bucket}: give the "
            f"manifest of an inventory of {bucket}"
        )
    if missing := [name for name in NEEDED_COLUMNS if name not in found.columns]:
        raise InventoryError(
            f"{manifest} lacks {', '.join(missing)}: add Size, ETag and LastModifiedDate to the "
            "fields of the inventory's configuration, and take its next inventory"
        )
    paths = tuple(_checked(manifest, key, md5) for key, md5 in files)
    if not paths:
        raise InventoryError(f"{manifest} names no data files: take the next inventory")
    return Inventory(**{**vars(found), "files": paths})


def _read(manifest: Path) -> dict[str, Any]:
    try:
        content = manifest.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise InventoryError(f"{manifest} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InventoryError(_no_manifest(manifest, "it is not JSON")) from error
    if not isinstance(document, dict):
        raise InventoryError(_no_manifest(manifest, "it is no JSON object"))
    checksum = manifest.with_name("manifest.checksum")
    if checksum.is_file():
        expected = checksum.read_text(errors="replace").strip().lower()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
            raise InventoryError(
                f"{manifest} does not match manifest.checksum beside it: download both again"
            )
    return document


def _parse(document: dict[str, Any], manifest: Path) -> Inventory:
    """The inventory without its files.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: a field is missing or of another kind.
    """
    if "startTimestamp" in document:
        raise InventoryError(
            f"{manifest} is an incremental inventory of OSS, which lists changes only: give the "
            "manifest of a full one"
        )
    is_s3 = _provider(document) is Provider.S3
    kind = str(document["fileFormat"]).lower()
    if kind not in set(FileFormat):
        raise InventoryError(
            f"{manifest} is in the format {document['fileFormat']}, which can't be read here: "
            "choose Parquet or CSV in the inventory's configuration"
        )
    created_at = int(document["creationTimestamp"]) / (1000 if is_s3 else 1)
    file_format, encoding = FileFormat(kind), KeyEncoding.PLAIN
    if file_format is FileFormat.CSV:
        encoding = KeyEncoding.PLUS if is_s3 else KeyEncoding.PERCENT
    return Inventory(
        bucket=str(document["sourceBucket"]),
        created_at=datetime.fromtimestamp(created_at, UTC),
        file_format=file_format,
        encoding=encoding,
        columns=_columns(str(document["fileSchema"]), file_format),
        files=(),
    )


def _provider(document: dict[str, Any]) -> Provider:
    # S3 names the bucket of the report by its ARN, of any partition; OSS by its name.
    is_arn = str(document["destinationBucket"]).startswith("arn:")
    return Provider.S3 if is_arn else Provider.OSS


def _columns(schema: str, file_format: FileFormat) -> tuple[str, ...]:
    if file_format is FileFormat.PARQUET:
        return tuple(_PARQUET_COLUMN.findall(schema))
    names = [_WORD_BREAK.sub("_", name.strip()).lower() for name in schema.split(",")]
    if bad := [name for name in names if not re.fullmatch(r"\w+", name)]:
        raise ValueError(f"fileSchema has the column {bad[0]!r}")
    return tuple(names)


def _checked(manifest: Path, key: str, md5: str) -> Path:
    """The data file's path, once its MD5 sum was compared."""
    name = PurePosixPath(key).name
    folders = [manifest.parent.parent / "data", manifest.parent / "data", manifest.parent]
    path = next((path for folder in folders if (path := folder / name).is_file()), None)
    if path is None:
        raise InventoryError(
            f"the data file {name} is not in {', '.join(map(str, folders))}: download the "
            "inventory's whole folder, with `aws s3 sync` or `ossutil cp -r`"
        )
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise InventoryError(f"{path} can't be read: {error.strerror}") from error
    if found.hexdigest() != md5.lower():
        raise InventoryError(
            f"{path} has the MD5 sum {found.hexdigest()}, but the manifest says {md5.lower()}: "
            "download it again"
        )
    return path


def _no_manifest(manifest: Path, why: str) -> str:
    return (
        f"{manifest} is no manifest of an inventory ({why}): give the file manifest.json of an "
        "inventory of S3 or OSS"
    )
