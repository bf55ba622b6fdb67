"""Pages of ListObjectsV2, of S3 and of OSS, parsed by a scan: ElementTree takes six times as long.

Keys come in the order of their UTF-8 bytes, which is the order of Python's `str`. A server that
answers in another order is noticed: a comparison of two listings would silently miss keys.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import unescape
from itertools import pairwise
from operator import lt
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import unquote

PAGE_KEYS = 1000  # the most that S3 and OSS return at once

# An entry as S3 and OSS write it, and the fields of an entry in any order.
_ENTRY = re.compile(
    "<Contents><Key>([^<]*)</Key><LastModified>([^<]*)</LastModified><ETag>([^<]*)</ETag>"
    "(?:<Type>[^<]*</Type>|<Checksum[A-Z][a-z]+>[^<]*</Checksum[A-Z][a-z]+>)*<Size>([0-9]+)</Size>"
    "<StorageClass>([^<]*)</StorageClass></Contents>"
)
_ANY_ENTRY = re.compile("<Contents>(.*?)</Contents>", re.DOTALL)
_FIELD = re.compile("<(Key|LastModified|ETag|Size|StorageClass)>([^<]*)</")
_FIELDS = ("Key", "LastModified", "ETag", "Size", "StorageClass")
_TRUNCATED = re.compile(r"<IsTruncated>\s*(true|false)\s*</IsTruncated>")
_NEXT_TOKEN = re.compile("<NextContinuationToken>([^<]*)</NextContinuationToken>")
_URL_ENCODED = re.compile(r"<EncodingType>\s*url\s*</EncodingType>")


class ListedObject(NamedTuple):
    """An object as a listing has it; `modified` is in ISO 8601: 2026-11-30T08:00:00.000Z."""

    key: str
    size_bytes: int
    etag: str
    modified: str
    storage_class: str


@dataclass(frozen=True)
class ListedPage:
    """Objects in the order of their keys, column by column, and whether more follow.

    Two pages with the same keys are compared column by column; few objects of a large bucket are
    ever made. A page of a listing without an order has the token of the next page, if more follow.
    """

    keys: Sequence[str]
    sizes: Sequence[int]  # in bytes
    etags: Sequence[str]  # without quotes
    modified: Sequence[str]
    storage_classes: Sequence[str]
    is_truncated: bool
    next_token: str = ""

    @classmethod
    def of(
        cls, objects: Iterable[ListedObject], *, is_truncated: bool, next_token: str = ""
    ) -> "ListedPage":
        """The page of these objects."""
        keys, sizes, etags, modified, storage_classes = _columns(list(objects))
        return cls(keys, sizes, etags, modified, storage_classes, is_truncated, next_token)

    def object_at(self, index: int) -> ListedObject:
        """One of the objects."""
        return ListedObject(
            self.keys[index],
            self.sizes[index],
            self.etags[index],
            self.modified[index],
            self.storage_classes[index],
        )

    @property
    def objects(self) -> list[ListedObject]:
        """All of the objects."""
        return [self.object_at(index) for index in range(len(self.keys))]


@runtime_checkable
class Listable(Protocol):
    """A bucket that can be listed in the order of its keys."""

    def list_page(self, *, prefix: str, after: str, limit: int = PAGE_KEYS) -> ListedPage:
        """Return the objects with the prefix after the key `after`.

        Raises:
            Unlistable: the keys are in no order that can be followed.
            ReplicationError: any other failure.
        """

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        """Return a page in the server's own order: the first one, or the one of a token.

        Raises:
            ReplicationError: it failed.
        """


class Unlistable(Exception):
    """The server lists its keys in no order that can be followed."""


class BrokenPage(Exception):
    """The answer is no complete page of a listing."""


def query(
    *, prefix: str, after: str = "", limit: int = PAGE_KEYS, token: str = ""
) -> dict[str, str]:
    """The query parameters of a page that begins after the key `after`, or of a token's page."""
    parameters = {"list-type": "2", "encoding-type": "url", "max-keys": str(limit)}
    if prefix:
        parameters["prefix"] = prefix
    if after:
        parameters["start-after"] = after
    if token:
        parameters["continuation-token"] = token
    return parameters


def parse_page(document: bytes, *, after: str | None, plus_is_space: bool) -> ListedPage:
    """Parse a page that was asked for after the key `after`.

    Args:
        after: None for a page in any order.
        plus_is_space: how the server encodes a space: `+`, as S3 does, or `%20`, as OSS does.

    Raises:
        BrokenPage: it is no such page, or it broke off.
        Unlistable: its keys do not rise strictly.
    """
    try:
        page = _parse(document.decode(), plus_is_space=plus_is_space)
    except UnicodeDecodeError as error:
        raise BrokenPage(f"a key is not in UTF-8: {error}") from error
    if after is not None:
        check_order(page.keys, after=after)
    return page


def check_order(keys: Iterable[str], *, after: str) -> None:
    """Check that the keys of a page rise strictly, from the key `after` on.

    Raises:
        Unlistable: they do not.
    """
    keys = [after, *keys]
    if all(map(lt, keys, keys[1:])):
        return
    last, key = next((last, key) for last, key in pairwise(keys) if key <= last)
    raise Unlistable(f"the key {key!r} comes after {last!r}, which is out of order")


def _parse(text: str, *, plus_is_space: bool) -> ListedPage:
    truncated = _TRUNCATED.search(text)
    if truncated is None or not text.rstrip().endswith("</ListBucketResult>"):
        raise BrokenPage("the answer is no complete page of ListObjectsV2")
    keys, modified, etags, sizes, storage_classes = _columns(_entries(text))
    if _URL_ENCODED.search(text):
        keys = all_at_once(partial(_url_decoded, plus_is_space=plus_is_space), keys)
    else:
        keys = all_at_once(unescape, keys)
    is_truncated = truncated[1] == "true"
    if is_truncated and not keys:
        raise BrokenPage("the page is empty although more are said to follow")
    token = _NEXT_TOKEN.search(text)
    return ListedPage(
        keys,
        list(map(int, sizes)),
        all_at_once(_without_quotes, etags),
        modified,
        storage_classes,
        is_truncated,
        unescape(token[1]) if token else "",
    )


def all_at_once(function: Callable[[str], str], texts: Sequence[str]) -> Sequence[str]:
    """Apply a function to all texts in one call, if none has a line break."""
    found = function("\n".join(texts)).split("\n")
    return found if len(found) == len(texts) else [function(text) for text in texts]


def _url_decoded(text: str, *, plus_is_space: bool) -> str:
    if plus_is_space:
        text = text.replace("+", " ")
    text = text.replace("%2F", "/")  # keys of many buckets have no other
    return unquote(text, errors="strict") if "%" in text else text


def _without_quotes(text: str) -> str:
    return text.replace("&quot;", "").replace("&#34;", "").replace('"', "")


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[Sequence[Any]]:
    """The columns of a table with as many as there are _FIELDS."""
    return list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in _FIELDS]


def _entries(text: str) -> list[tuple[str, ...]]:
    """The fields of each entry, in the order of _FIELDS."""
    count = text.count("<Contents>")
    entries: list[tuple[str, ...]] = _ENTRY.findall(text)
    if len(entries) == count:
        return entries
    found = [dict(_FIELD.findall(entry)) for entry in _ANY_ENTRY.findall(text)]
    if len(found) != count or not all({"Key", "Size"} <= fields.keys() for fields in found):
        raise BrokenPage("the page has objects without a key or a size")
    return [tuple(fields.get(name, "") for name in _FIELDS) for fields in found]
