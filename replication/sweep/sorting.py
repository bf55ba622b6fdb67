"""Sorts a bucket that lists its keys in no order: a directory bucket, or behind some gateways.

All of the listing is read once into a table on disk, in pages of the server's own order, and then
read in the order of the keys. SQLite compares texts by their bytes in UTF-8, as S3 and OSS do.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from replication.stores.listing import PAGE_KEYS, Listable, ListedObject, ListedPage

_CACHE_KIB = 16 * 1024


@contextmanager
def sorted_listing(
    side: Listable, *, prefix: str, on_page: Callable[[], None]
) -> Iterator["SortedListing"]:
    """The objects of a bucket that begin with a prefix, as they are when the context begins.

    Args:
        on_page: called before each page; may raise to end the reading.

    Raises:
        ReplicationError: see `list_page_in_any_order` of the stores.
    """
    with (
        tempfile.TemporaryDirectory(prefix="s3sync-sort-") as folder,
        closing(_table(Path(folder))) as table,
    ):
        token, pages = "", 0
        while True:
            on_page()
            page = side.list_page_in_any_order(prefix=prefix, token=token)
            table.executemany("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?, ?)", page.objects)
            token, pages = page.next_token, pages + 1
            if not page.is_truncated:
                break
        table.commit()
        yield SortedListing(table, pages)


def _table(folder: Path) -> sqlite3.Connection:
    # Pages are asked for on other threads, one at a time.
    table = sqlite3.connect(folder / "listed.sqlite", check_same_thread=False)
    table.executescript(
        f"""
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};
        CREATE TABLE listed (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, modified TEXT,
                             storage_class TEXT) WITHOUT ROWID;
        """
    )
    return table


class SortedListing:
    """A listing in the order of the keys; `pages` is what it has cost."""

    def __init__(self, table: sqlite3.Connection, pages: int) -> None:
        self._table = table
        self.pages = pages

    def list_page(self, *, prefix: str, after: str, limit: int = PAGE_KEYS) -> ListedPage:
        """Return the objects with the prefix after the key `after`."""
        rows = self._table.execute(
            "SELECT * FROM listed WHERE key > ? AND key >= ? ORDER BY key LIMIT ?",
            [after, prefix, limit + 1],
        ).fetchall()
        objects = [ListedObject(*row) for row in rows if row[0].startswith(prefix)]
        return ListedPage.of(objects[:limit], is_truncated=len(objects) > limit)

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        """Like `list_page`; a token is the last key of the page before."""
        page = self.list_page(prefix=prefix, after=token)
        return replace(page, next_token=page.keys[-1])
