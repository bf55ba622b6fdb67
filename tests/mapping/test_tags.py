"""Tags: which are copied, and which OSS refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import Capabilities
from replication.mapping.tags import TagPolicy, plan_tags
from sandbox.oss import names

VALID = [
    {},
    {"a": ""},
    {"Cost centre": "A-1 +-=._:/"},
    {"k" * 128: "v" * 256},
    {str(number): "x" for number in range(10)},
]
INVALID = [
    ({"": "x"}, "empty key"),
    ({"owner": "a@example.com"}, "the value of the tag 'owner' has characters other than"),
    ({"a@b": "x"}, "the key of the tag 'a@b' has characters other than"),
    ({"stadt": "köln"}, "the value of the tag 'stadt'"),
    ({"城市": "x"}, "the key of the tag '城市'"),
    ({"a": "x\n"}, "the value of the tag 'a'"),
    ({"k" * 129: "x"}, "129 bytes; OSS allows 128"),
    ({"k": "v" * 257}, "257 bytes; OSS allows 256"),
    ({str(number): "x" for number in range(11)}, "'10' is one tag too many; OSS allows 10"),
]


@pytest.mark.parametrize("policy", TagPolicy)
@pytest.mark.parametrize("tags", VALID)
def test_no_policy_changes_valid_tags(tags: dict[str, str], policy: TagPolicy) -> None:
    planned = plan_tags(tags, policy=policy)
    assert planned.tags == tags
    assert planned.dropped == ()
    assert names.check_tags(list(planned.tags.items())) == tags


@pytest.mark.parametrize(("tags", "reason"), INVALID)
def test_under_fail_the_error_names_the_tag(tags: dict[str, str], reason: str) -> None:
    with pytest.raises(ReplicationError, match=reason) as caught:
        plan_tags(tags, policy=TagPolicy.FAIL)
    assert caught.value.code == ErrorCode.METADATA_INCOMPATIBLE


def test_dropped_tags_are_recorded_and_the_others_stay() -> None:
    planned = plan_tags({"a": "1", "b": "@", "c": "3"}, policy=TagPolicy.DROP)
    assert planned.tags == {"a": "1", "c": "3"}
    assert [tag.name for tag in planned.dropped] == ["b"]
    assert "the value of the tag 'b'" in planned.dropped[0].reason


def test_a_dropped_tag_does_not_count_towards_the_limit() -> None:
    tags = {"@": "x"} | {str(number): "x" for number in range(10)}
    assert len(plan_tags(tags, policy=TagPolicy.DROP).tags) == 10


texts = st.text(st.one_of(st.sampled_from("aZ0 +-=._:/@"), st.characters()), max_size=300)


@given(st.dictionaries(texts, texts, max_size=14))
def test_oss_accepts_the_kept_tags_and_the_others_are_recorded(tags: dict[str, str]) -> None:
    planned = plan_tags(tags, policy=TagPolicy.DROP)
    assert names.check_tags(list(planned.tags.items())) == planned.tags
    assert set(planned.tags) | {tag.name for tag in planned.dropped} == set(tags)
    assert all(tags[key] == value for key, value in planned.tags.items())


TAKES_ALL_ALPHABETS = Capabilities(non_ascii_tags=True)


@pytest.mark.parametrize("policy", TagPolicy)
@pytest.mark.parametrize("tags", [*VALID, {"stadt": "köln"}, {"城市": "北京 1"}, {"k": "城" * 85}])
def test_tags_of_all_alphabets_are_kept_for_a_bucket_that_takes_them(
    tags: dict[str, str], policy: TagPolicy
) -> None:
    planned = plan_tags(tags, policy=policy, capabilities=TAKES_ALL_ALPHABETS)
    assert (planned.tags, planned.dropped) == (tags, ())


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"城市": "a@b"}, "has characters other than"),
        ({"城市": "a\n"}, "has characters other than"),
        ({"k": "城" * 86}, "258 bytes; OSS allows 256"),
        ({"城" * 43: "v"}, "129 bytes; OSS allows 128"),
    ],
)
def test_such_a_bucket_still_has_limits(tags: dict[str, str], reason: str) -> None:
    with pytest.raises(ReplicationError, match=reason):
        plan_tags(tags, policy=TagPolicy.FAIL, capabilities=TAKES_ALL_ALPHABETS)


@given(st.dictionaries(texts, texts, max_size=14))
def test_a_lenient_server_accepts_the_kept_tags(tags: dict[str, str]) -> None:
    planned = plan_tags(tags, policy=TagPolicy.DROP, capabilities=TAKES_ALL_ALPHABETS)
    assert names.check_tags(list(planned.tags.items()), is_lenient=True) == planned.tags
