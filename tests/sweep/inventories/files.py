"""Inventories in a folder, as S3 and OSS write them."""

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import duckdb

from tests.sweep.inventories.samples import BEGAN, DESTINATION_BUCKET, SOURCE_BUCKET, Entry, md5


def write_s3_csv(folder: Path, entries: list[Entry], *, with_versions: bool = True) -> Path:
    """S3's inventory in CSV, in two data files; returns the manifest."""
    columns = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size"]
    columns += ["LastModifiedDate", "ETag", "StorageClass", "EncryptionStatus"]
    rows = [
        [
            *(SOURCE_BUCKET, quote_plus(each.key, safe="/-_.*"), "v1"),
            *(str(each.is_latest).lower(), str(each.is_delete_marker).lower()),
            "" if each.is_delete_marker else each.size,
            each.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            *("" if each.is_delete_marker else each.etag, each.storage_class, each.encryption),
        ]
        for each in entries
    ]
    if not with_versions:
        columns, rows = columns[:2] + columns[5:], [row[:2] + row[5:] for row in rows]
    files = [
        write_csv(folder / "data" / f"{number}.csv.gz", rows[number::2], csv.QUOTE_ALL)
        for number in range(2)
    ]
    return write_manifest(folder, ", ".join(columns), files)


def write_s3_parquet(folder: Path, entries: list[Entry], *, times: str = "TIMESTAMPTZ") -> Path:
    """S3's inventory in Parquet; returns the manifest."""
    data = folder / "data"
    data.mkdir(parents=True)
    with (data / "rows.json").open("w", encoding="utf-8") as lines:
        for each in entries:
            row = {
                "bucket": SOURCE_BUCKET,
                "key": each.key,
                "is_latest": each.is_latest,
                "is_delete_marker": each.is_delete_marker,
                "size": None if each.is_delete_marker else each.size,
                "milliseconds": int(each.modified.timestamp() * 1000),
                "e_tag": None if each.is_delete_marker else each.etag,
                "storage_class": each.storage_class,
                "encryption_status": each.encryption,
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    time = "milliseconds" if times == "BIGINT" else "epoch_ms(milliseconds) AT TIME ZONE 'UTC'"
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            COPY (SELECT * EXCLUDE (milliseconds), {time} AS last_modified_date
                  FROM read_json('{data}/rows.json', columns = {{
                    bucket: 'VARCHAR', key: 'VARCHAR', is_latest: 'BOOLEAN',
                    is_delete_marker: 'BOOLEAN', size: 'BIGINT', milliseconds: 'BIGINT',
                    e_tag: 'VARCHAR', storage_class: 'VARCHAR', encryption_status: 'VARCHAR'}}))
            TO '{data}/0.parquet'
            """
        )
    (data / "rows.json").unlink()
    schema = (
        "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);  "
        "optional boolean is_latest;  optional boolean is_delete_marker;  optional int64 size;  "
        "optional binary e_tag (STRING);  optional binary storage_class (STRING);  "
        "optional binary encryption_status (STRING);  "
        "optional int64 last_modified_date (TIMESTAMP(MILLIS,true));}"
    )
    return write_manifest(folder, schema, [data / "0.parquet"], fileFormat="Parquet")


def write_oss(folder: Path, entries: list[Entry], *, with_versions: bool = True) -> Path:
    """OSS's inventory; returns the manifest. Optional fields are in the order of their choice."""
    columns = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "ETag", "Size"]
    columns += ["StorageClass", "LastModifiedDate", "EncryptionStatus", "CRC64"]
    rows = [
        [
            # OSS does not document whether it escapes a plus.
            *(DESTINATION_BUCKET, quote(each.key, safe="+" if len(each.key) % 2 else ""), ""),
            *(str(each.is_latest).lower(), str(each.is_delete_marker).lower()),
            *(("", "") if each.is_delete_marker else (each.etag, each.size)),
            each.storage_class,
            each.modified.strftime("%Y-%m-%dT%H-%M-%SZ"),
            *("true", "1"),
        ]
        for each in entries
    ]
    if not with_versions:
        columns, rows = columns[:2] + columns[5:], [row[:2] + row[5:] for row in rows]
    file = write_csv(folder / "data" / "0b7c6cf0.csv.gz", rows, csv.QUOTE_MINIMAL)
    return write_manifest(
        folder,
        ", ".join(columns),
        [file],
        sourceBucket=DESTINATION_BUCKET,
        destinationBucket="reports",
        creationTimestamp=str(int(BEGAN.timestamp())),
        version="2019-09-01",
    )


def write_csv(path: Path, rows: list[list[Any]], quoting: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=quoting, lineterminator="\n").writerows(rows)
    return path


def write_manifest(folder: Path, schema: str, files: list[Path], **fields: str) -> Path:
    """Write manifest.json with its checksum, as S3 does; `fields` replace its fields."""
    manifest = folder / "2026-11-29T01-00Z" / "manifest.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    in_case = str.upper if "version" in fields else str.lower  # OSS writes MD5 sums in capitals
    document = {
        "sourceBucket": SOURCE_BUCKET,
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "creationTimestamp": str(int(BEGAN.timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": schema,
        "files": [
            {
                "key": f"prefix/{SOURCE_BUCKET}/daily/data/{file.name}",
                "size": file.stat().st_size,
                "MD5checksum": in_case(hashlib.md5(file.read_bytes()).hexdigest()),
            }
            for file in files
        ],
        **fields,
    }
    content = json.dumps(document)
    manifest.write_text(content)
    manifest.with_name("manifest.checksum").write_text(md5(content) + "\n")
    return manifest
