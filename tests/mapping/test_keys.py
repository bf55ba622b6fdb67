"""Keys that OSS does not accept: how they are found, and rewritten reversibly."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.keys import (
    MAX_OSS_KEY_BYTES,
    REWRITTEN_MARK,
    KeyPolicy,
    PlannedKey,
    SkippedKey,
    check_destination_key,
    key_problem,
    original_key,
    plan_key,
)
from replication.mapping.metadata import check_user_metadata
from sandbox.oss import names
from sandbox.oss.errors import OssError

VALID = [
    *["a", "a//b", "a/./b", "a/../b", "./a", "../a", "folder/", "?", "?a", "#", "%2F", "a b+c%"],
    *["图片/日本", "😀", "...", " ", "a\\b", "line\nbreak", "a\tb", "a" * 1023, "图" * 341],
    *["caf\u00e9", "cafe\u0301", "a\x7f\x85b", "\ufffd", "\U0001fffe"],
]
REFUSED_BY_OSS = ["", "/a", "/", "\\a", "a" * 1024, "图" * 342]
ALTERED_IN_TRANSIT = [".", "..", "a\0b", "\x01", "a\rb", "\x1f", "\ufffe", "a\uffff", "\ud800"]
INVALID = REFUSED_BY_OSS + ALTERED_IN_TRANSIT

# Combined, these pieces give keys that look rewritten once, twice or by half, too long, or invalid.
PIECES = [
    *[REWRITTEN_MARK, "escaped/", "sha256/", ".s3sync", "-key/", "%2E", "%", "%25", "%2F", "%00"],
    *["/", "\\", ".", "..", "\0", "\r", "\ufffe", "\ud800", "\udc00", "é", "a", "0" * 64],
    *["x" * 500, "图" * 170],
]
PREFIXES = ["", "a/", "a", "/", ".", "\\x/", "a\0/", REWRITTEN_MARK, "a.s3sync", "p" * 950]
keys = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.text(st.characters(), max_size=30),
).filter(lambda key: len(key.encode(errors="surrogatepass")) <= 1024)  # the limit of S3


def rewritten(key: str, *, prefix: str = "") -> PlannedKey:
    planned = plan_key(prefix + key, policy=KeyPolicy.REWRITE, prefix=prefix)
    assert isinstance(planned, PlannedKey)
    return planned


# -- validity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", VALID)
def test_a_key_that_oss_accepts_is_valid(key: str) -> None:
    check_destination_key(key)
    assert names.check_object_name(key.encode()) == key


@pytest.mark.parametrize("key", INVALID)
def test_a_key_that_oss_or_the_transport_can_not_carry_is_refused_with_a_reason(key: str) -> None:
    with pytest.raises(
        ReplicationError, match="OSS does not accept the destination key: "
    ) as caught:
        check_destination_key(key)
    assert caught.value.code == ErrorCode.KEY_INCOMPATIBLE


@pytest.mark.parametrize("key", REFUSED_BY_OSS)
def test_the_stand_in_refuses_the_same_keys(key: str) -> None:
    with pytest.raises(OssError):
        names.check_object_name(key.encode())


def test_the_reason_names_an_invisible_character() -> None:
    assert key_problem("a\x07") == "it has the character U+0007, which OSS's XML can't carry"


# -- policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "policy"), list(product(VALID, KeyPolicy)))
def test_no_policy_changes_a_valid_key(key: str, policy: KeyPolicy) -> None:
    planned = plan_key(key, policy=policy)
    assert planned == PlannedKey(key)
    assert not planned.is_rewritten
    assert planned.provenance == {}


@pytest.mark.parametrize("key", INVALID)
def test_each_policy_is_applied_to_an_invalid_key(key: str) -> None:
    with pytest.raises(ReplicationError) as caught:
        plan_key(key, policy=KeyPolicy.FAIL)
    assert caught.value.code == ErrorCode.KEY_INCOMPATIBLE
    assert plan_key(key, policy=KeyPolicy.SKIP) == SkippedKey(key_problem(key))
    assert rewritten(key).is_rewritten


@pytest.mark.parametrize("policy", [KeyPolicy.FAIL, KeyPolicy.SKIP])
def test_a_key_with_the_mark_is_an_ordinary_key_unless_the_policy_is_rewrite(
    policy: KeyPolicy,
) -> None:
    key = f"a/{REWRITTEN_MARK}escaped/b"
    assert plan_key(key, policy=policy) == PlannedKey(key)
    assert original_key(key, {}) == key


# -- rewriting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("/reports/50%.csv", ".s3sync-key/escaped/%2Freports/50%25.csv"),
        ("\\a", ".s3sync-key/escaped/%5Ca"),
        ("", ".s3sync-key/escaped/"),
        ("..", ".s3sync-key/escaped/%2E."),
        ("a\x00b\ufffe", ".s3sync-key/escaped/a%00b%EF%BF%BE"),
        (".s3sync-key/escaped/a", ".s3sync-key/escaped/%2Es3sync-key/escaped/a"),
        ("b/.s3sync-key/a", ".s3sync-key/escaped/b/%2Es3sync-key/a"),
    ],
)
def test_a_rewritten_key_is_still_readable(key: str, expected: str) -> None:
    assert rewritten(key).key == expected


def test_a_rewritten_key_keeps_the_destination_prefix() -> None:
    assert rewritten("a\0", prefix="copies/").key == "copies/.s3sync-key/escaped/a%00"
    assert rewritten("x" * 1017, prefix="copies/").key.startswith("copies/.s3sync-key/sha256/")


@pytest.mark.parametrize("prefix", ["/", "\\x/", "a\0/", "p" * 950])
def test_an_invalid_prefix_is_rewritten_together_with_the_key(prefix: str) -> None:
    assert rewritten("\0a" * 50, prefix=prefix).key.startswith(REWRITTEN_MARK)


def test_a_key_that_is_too_long_becomes_a_hash_and_is_kept_in_the_metadata() -> None:
    longest = "图" * 341 + "x"  # 1,024 bytes, S3's limit
    planned = rewritten(longest)
    assert len(planned.key) == len(".s3sync-key/sha256/") + 64
    assert planned.provenance == {"s3sync-key": "%E5%9B%BE" * 341 + "x"}
    check_user_metadata(planned.provenance)
    assert rewritten("图" * 341 + "y").key != planned.key


@given(keys, st.sampled_from(PREFIXES))
@example("/" + "%" * 400, "")
def test_a_rewritten_key_is_valid_and_reversible(key: str, prefix: str) -> None:
    planned = rewritten(key, prefix=prefix)
    check_destination_key(planned.key)
    names.check_object_name(planned.key.encode())
    check_user_metadata(planned.provenance)
    assert original_key(planned.key, planned.provenance) == prefix + key


@given(keys)
def test_only_invalid_keys_and_keys_with_the_mark_are_rewritten(key: str) -> None:
    planned = rewritten(key)
    assert planned.is_rewritten == (bool(key_problem(key)) or REWRITTEN_MARK in key)
    if not planned.is_rewritten:
        assert planned.key == key


@given(st.sets(st.tuples(st.sampled_from(PREFIXES), keys), min_size=2, max_size=40))
def test_two_keys_never_get_the_same_destination_key(pairs: set[tuple[str, str]]) -> None:
    wanted: dict[str, str] = {}
    for prefix, key in pairs:
        wanted.setdefault(rewritten(key, prefix=prefix).key, prefix + key)
        assert wanted[rewritten(key, prefix=prefix).key] == prefix + key


@given(keys, st.sampled_from(PREFIXES))
def test_a_key_never_collides_with_the_rewritten_form_of_another(key: str, prefix: str) -> None:
    first = rewritten(key, prefix=prefix).key
    # The source has a key that s3sync wrote: copied unchanged, it would overwrite another replica.
    if first != prefix + key:
        assert rewritten(first).key != first


def test_all_short_keys_of_dangerous_pieces_stay_distinct() -> None:
    wanted = {"".join(parts) for n in range(4) for parts in product(PIECES, repeat=n)}
    assert len({rewritten(key).key for key in wanted}) == len(wanted)


def test_all_short_keys_below_dangerous_prefixes_stay_distinct() -> None:
    tails = {"".join(parts) for n in range(3) for parts in product(PIECES, repeat=n)}
    wanted_keys: dict[str, set[str]] = {}
    for prefix, tail in product(PREFIXES, tails):
        wanted_keys.setdefault(rewritten(tail, prefix=prefix).key, set()).add(prefix + tail)
    assert [wanted for wanted in wanted_keys.values() if len(wanted) > 1] == []


def test_a_replica_that_was_copied_to_another_key_has_that_key_as_its_original() -> None:
    planned = rewritten("/a")
    for elsewhere in ["elsewhere", f"b/{planned.key}", f"{REWRITTEN_MARK}escaped/b"]:
        assert original_key(elsewhere, planned.provenance) == elsewhere


@pytest.mark.parametrize("value", ["", "%FF", "b", "\xff"])
def test_a_field_that_s3sync_did_not_write_is_ignored(value: str) -> None:
    key = rewritten("/a").key
    assert original_key(key, {"s3sync-key": value}) == key


def test_a_rewritten_key_is_never_too_long_for_oss() -> None:
    for length in range(950, MAX_OSS_KEY_BYTES + 2):
        check_destination_key(rewritten("/" + "x" * length).key)
