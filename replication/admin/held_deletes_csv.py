"""The list of a rule's held deletes as CSV: exact for programs, and harmless in a spreadsheet."""

import csv
from collections.abc import Iterator
from urllib.parse import quote

from replication.jobs import held_deletes
from replication.jobs.held_deletes import HeldDelete, Place

COLUMNS = ("key", "key_url_encoded", "change_announced_at", "held_at", "reason")

# A cell that begins like this is a formula for some spreadsheet, the wide forms included.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


class _Lines:
    """A file for csv.writer that returns each line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def lines(rule_id: int, *, last: Place | None) -> Iterator[str]:
    """The lines of the file, from the delete that has been held for the longest time to `last`."""
    writer = csv.writer(_Lines())
    # Without a byte order mark, Excel does not take the text for UTF-8.
    yield "\ufeff" + writer.writerow(COLUMNS)
    if last is not None:
        for held in held_deletes.each(rule_id, last=last):
            yield writer.writerow(_row(held))


def _row(held: HeldDelete) -> tuple[str, ...]:
    return (
        _text(held.key),
        _url_encoded(held.key),
        held.event_at.isoformat(),
        held.held_at.isoformat(),
        held.reason.value,
    )


def _text(key: str) -> str:
    """The key, after an apostrophe where a spreadsheet could execute it.

    A key that begins with an apostrophe gets one too, so that removing one restores any key.
    """
    return f"'{key}" if key.startswith(("'", *_FORMULA_STARTS)) else key


def _url_encoded(key: str) -> str:
    """The key as an S3 Inventory has it, whose first character is never one of a formula."""
    encoded = quote(key)
    return f"%2D{encoded[1:]}" if encoded.startswith("-") else encoded
