"""User metadata and content headers: validity, policies and rewriting."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import Capabilities
from replication.mapping.metadata import (
    MAX_OSS_METADATA_BYTES,
    Dropped,
    MetadataPolicy,
    check_user_metadata,
    original_content_headers,
    original_metadata,
    plan_content_headers,
    plan_metadata,
)
from sandbox.oss import names

FAIL, DROP, REWRITE = MetadataPolicy.FAIL, MetadataPolicy.DROP, MetadataPolicy.REWRITE
PROVENANCE = {"s3sync-etag": "e", "s3sync-version": "v"}
VALID = [
    {},
    {"a": ""},
    {"taken-by": "some one"},
    {"a1-": "x" * 8189},
    {"a": "~!\"#$%&'()=?"},
    {"place": "=?UTF-8?B?5pel5pys?="},
]
INVALID = [
    ({"taken_by": "x"}, "'taken_by'"),
    ({"ok": "x", "a.b": "x"}, r"'a\.b'"),
    ({"": "x"}, "a-z, 0-9 and hyphen: ''"),
    ({"Upper": "x"}, "'Upper'"),
    ({"place": "日本"}, "'place'"),
    ({"place": "\xe6\x97\xa5"}, "'place'"),
    ({"line": "a\nb"}, "'line'"),
    ({"tab": "a\tb"}, "'tab'"),
    ({"nul": "a\0b"}, "'nul'"),
    ({"before": " a"}, "'before' begins or ends with a space"),
    ({"behind": "a "}, "'behind' begins or ends with a space"),
    ({"a": "x" * 8192}, "8193 bytes; OSS allows 8192"),
]
dangerous_names = ["s3sync-", "meta-", "-", "_", "-5f", "5f", ".", "a", "A", "é", "etag", "\ud800"]
field_names = st.one_of(
    st.lists(st.sampled_from(dangerous_names), max_size=5).map("".join),
    st.text(st.characters(), max_size=8),
)
byte_values = st.one_of(
    st.lists(st.sampled_from(["%", "%41", " ", "a", "\xe6", "\n"]), max_size=6).map("".join),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
fields = st.dictionaries(field_names, byte_values, max_size=8)


def sent(metadata: dict[str, str]) -> dict[str, str]:
    """The fields as a strict server parses them."""
    return names.user_meta({f"x-oss-meta-{name}": value for name, value in metadata.items()})


# -- validity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", VALID)
def test_metadata_that_oss_accepts_is_valid(metadata: dict[str, str]) -> None:
    check_user_metadata(metadata)
    assert sent(metadata) == metadata


@pytest.mark.parametrize(("metadata", "reason"), INVALID)
def test_metadata_that_oss_refuses_is_refused_and_the_field_is_named(
    metadata: dict[str, str], reason: str
) -> None:
    with pytest.raises(ReplicationError, match=reason) as caught:
        check_user_metadata(metadata)
    assert caught.value.code == ErrorCode.METADATA_INCOMPATIBLE


# -- a bucket that takes UTF-8 -----------------------------------------------------------------

TAKES_UTF8 = Capabilities(non_ascii_metadata=True)


def wire(text: str) -> str:
    """The text's UTF-8, one character for each byte."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("policy", MetadataPolicy)
@pytest.mark.parametrize("value", [wire("日本 é"), wire("😀"), "日本"])
def test_utf_8_is_kept_for_a_bucket_that_takes_it(value: str, policy: MetadataPolicy) -> None:
    planned = plan_metadata(
        {"place": value}, policy=policy, provenance=PROVENANCE, capabilities=TAKES_UTF8
    )
    kept = value if value.isascii() or max(value) < "\u0100" else wire(value)
    assert planned.fields == {"place": kept} | PROVENANCE
    assert (planned.rewritten, planned.dropped) == ((), ())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("caf\xe9", "'place' is not UTF-8"),
        (wire("a\u0085b"), "can't be printed"),
        (wire("日\n"), "can't be printed"),
        (wire("日 "), "begins or ends with a space"),
        ("a\tb", "other than printable ASCII"),
    ],
)
def test_a_policy_decides_what_such_a_bucket_may_refuse(value: str, reason: str) -> None:
    with pytest.raises(ReplicationError, match=reason):
        plan_metadata({"place": value}, policy=FAIL, provenance={}, capabilities=TAKES_UTF8)
    planned = plan_metadata(
        {"place": value}, policy=REWRITE, provenance={}, capabilities=TAKES_UTF8
    )
    assert planned.fields.keys() == {"s3sync-meta-place"}


def test_the_limit_of_metadata_counts_bytes() -> None:
    full = wire("日" * 2730)
    plan_metadata({"ab": full}, policy=FAIL, provenance={}, capabilities=TAKES_UTF8)
    with pytest.raises(ReplicationError, match="8193 bytes; OSS allows 8192"):
        plan_metadata({"abc": full}, policy=FAIL, provenance={}, capabilities=TAKES_UTF8)


@given(fields)
def test_a_lenient_server_takes_what_is_planned_for_it(metadata: dict[str, str]) -> None:
    planned = plan_metadata(
        metadata, policy=REWRITE, provenance=PROVENANCE, capabilities=TAKES_UTF8
    )
    headers = {f"x-oss-meta-{n}": v.encode("latin-1") for n, v in planned.fields.items()}
    decoded = {n: v.decode("utf-8", "surrogateescape") for n, v in headers.items()}
    stored = names.user_meta(decoded, is_lenient=True)
    back = {n: v.encode("utf-8", "surrogateescape").decode("latin-1") for n, v in stored.items()}
    assert original_metadata(back) == metadata


# -- user metadata -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", MetadataPolicy)
@pytest.mark.parametrize("metadata", [each for each in VALID if "a1-" not in each])
def test_no_policy_changes_valid_metadata(metadata: dict[str, str], policy: MetadataPolicy) -> None:
    planned = plan_metadata(metadata, policy=policy, provenance=PROVENANCE)
    assert planned.fields == metadata | PROVENANCE
    assert (planned.rewritten, planned.dropped) == ((), ())


@pytest.mark.parametrize(("metadata", "reason"), INVALID)
def test_under_fail_the_error_names_the_field(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(ReplicationError, match=reason):
        plan_metadata(metadata, policy=FAIL, provenance={})


def test_dropped_fields_are_recorded_and_the_others_stay() -> None:
    planned = plan_metadata({"a_b": "1", "c": "é", "d": "2"}, policy=DROP, provenance=PROVENANCE)
    assert planned.fields == {"d": "2"} | PROVENANCE
    assert [field.name for field in planned.dropped] == ["a_b", "c"]
    assert planned.dropped[1] == Dropped(
        "c", "the value of 'c' has characters other than printable ASCII"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected_name", "expected_value"),
    [
        ("taken_by", "some one", "s3sync-meta-taken-5fby", "some%20one"),
        ("place", "\xe6\x97\xa5 50%", "s3sync-meta-place", "%E6%97%A5%2050%25"),
        ("place", "日 50%", "s3sync-meta-place", "%E6%97%A5%2050%25"),
        ("a-b.c", "x", "s3sync-meta-a-2db-2ec", "x"),
        ("", "x", "s3sync-meta-", "x"),
        ("s3sync-etag", "theirs", "s3sync-meta-s3sync-2detag", "theirs"),
        ("s3sync-meta-a-5fb", "x", "s3sync-meta-s3sync-2dmeta-2da-2d5fb", "x"),
    ],
)
def test_a_rewritten_field_is_still_readable(
    name: str, value: str, expected_name: str, expected_value: str
) -> None:
    planned = plan_metadata({name: value}, policy=REWRITE, provenance=PROVENANCE)
    assert planned.fields == {expected_name: expected_value} | PROVENANCE
    assert planned.rewritten == (name,)


@given(fields)
@example({"a_b": "1", "s3sync-meta-a-5fb": "2", "a-5fb": "3"})
@example({"s3sync-etag": "theirs", "s3sync-key": "%00", "s3sync-header-expires": "x"})
def test_rewritten_metadata_is_valid_and_reversible(metadata: dict[str, str]) -> None:
    planned = plan_metadata(metadata, policy=REWRITE, provenance=PROVENANCE)
    check_user_metadata(planned.fields)
    assert sent(planned.fields) == planned.fields
    assert len(planned.fields) == len(metadata) + len(PROVENANCE)  # no two fields collide
    assert original_metadata(planned.fields) == metadata
    assert planned.fields.items() >= PROVENANCE.items()


@given(st.text())
def test_text_beyond_latin_1_is_written_as_utf_8(value: str) -> None:
    planned = plan_metadata({"a_": value}, policy=REWRITE, provenance={})
    original = original_metadata(planned.fields)["a_"]
    if max(map(ord, value), default=0) < 256:
        assert original == value
    else:
        assert original.encode("latin-1").decode("utf-8", "surrogatepass") == value


@given(fields)
def test_each_field_is_either_kept_or_recorded_as_dropped(metadata: dict[str, str]) -> None:
    planned = plan_metadata(metadata, policy=DROP, provenance=PROVENANCE)
    kept = set(planned.fields) - set(PROVENANCE)
    assert kept | {field.name for field in planned.dropped} == set(metadata)
    assert all(planned.fields[name] == metadata[name] for name in kept)


@given(fields)
def test_a_replica_of_a_replica_is_reversible_in_two_steps(metadata: dict[str, str]) -> None:
    first = plan_metadata(metadata, policy=REWRITE, provenance=PROVENANCE)
    again = plan_metadata(first.fields, policy=REWRITE, provenance={"s3sync-etag": "second"})
    assert again.fields["s3sync-etag"] == "second"
    assert original_metadata(original_metadata(again.fields)) == metadata


def test_a_source_field_with_a_reserved_name_is_never_overwritten_silently() -> None:
    with pytest.raises(ReplicationError, match="reserved for s3sync: 's3sync-etag'"):
        plan_metadata({"s3sync-etag": "theirs"}, policy=FAIL, provenance=PROVENANCE)
    planned = plan_metadata({"s3sync-etag": "theirs"}, policy=DROP, provenance=PROVENANCE)
    assert planned.fields == PROVENANCE
    assert [field.name for field in planned.dropped] == ["s3sync-etag"]


@pytest.mark.parametrize("name", ["s3sync-meta--ff", "s3sync-meta-a-b", "s3sync-meta-é"])
def test_a_field_that_only_looks_rewritten_is_not_restored(name: str) -> None:
    assert original_metadata({name: "x", "a": "1"}) == {"a": "1"}


def test_metadata_that_rewriting_makes_too_large_is_refused() -> None:
    with pytest.raises(ReplicationError, match="OSS allows 8192"):
        plan_metadata({"a": "é" * 2800}, policy=REWRITE, provenance={})


def test_under_drop_the_largest_fields_make_room() -> None:
    metadata = {"small": "x", "large": "x" * 5000, "larger": "x" * 6000}
    planned = plan_metadata(metadata, policy=DROP, provenance=PROVENANCE)
    assert planned.fields == {"small": "x", "large": "x" * 5000} | PROVENANCE
    assert [field.name for field in planned.dropped] == ["larger"]
    full = MAX_OSS_METADATA_BYTES - len("a") - sum(map(len, [*PROVENANCE, *PROVENANCE.values()]))
    assert not plan_metadata({"a": "x" * full}, policy=DROP, provenance=PROVENANCE).dropped
    assert plan_metadata({"a": "x" * (full + 1)}, policy=DROP, provenance=PROVENANCE).dropped


# -- content headers ---------------------------------------------------------------------------

FILE_NAME = (
    'attachment; filename="\xe6\x97\xa5 50%.txt"'  # UTF-8 bytes as the HTTP client returns them
)


@pytest.mark.parametrize("policy", MetadataPolicy)
def test_no_policy_changes_printable_content_headers(policy: MetadataPolicy) -> None:
    headers = {"content-type": "text/plain; charset=utf-8", "expires": "not even a date"}
    planned = plan_content_headers(headers, policy=policy)
    assert planned.headers == headers
    assert (planned.provenance, planned.rewritten, planned.dropped) == ({}, (), ())


def test_a_non_ascii_file_name_is_written_as_oss_advises_and_also_kept_exactly() -> None:
    planned = plan_content_headers({"content-disposition": FILE_NAME}, policy=REWRITE)
    assert planned.headers == {
        "content-disposition": 'attachment; filename="%E6%97%A5 50%.txt"',
    }
    assert planned.provenance == {
        "s3sync-header-content-disposition": 'attachment;%20filename="%E6%97%A5%2050%25.txt"',
    }
    assert planned.rewritten == ("content-disposition",)


def test_a_non_ascii_header_fails_or_is_dropped_as_the_policy_says() -> None:
    headers = {"content-disposition": FILE_NAME, "content-type": "image/png"}
    with pytest.raises(ReplicationError, match="'content-disposition'") as caught:
        plan_content_headers(headers, policy=FAIL)
    assert caught.value.code == ErrorCode.METADATA_INCOMPATIBLE
    planned = plan_content_headers(headers, policy=DROP)
    assert planned.headers == {"content-type": "image/png"}
    assert [header.name for header in planned.dropped] == ["content-disposition"]


@given(st.dictionaries(st.sampled_from(["content-type", "Expires", "x"]), byte_values))
def test_rewritten_headers_are_valid_and_reversible(headers: dict[str, str]) -> None:
    planned = plan_content_headers(headers, policy=REWRITE)
    for value in planned.headers.values():
        assert value.isascii() and value.isprintable() and value == value.strip()
    metadata = plan_metadata({}, policy=FAIL, provenance=planned.provenance).fields
    assert original_content_headers(planned.headers, metadata) == headers
