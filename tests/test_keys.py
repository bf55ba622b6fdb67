"""The rules of names and metadata that S3 and OSS do not share."""

import pytest

from replication.errors import ErrorCode, ReplicationError
from replication.keys import (
    MAX_PUT_BYTES,
    check_destination_key,
    check_size,
    check_user_metadata,
)
from sandbox.oss import names
from sandbox.oss.errors import OssError

POSSIBLE = [
    *["a", "a//b", "a/./b", "a/../b", "./a", "../a", "folder/", "?", "?a", "#", "%2F", "a b+c%"],
    *["图片/日本", "😀", "...", " ", "a\\b", "line\nbreak", "a" * 1023, "图" * 341],
]
IMPOSSIBLE = ["", "/a", "/", "\\a", "a" * 1024, "图" * 342]


@pytest.mark.parametrize("key", POSSIBLE)
def test_a_key_that_oss_takes_is_possible(key: str) -> None:
    check_destination_key(key)
    assert names.check_object_name(key.encode()) == key


@pytest.mark.parametrize("key", [*IMPOSSIBLE, ".", ".."])
def test_a_key_that_oss_refuses_is_refused_with_a_reason(key: str) -> None:
    with pytest.raises(ReplicationError, match="the destination key is not possible: ") as caught:
        check_destination_key(key)
    assert caught.value.code == ErrorCode.KEY_INCOMPATIBLE


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_the_stand_in_is_no_laxer_than_our_rules(key: str) -> None:
    with pytest.raises(OssError):
        names.check_object_name(key.encode())


@pytest.mark.parametrize(
    "metadata",
    [{}, {"a": ""}, {"taken-by": "some one"}, {"a1-": "x" * 8189}, {"a": "~!\"#$%&'()=?"}],
)
def test_metadata_that_oss_takes_is_possible(metadata: dict[str, str]) -> None:
    check_user_metadata(metadata)
    names.user_meta({f"x-oss-meta-{name}": value for name, value in metadata.items()})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"taken_by": "x"}, "'taken_by'"),
        ({"ok": "x", "a.b": "x"}, r"'a\.b'"),
        ({"": "x"}, "letters, digits and hyphen: ''"),
        ({"place": "日本"}, "'place'"),
        ({"line": "a\nb"}, "'line'"),
        ({"tab": "a\tb"}, "'tab'"),
        ({"nul": "a\0b"}, "'nul'"),
        ({"a": "x" * 8192}, "8193 bytes; OSS allows 8192"),
    ],
)
def test_metadata_that_oss_refuses_is_refused_by_name(
    metadata: dict[str, str], reason: str
) -> None:
    with pytest.raises(ReplicationError, match=reason) as caught:
        check_user_metadata(metadata)
    assert caught.value.code == ErrorCode.METADATA_INCOMPATIBLE


def test_an_object_of_5_gb_is_the_largest() -> None:
    check_size(0)
    check_size(MAX_PUT_BYTES)
    with pytest.raises(ReplicationError, match="5,368,709,121 bytes") as caught:
        check_size(MAX_PUT_BYTES + 1)
    assert caught.value.code == ErrorCode.OBJECT_TOO_LARGE
