"""Reads and writes lists of keys: a key on each line, or CSV with a column of keys."""

import csv
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from replication.sweep.inventories.errors import KeyListError

MAX_KEY_BYTES = 1024  # of S3
# A URL-encoded key takes up to 3 KiB, the other columns of a report less.
_MAX_LINE_BYTES = 64 * 1024

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class KeyListFormat(StrEnum):
    """How a list is written. The values are options."""

    PLAIN = "plain"  # a key on each line, as it is
    URL = "url"  # a key on each line, URL-encoded: `%20` or `+` for a space
    CSV = "csv"  # a header with `Key`, perhaps `Bucket`; keys are URL-encoded


def encode_key(key: str) -> str:
    """The key URL-encoded, on one line; it has `%20` for a space, and no `+`."""
    return quote(key, safe="/")


def format_of(name: str) -> KeyListFormat:
    """The format of a file, by its name: CSV if it ends with .csv, else URL-encoded, which is what
    `manage.py inventories` writes.
    """
    return KeyListFormat.CSV if name.lower().endswith(".csv") else KeyListFormat.URL


def read_keys(
    stream: BinaryIO, list_format: KeyListFormat, *, bucket: str = "", prefix: str = ""
) -> Iterator[str]:
    """Yield the keys of a list, in constant memory. Empty lines are skipped.

    CSV is what Athena and S3 Batch Operations write: its keys are URL-encoded, and other columns
    than `Key` and `Bucket` are ignored.

    Args:
        bucket: refuse a line of CSV that names another bucket.
        prefix: refuse a key that does not begin with it.

    Raises:
        KeyListError: a line is no key. The keys of the lines before it were yielded.
    """
    lines = _rows(stream, bucket) if list_format is KeyListFormat.CSV else _lines(stream)
    for number, text in lines:
        key = text if list_format is KeyListFormat.PLAIN else _decoded(text, number)
        if problem := _problem(key, prefix):
            raise KeyListError(f"line {number}: {problem}")
        yield key


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_text(stream), start=1):
        if text := line.removesuffix("\n").removesuffix("\r"):
            yield number, text


def _rows(stream: BinaryIO, bucket: str) -> Iterator[tuple[int, str]]:
    reader = csv.reader(_text(stream), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if "key" not in header:
            raise KeyListError("line 1 is no header with the column Key, such as: Bucket,Key")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise KeyListError(
                    f"line {reader.line_num} has {len(row)} columns, the header {len(header)}"
                )
            fields = dict(zip(header, row, strict=True))
            found = fields.get("bucket", bucket)
            if bucket and found != bucket:
                raise KeyListError(f"line {reader.line_num} is of bucket {found}, not {bucket}")
            yield reader.line_num, fields["key"]
    except csv.Error as error:
        raise KeyListError(f"line {reader.line_num} is no CSV: {error}") from error


def _text(stream: BinaryIO) -> Iterator[str]:
    """The lines with their ends, but without a byte order mark."""
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            raise KeyListError(f"line {number} is longer than any key")
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise KeyListError(f"line {number} is not UTF-8") from error


def _decoded(text: str, number: int) -> str:
    if _BAD_ESCAPE.search(text):
        raise KeyListError(f"line {number} is not URL-encoded: it has a % without two hex digits")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise KeyListError(f"line {number} is not UTF-8 once it is URL-decoded") from error


def _problem(key: str, prefix: str) -> str:
    if not key:
        return "the key is empty"
    if "\0" in key:
        return "the key has a NUL, which no job can have"
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"the key is longer than {MAX_KEY_BYTES} bytes, so S3 can't have it"
    if not key.startswith(prefix):
        return f"the key {key!r} does not begin with {prefix!r}, so the rule is not for it"
    return ""
