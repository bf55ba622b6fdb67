"""Writes a live listing as an inventory, so that it can stand for the inventory of one side."""

import csv
import gzip
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from replication.stores.listing import Listable, ListedObject
from replication.sweep.inventories.manifests import FileFormat, Inventory, KeyEncoding

COLUMNS = ("key", "size", "e_tag", "last_modified_date", "storage_class")


def listed(store: Listable, *, prefix: str) -> Iterator[ListedObject]:
    """All objects of the bucket with the prefix, in the server's own order.

    Raises:
        ReplicationError: see `list_page_in_any_order` of the stores.
    """
    token = ""
    while True:
        page = store.list_page_in_any_order(prefix=prefix, token=token)
        yield from page.objects
        if not page.is_truncated:
            return
        token = page.next_token


def spool(objects: Iterable[ListedObject], path: Path, *, bucket: str) -> Inventory:
    """Write the objects of a bucket into a file, in constant memory.

    Args:
        path: the file to write, whose name should end with .csv.gz.
    """
    began_at = datetime.now(UTC)
    # URL-encoded, no key has a character that CSV could take for its own.
    with gzip.open(path, "wt", compresslevel=1, encoding="ascii", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            (quote(key, safe=""), size, etag, modified, storage_class)
            for key, size, etag, modified, storage_class in objects
        )
    return Inventory(
        bucket=bucket,
        created_at=began_at,
        file_format=FileFormat.CSV,
        encoding=KeyEncoding.PERCENT,
        columns=COLUMNS,
        files=(path,),
    )
