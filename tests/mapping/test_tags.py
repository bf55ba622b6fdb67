"""Which tags go along."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.tags import TagPolicy, plan_tags
from sandbox.oss import names

POSSIBLE = [
    {},
    {"a": ""},
    {"Cost centre": "A-1 +-=._:/"},
    {"k" * 128: "v" * 256},
    {str(number): "x" for number in range(10)},
]
IMPOSSIBLE = [
    ({"": "x"}, "empty key"),
    ({"owner": "a@example.com"}, "the value of the tag 'owner' has other characters"),
    ({"a@b": "x"}, "the key of the tag 'a@b' has other characters"),
    ({"stadt": "köln"}, "the value of the tag 'stadt'"),
    ({"城市": "x"}, "the key of the tag '城市'"),
    ({"a": "x\n"}, "the value of the tag 'a'"),
    ({"k" * 129: "x"}, "129 bytes; OSS allows 128"),
    ({"k": "v" * 257}, "257 bytes; OSS allows 256"),
    ({str(number): "x" for number in range(11)}, "'10' is one too many; OSS allows 10"),
]


@pytest.mark.parametrize("policy", TagPolicy)
@pytest.mark.parametrize("tags", POSSIBLE)
def test_tags_that_oss_takes_stay_what_they_are(tags: dict[str, str], policy: TagPolicy) -> None:
    planned = plan_tags(tags, policy=policy)
    assert planned.tags == tags
    assert planned.dropped == ()
    assert names.check_tags(list(planned.tags.items())) == tags


@pytest.mark.parametrize(("tags", "reason"), IMPOSSIBLE)
def test_tags_that_oss_refuses_fail_by_name(tags: dict[str, str], reason: str) -> None:
    with pytest.raises(ReplicationError, match=reason) as caught:
        plan_tags(tags, policy=TagPolicy.FAIL)
    assert caught.value.code == ErrorCode.METADATA_INCOMPATIBLE


def test_dropped_tags_are_on_record_and_the_others_stay() -> None:
    planned = plan_tags({"a": "1", "b": "@", "c": "3"}, policy=TagPolicy.DROP)
    assert planned.tags == {"a": "1", "c": "3"}
    assert [tag.name for tag in planned.dropped] == ["b"]
    assert "the value of the tag 'b'" in planned.dropped[0].reason


def test_a_tag_that_is_dropped_takes_no_place() -> None:
    tags = {"@": "x"} | {str(number): "x" for number in range(10)}
    assert len(plan_tags(tags, policy=TagPolicy.DROP).tags) == 10


texts = st.text(st.one_of(st.sampled_from("aZ0 +-=._:/@"), st.characters()), max_size=300)


@given(st.dictionaries(texts, texts, max_size=14))
def test_what_is_kept_oss_takes_and_the_rest_is_on_record(tags: dict[str, str]) -> None:
    planned = plan_tags(tags, policy=TagPolicy.DROP)
    assert names.check_tags(list(planned.tags.items())) == planned.tags
    assert set(planned.tags) | {tag.name for tag in planned.dropped} == set(tags)
    assert all(tags[key] == value for key, value in planned.tags.items())
