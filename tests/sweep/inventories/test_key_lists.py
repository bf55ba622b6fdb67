"""Lists of keys are read line by line; a line that is no key is refused with its number."""

import io
from itertools import islice
from typing import Any

import pytest

from replication.sweep.inventories.errors import KeyListError
from replication.sweep.inventories.key_lists import KeyListFormat, encode_key, read_keys
from tests.sweep.inventories.samples import ODD_KEYS

PLAIN, URL, CSV = KeyListFormat


def keys_of(text: str | bytes, list_format: KeyListFormat, bucket: str = "") -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return list(read_keys(io.BytesIO(content), list_format, bucket=bucket))


def test_every_key_survives_being_written_and_read() -> None:
    lines = [encode_key(key) for key in ODD_KEYS]
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert keys_of("\n".join(lines), URL) == ODD_KEYS
    table = "Bucket,Key\n" + "".join(f'"b","{line}"\n' for line in lines)
    assert keys_of(table, CSV, "b") == ODD_KEYS


def test_plain_keys_are_taken_as_they_are() -> None:
    assert keys_of("a b\n%2B+\n\n trailing \r\n\U0001f600", PLAIN) == (
        ["a b", "%2B+", " trailing ", "\U0001f600"]
    )


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert keys_of("\ufeffa\n\ufeffb", PLAIN) == ["a", "\ufeffb"]
    assert keys_of("\ufeffKey\na", CSV) == ["a"]


def test_a_space_is_a_plus_or_an_escape_where_keys_are_encoded() -> None:
    assert keys_of("a+b%20c%2Bd", URL) == ["a b c+d"]


def test_the_report_of_a_batch_operation_is_a_list_of_keys() -> None:
    report = (
        "Bucket,Key,VersionId,TaskStatus,ErrorCode,HTTPStatusCode,ResultMessage\r\n"
        'photos,a%2Cb,,failed,403,AccessDenied,"Access, denied"\r\n\r\n'
        "photos,c+d,,failed,403,AccessDenied,\r\n"
    )
    assert keys_of(report, CSV, "photos") == ["a,b", "c d"]


@pytest.mark.parametrize(
    ("content", "list_format", "message"),
    [
        ("a\nb%2", URL, "line 2 is not URL-encoded"),
        ("a\nb%zz", URL, "line 2 is not URL-encoded"),
        ("a\n%ff", URL, "line 2 is not UTF-8 once it is URL-decoded"),
        ("a\n\nb%00", URL, "line 3: the key has a NUL"),
        ("a\n" + "x" * 1025, PLAIN, "line 2: the key is longer than 1024 bytes"),
        ("a\n" + "x" * 100_000, PLAIN, "line 2 is longer than any key"),
        (b"a\n\xff\n", PLAIN, "line 2 is not UTF-8"),
        ("", CSV, "line 1 is no header with the column Key"),
        ("photos,a\nphotos,b\n", CSV, "line 1 is no header with the column Key"),
        ("Bucket,Key\nphotos,a\nother,b\n", CSV, "line 3 is of bucket other, not photos"),
        ("Bucket,Key\nphotos,a\nphotos\n", CSV, "line 3 has 1 columns, the header 2"),
        ("Bucket,Key\nphotos,a\nphotos,\n", CSV, "line 3: the key is empty"),
        ('Bucket,Key\nphotos,a\nphotos,"b"c\n', CSV, "line 3 is no CSV"),
        ('Bucket,Key\nphotos,a\nphotos,"b\n', CSV, "line 3 is no CSV"),
        (b"Bucket,Key\nphotos,\xff\n", CSV, "line 2 is not UTF-8"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(
    content: str | bytes, list_format: KeyListFormat, message: str
) -> None:
    with pytest.raises(KeyListError, match=message):
        keys_of(content, list_format, "photos")


class Endless(io.RawIOBase):
    """A stream without an end."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        buffer[:] = (b"key\n" * (size // 4 + 1))[:size]
        self.given += size
        return size


@pytest.mark.parametrize("list_format", KeyListFormat)
def test_a_list_is_read_as_it_is_used(list_format: KeyListFormat) -> None:
    endless = Endless()
    keys = read_keys(io.BufferedReader(endless), list_format)
    assert list(islice(keys, 1000)) == ["key"] * 1000
    endless.close()  # its owner may close it before the list is read
    assert endless.given < 100_000
