"""Listings of objects, in pages, with prefixes and delimiters."""

from collections.abc import Callable

import oss2
import pytest

KEYS = sorted(
    ["a", "dir/1", "dir/2", "dir/sub/3", "dir/sub/4", "dirt", "z/1", "z/2", "ö/1"], key=str.encode
)
Names = tuple[list[str], list[str]]


@pytest.fixture
def filled(bucket: oss2.Bucket) -> oss2.Bucket:
    for key in KEYS:
        bucket.put_object(key, key.encode())
    return bucket


def list_v1(bucket: oss2.Bucket, **arguments: object) -> Names:
    keys: list[str] = []
    prefixes: list[str] = []
    marker = ""
    while True:
        page = bucket.list_objects(marker=marker, **arguments)
        keys += [entry.key for entry in page.object_list]
        prefixes += page.prefix_list
        if not page.is_truncated:
            return keys, prefixes
        marker = page.next_marker


def list_v2(bucket: oss2.Bucket, **arguments: object) -> Names:
    keys: list[str] = []
    prefixes: list[str] = []
    token = ""
    while True:
        page = bucket.list_objects_v2(continuation_token=token, **arguments)
        keys += [entry.key for entry in page.object_list]
        prefixes += page.prefix_list
        if not page.is_truncated:
            return keys, prefixes
        token = page.next_continuation_token


@pytest.mark.parametrize("listing", [list_v1, list_v2])
@pytest.mark.parametrize("max_keys", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("within", "expected"),
    [
        ({"prefix": "", "delimiter": ""}, (KEYS, [])),
        ({"prefix": "dir", "delimiter": ""}, ([key for key in KEYS if key.startswith("dir")], [])),
        ({"prefix": "", "delimiter": "/"}, (["a", "dirt"], ["dir/", "z/", "ö/"])),
        ({"prefix": "dir/", "delimiter": "/"}, (["dir/1", "dir/2"], ["dir/sub/"])),
        ({"prefix": "dir", "delimiter": "/"}, (["dirt"], ["dir/"])),
        ({"prefix": "dir/", "delimiter": "sub/"}, (["dir/1", "dir/2"], ["dir/sub/"])),
        ({"prefix": "absent", "delimiter": "/"}, ([], [])),
    ],
)
def test_pages_of_any_size_list_the_same(
    filled: oss2.Bucket,
    listing: Callable[..., Names],
    max_keys: int,
    within: dict[str, str],
    expected: Names,
) -> None:
    assert listing(filled, max_keys=max_keys, **within) == expected


def test_a_listing_agrees_with_head(filled: oss2.Bucket) -> None:
    listed = filled.list_objects(prefix="a").object_list[0]
    head = filled.head_object("a")
    assert (listed.etag, listed.size, listed.type) == (head.etag, 1, "Normal")
    assert listed.last_modified == head.last_modified
    assert listed.owner.id
    assert filled.list_objects_v2(prefix="a").object_list[0].owner is None
    assert filled.list_objects_v2(prefix="a", fetch_owner=True).object_list[0].owner.id


def test_a_listing_starts_after_the_marker(filled: oss2.Bucket) -> None:
    after = [key for key in KEYS if key.encode() > b"dir/sub/3"]
    assert list_v2(filled, start_after="dir/sub/3")[0] == after
    page = filled.list_objects(marker="dir/sub/3")
    assert [entry.key for entry in page.object_list] == after
    page = filled.list_objects(marker="dir/", delimiter="/")
    assert page.prefix_list == ["z/", "ö/"]


@pytest.mark.parametrize("max_keys", [0, 1001])
def test_a_page_has_one_to_a_thousand_keys(v4_bucket: oss2.Bucket, max_keys: int) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument):
        v4_bucket.list_objects(max_keys=max_keys)
    with pytest.raises(oss2.exceptions.InvalidArgument):
        v4_bucket.list_objects_v2(max_keys=max_keys)


def test_an_invalid_token_is_refused(v4_bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.InvalidArgument):
        v4_bucket.list_objects_v2(continuation_token="%%%")


def test_a_listing_reflects_writes_and_deletes(v4_bucket: oss2.Bucket) -> None:
    v4_bucket.put_object("b", b"")
    assert list_v1(v4_bucket)[0] == ["b"]
    v4_bucket.put_object("a", b"")
    assert list_v1(v4_bucket)[0] == ["a", "b"]
    v4_bucket.delete_object("b")
    assert list_v1(v4_bucket)[0] == ["a"]


def test_versions_are_listed_as_in_an_unversioned_bucket(filled: oss2.Bucket) -> None:
    assert filled.get_bucket_versioning().status is None
    page = filled.list_object_versions(prefix="dir/", max_keys=2)
    assert [(each.key, each.versionid) for each in page.versions] == [
        ("dir/1", "null"),
        ("dir/2", "null"),
    ]
    assert (page.is_truncated, page.next_key_marker) == (True, "dir/2")
    assert filled.get_object("a", params={"versionId": "null"}).read() == b"a"
    with pytest.raises(oss2.exceptions.InvalidArgument) as refusal:
        filled.get_object("a", params={"versionId": "CAEQNhiBgMDJgZCA0BYiIDc4"})
    assert refusal.value.ec == "0012-00000301"
