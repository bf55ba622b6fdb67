"""The names that S3 and OSS do not share: found, and rewritten so that they can be had back."""

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

POSSIBLE = [
    *["a", "a//b", "a/./b", "a/../b", "./a", "../a", "folder/", "?", "?a", "#", "%2F", "a b+c%"],
    *["图片/日本", "😀", "...", " ", "a\\b", "line\nbreak", "a\tb", "a" * 1023, "图" * 341],
    *["caf\u00e9", "cafe\u0301", "a\x7f\x85b", "\ufffd", "\U0001fffe"],
]
REFUSED_BY_OSS = ["", "/a", "/", "\\a", "a" * 1024, "图" * 342]
MANGLED_ON_THE_WAY = [".", "..", "a\0b", "\x01", "a\rb", "\x1f", "\ufffe", "a\uffff", "\ud800"]
IMPOSSIBLE = REFUSED_BY_OSS + MANGLED_ON_THE_WAY

# Pieces that make keys look rewritten, half rewritten, twice rewritten, too long and impossible.
PIECES = [
    *[REWRITTEN_MARK, "escaped/", "sha256/", ".s3sync", "-key/", "%2E", "%", "%25", "%2F", "%00"],
    *["/", "\\", ".", "..", "\0", "\r", "\ufffe", "\ud800", "\udc00", "é", "a", "0" * 64],
    *["x" * 500, "图" * 170],
]
PREFIXES = ["", "a/", "a", "/", ".", "\\x/", "a\0/", REWRITTEN_MARK, "a.s3sync", "p" * 950]
keys = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.text(st.characters(), max_size=30),
).filter(lambda key: len(key.encode(errors="surrogatepass")) <= 1024)  # S3 has no longer ones


def rewritten(key: str, *, prefix: str = "") -> PlannedKey:
    planned = plan_key(prefix + key, policy=KeyPolicy.REWRITE, prefix=prefix)
    assert isinstance(planned, PlannedKey)
    return planned


# -- what is possible --------------------------------------------------------------------------


@pytest.mark.parametrize("key", POSSIBLE)
def test_a_key_that_oss_takes_is_possible(key: str) -> None:
    check_destination_key(key)
    assert names.check_object_name(key.encode()) == key


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_a_key_that_oss_or_the_way_can_not_carry_is_refused_with_a_reason(key: str) -> None:
    with pytest.raises(ReplicationError, match="the destination key is not possible: ") as caught:
        check_destination_key(key)
    assert caught.value.code == ErrorCode.KEY_INCOMPATIBLE


@pytest.mark.parametrize("key", REFUSED_BY_OSS)
def test_the_stand_in_is_no_laxer_than_our_rules(key: str) -> None:
    with pytest.raises(OssError):
        names.check_object_name(key.encode())


def test_the_reason_names_the_character_that_is_not_seen() -> None:
    assert key_problem("a\x07") == "it has the character U+0007, which OSS's XML can't carry"


# -- policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "policy"), list(product(POSSIBLE, KeyPolicy)))
def test_a_possible_key_stays_what_it_is_whatever_the_policy(key: str, policy: KeyPolicy) -> None:
    planned = plan_key(key, policy=policy)
    assert planned == PlannedKey(key)
    assert not planned.is_rewritten
    assert planned.provenance == {}


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_each_policy_does_what_it_says_to_an_impossible_key(key: str) -> None:
    with pytest.raises(ReplicationError) as caught:
        plan_key(key, policy=KeyPolicy.FAIL)
    assert caught.value.code == ErrorCode.KEY_INCOMPATIBLE
    assert plan_key(key, policy=KeyPolicy.SKIP) == SkippedKey(key_problem(key))
    assert rewritten(key).is_rewritten


@pytest.mark.parametrize("policy", [KeyPolicy.FAIL, KeyPolicy.SKIP])
def test_a_key_with_the_mark_is_nothing_but_a_key_where_nothing_is_rewritten(
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
def test_a_rewritten_key_can_still_be_read(key: str, expected: str) -> None:
    assert rewritten(key).key == expected


def test_a_rewritten_key_stays_below_the_rules_prefix() -> None:
    assert rewritten("a\0", prefix="copies/").key == "copies/.s3sync-key/escaped/a%00"
    assert rewritten("x" * 1017, prefix="copies/").key.startswith("copies/.s3sync-key/sha256/")


@pytest.mark.parametrize("prefix", ["/", "\\x/", "a\0/", "p" * 950])
def test_a_prefix_that_is_impossible_itself_is_rewritten_with_the_key(prefix: str) -> None:
    assert rewritten("\0a" * 50, prefix=prefix).key.startswith(REWRITTEN_MARK)


def test_a_key_that_is_too_long_gets_a_hash_and_keeps_its_name_in_the_metadata() -> None:
    longest = "图" * 341 + "x"  # 1,024 bytes, S3's limit
    planned = rewritten(longest)
    assert len(planned.key) == len(".s3sync-key/sha256/") + 64
    assert planned.provenance == {"s3sync-key": "%E5%9B%BE" * 341 + "x"}
    check_user_metadata(planned.provenance)
    assert rewritten("图" * 341 + "y").key != planned.key


@given(keys, st.sampled_from(PREFIXES))
@example("/" + "%" * 400, "")
def test_a_rewritten_key_is_possible_and_leads_back(key: str, prefix: str) -> None:
    planned = rewritten(key, prefix=prefix)
    check_destination_key(planned.key)
    names.check_object_name(planned.key.encode())
    check_user_metadata(planned.provenance)
    assert original_key(planned.key, planned.provenance) == prefix + key


@given(keys)
def test_only_impossible_keys_and_those_with_the_mark_are_rewritten(key: str) -> None:
    planned = rewritten(key)
    assert planned.is_rewritten == (bool(key_problem(key)) or REWRITTEN_MARK in key)
    if not planned.is_rewritten:
        assert planned.key == key


@given(st.sets(st.tuples(st.sampled_from(PREFIXES), keys), min_size=2, max_size=40))
def test_two_keys_never_meet_at_one(pairs: set[tuple[str, str]]) -> None:
    wanted: dict[str, str] = {}
    for prefix, key in pairs:
        wanted.setdefault(rewritten(key, prefix=prefix).key, prefix + key)
        assert wanted[rewritten(key, prefix=prefix).key] == prefix + key


@given(keys, st.sampled_from(PREFIXES))
def test_a_key_never_meets_the_rewritten_form_of_another(key: str, prefix: str) -> None:
    first = rewritten(key, prefix=prefix).key
    # A source that has what we wrote: were it copied as it is, it would overwrite the other's.
    if first != prefix + key:
        assert rewritten(first).key != first


def test_all_short_keys_of_the_dangerous_pieces_stay_apart() -> None:
    wanted = {"".join(parts) for n in range(4) for parts in product(PIECES, repeat=n)}
    assert len({rewritten(key).key for key in wanted}) == len(wanted)


def test_all_short_keys_below_dangerous_prefixes_stay_apart() -> None:
    tails = {"".join(parts) for n in range(3) for parts in product(PIECES, repeat=n)}
    meeting: dict[str, set[str]] = {}
    for prefix, tail in product(PREFIXES, tails):
        meeting.setdefault(rewritten(tail, prefix=prefix).key, set()).add(prefix + tail)
    assert [wanted for wanted in meeting.values() if len(wanted) > 1] == []


def test_a_replica_that_was_copied_to_another_name_is_known_by_that() -> None:
    planned = rewritten("/a")
    for elsewhere in ["elsewhere", f"b/{planned.key}", f"{REWRITTEN_MARK}escaped/b"]:
        assert original_key(elsewhere, planned.provenance) == elsewhere


@pytest.mark.parametrize("value", ["", "%FF", "b", "\xff"])
def test_a_field_that_we_did_not_write_names_no_original(value: str) -> None:
    key = rewritten("/a").key
    assert original_key(key, {"s3sync-key": value}) == key


def test_a_rewritten_key_is_no_longer_than_oss_allows() -> None:
    for length in range(950, MAX_OSS_KEY_BYTES + 2):
        check_destination_key(rewritten("/" + "x" * length).key)
