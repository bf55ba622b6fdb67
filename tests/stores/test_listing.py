"""Pages of a listing, from both implementations of S3, by both of our ways, and from OSS."""

from typing import Any

import pytest

from replication.errors import ErrorCode
from replication.stores.listing import (
    BrokenPage,
    ListedObject,
    Unlistable,
    parse_page,
)
from replication.stores.s3.store import S3Store
from tests.stores.conftest import SourceCase, scripted_s3
from tests.stores.test_source_contract import ODD_KEYS
from tests.support.failing import failing
from tests.support.http_origin import HttpOrigin

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult><IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>{entries}
</ListBucketResult>"""
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;abc&quot;</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def page(*keys: str, truncated: str = "false") -> bytes:
    entries = "".join(ENTRY.format(key=key) for key in keys)
    return PAGE.format(truncated=truncated, entries=entries).encode()


def keys_of(store: Any, *, limit: int = 1000) -> list[str]:
    keys: list[str] = []
    while True:
        found = store.list_page(prefix="", after=keys[-1] if keys else "", limit=limit)
        keys += [one.key for one in found.objects]
        if not found.is_truncated:
            return keys


@pytest.mark.parametrize("by_boto3", [False, True], ids=["ours", "boto3"])
def test_odd_keys_are_listed_as_they_are_in_the_order_of_their_bytes(
    s3_source: SourceCase, by_boto3: bool
) -> None:
    assert isinstance(s3_source.store, S3Store)
    s3_source.store._uses_boto3 = by_boto3
    for key in ODD_KEYS:
        s3_source.put(key, key.encode())
    assert keys_of(s3_source.store) == sorted(ODD_KEYS)
    assert keys_of(s3_source.store, limit=4) == sorted(ODD_KEYS)


def test_an_entry_has_what_a_comparison_needs() -> None:
    found = parse_page(page("a%20b"), after="", plus_is_space=False)
    assert found.objects == [ListedObject("a b", 3, "abc", "2026-01-01T00:00:00.000Z", "STANDARD")]


def test_keys_that_do_not_rise_are_refused() -> None:
    for keys, after in ((("b", "a"), ""), (("a", "a"), ""), (("a",), "b")):
        with pytest.raises(Unlistable, match="out of order"):
            parse_page(page(*keys), after=after, plus_is_space=True)


@pytest.mark.parametrize(
    "document",
    [
        page("a", "b")[:-30],
        page("a").replace(b"<IsTruncated>false</IsTruncated>", b""),
        page("a").replace(b"<Size>3</Size>", b""),
        page(truncated="true"),
        page("%ff"),
        page("a").replace(b"abc", b"\xff"),
        b"",
    ],
)
def test_a_page_that_broke_off_is_no_page(document: bytes) -> None:
    with pytest.raises(BrokenPage):
        parse_page(document, after="", plus_is_space=True)


def test_a_page_that_broke_off_is_a_transient_error(origin: HttpOrigin) -> None:
    origin.answers(b"<ListBucketResult><IsTruncated>")
    with failing(ErrorCode.SOURCE_UNREACHABLE):
        scripted_s3(origin).list_page(prefix="", after="")
