"""Our entries of a bucket's notifications are added beside the others and removed again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.tools.provisioning.notifications import (
    EVENTS,
    OBJECT_EVENTS,
    KeyRange,
    Merged,
    disjoint_ranges,
    is_same,
    merge,
    wanted_range,
)

QUEUE = "arn:aws:sqs:ap-east-1:123456789012:s3sync"
TOPIC = "arn:aws:sns:ap-east-1:123456789012:theirs"
ALL_KEYS = KeyRange()


def others(**fields: Any) -> dict[str, Any]:
    """A configuration in which another party has the bucket notify an SNS topic."""
    entry = {"Id": "theirs", "TopicArn": TOPIC, "Events": ["s3:ObjectCreated:*"], **fields}
    return {"TopicConfigurations": [entry], "EventBridgeConfiguration": {}}


def filtered(**values: str) -> dict[str, Any]:
    rules = [{"Name": name.capitalize(), "Value": value} for name, value in values.items()]
    return {"Filter": {"Key": {"FilterRules": rules}}}


def merged(present: dict[str, Any], *, queue_arn: str = QUEUE, **ranges: KeyRange) -> Merged:
    return merge(present, queue_arn=queue_arn, queue_name="s3sync", ranges=ranges)


def test_a_bucket_without_notifications_gets_one_entry_for_all_events() -> None:
    (entry,) = merged({}, photos=ALL_KEYS).configuration["QueueConfigurations"]
    assert entry == {"Id": "s3sync-s3sync-photos", "QueueArn": QUEUE, "Events": list(EVENTS)}


def test_entries_of_others_stay_byte_for_byte_and_removal_leaves_none_of_ours() -> None:
    lambdas = [
        {
            "Id": "thumbnails",
            "LambdaFunctionArn": "arn:aws:lambda:ap-east-1:123456789012:function:f",
            "Events": ["s3:ObjectTagging:*"],
        }
    ]
    queues = [{"Id": "q", "QueueArn": f"{QUEUE}-other", "Events": ["s3:ObjectAcl:Put"]}]
    present = {
        **others(**filtered(prefix="logs/")),
        "LambdaFunctionConfigurations": lambdas,
        "QueueConfigurations": queues,
        "ResponseMetadata": {"RequestId": "an answer's"},
    }
    added = merged(present, photos=KeyRange("photos/"))
    assert added.obstacles == ()
    assert "ResponseMetadata" not in added.configuration
    assert added.configuration["QueueConfigurations"][:1] == queues
    for section in ("TopicConfigurations", "LambdaFunctionConfigurations"):
        assert added.configuration[section] == present[section]
    assert added.configuration["EventBridgeConfiguration"] == {}

    again = merged(added.configuration, photos=KeyRange("photos/"))
    assert is_same(again.configuration, added.configuration)
    removed = merged(added.configuration).configuration
    assert removed == {name: present[name] for name in present if name != "ResponseMetadata"}


def test_a_filter_as_s3_spells_it_is_no_change() -> None:
    written = merged({}, photos=KeyRange("photos/", ".jpg")).configuration
    (entry,) = written["QueueConfigurations"]
    as_read = {"QueueConfigurations": [{**entry, **filtered(suffix=".jpg", prefix="photos/")}]}
    assert is_same(merged(as_read, renamed=KeyRange("photos/", ".jpg")).configuration, as_read)


def test_another_rule_changes_only_our_entries() -> None:
    present = merged(others(**filtered(prefix="logs/")), photos=KeyRange("photos/")).configuration
    wider = merged(present, photos=KeyRange("photos/"), films=KeyRange("films/")).configuration
    prefixes = [
        entry["Filter"]["Key"]["FilterRules"][0]["Value"] for entry in wider["QueueConfigurations"]
    ]
    assert prefixes == ["films/", "photos/"]
    assert wider["TopicConfigurations"] == present["TopicConfigurations"]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([("a/", ""), ("b/", "")], [("a/", ""), ("b/", "")]),
        ([("a/", ""), ("a/", "")], [("a/", "")]),
        ([("a/", ""), ("a/b/", "")], [("a/", "")]),
        ([("a/", ".jpg"), ("a/", ".png")], [("a/", ".jpg"), ("a/", ".png")]),
        # S3 assumes that a key can begin with the one and end with the other.
        ([("a/", ""), ("", ".jpg")], [("", "")]),
        ([("a/x", ".jpg"), ("a/", "jpg")], [("a/", "jpg")]),
        # The cover of two ranges overlaps a third.
        ([("", "z.a"), ("ab/", "a"), ("b", "y")], [("", "a"), ("b", "y")]),
    ],
)
def test_rules_that_share_a_bucket_get_ranges_that_do_not_overlap(
    ranges: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    found = disjoint_ranges([KeyRange(*each) for each in ranges])
    assert [(each.prefix, each.suffix) for each in found] == expected


@given(st.lists(st.tuples(st.text("ab/", max_size=4), st.text("ab.", max_size=3)), min_size=1))
def test_whatever_the_rules_no_two_ranges_overlap_and_every_rule_is_covered(
    asked: list[tuple[str, str]],
) -> None:
    ranges = [KeyRange(*each) for each in asked]
    found = disjoint_ranges(ranges)
    assert all(not one.overlaps(other) for one in found for other in found if one != other)
    assert all(any(each.covers(wanted) for each in found) for wanted in ranges)


def test_more_entries_than_s3_allows_become_one() -> None:
    ranges = {f"rule-{number}": KeyRange(f"in/{number:03}/") for number in range(101)}
    found = merge({}, queue_arn=QUEUE, queue_name="s3sync", ranges=ranges)
    (entry,) = found.configuration["QueueConfigurations"]
    assert entry["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "in/"}]


def test_a_filter_leaves_out_characters_that_s3_wants_encoded() -> None:
    assert wanted_range(prefix="photos/red flower/", suffix="+copy.jpg") == KeyRange(
        "photos/red", "copy.jpg"
    )
    assert wanted_range(prefix="日本/", suffix="*") == ALL_KEYS


@pytest.mark.parametrize(
    ("theirs", "ours", "is_refused"),
    [
        ({}, ALL_KEYS, True),
        (filtered(prefix="photos/raw/"), KeyRange("photos/"), True),
        (filtered(suffix=".log"), KeyRange("photos/"), True),
        (filtered(suffix=".log"), KeyRange("photos/", ".jpg"), False),
        (filtered(prefix="logs/"), KeyRange("photos/"), False),
        ({"Events": ["s3:ObjectCreated:Put"]}, ALL_KEYS, True),
        ({"Events": ["s3:ObjectRestore:*"]}, ALL_KEYS, True),
        ({"Events": ["s3:ObjectRestore:Post", "s3:ObjectTagging:*"]}, ALL_KEYS, False),
    ],
)
def test_an_overlap_that_s3_would_refuse_is_an_obstacle_that_names_the_other_entry(
    theirs: dict[str, Any], ours: KeyRange, is_refused: bool
) -> None:
    obstacles = merged(others(**theirs), photos=ours).obstacles
    assert bool(obstacles) == is_refused
    for obstacle in obstacles:
        assert TOPIC in obstacle
        assert "SNS topic" in obstacle


def test_an_entry_for_another_queue_of_ours_is_an_obstacle_with_its_own_fix() -> None:
    present = merged({}, queue_arn=f"{QUEUE}-old", photos=ALL_KEYS).configuration
    added = merged(present, photos=ALL_KEYS)
    assert "--destroy" in added.obstacles[0]
    assert len(added.configuration["QueueConfigurations"]) == 2


def test_events_of_tags_that_go_to_others_are_left_to_them() -> None:
    theirs = others(**filtered(prefix="photos/"), Events=["s3:ObjectTagging:Put"])
    found = merged(theirs, photos=KeyRange("photos/raw/"), films=KeyRange("films/"))
    assert found.obstacles == ()
    assert [entry["Events"] for entry in found.configuration["QueueConfigurations"]] == [
        list(EVENTS),
        list(OBJECT_EVENTS),
    ]
    (receiver,) = found.tag_receivers
    assert TOPIC in receiver
    again = merged(found.configuration, photos=KeyRange("photos/raw/"), films=KeyRange("films/"))
    assert again.configuration == found.configuration


def test_our_entry_of_an_earlier_version_is_given_the_events_of_tags() -> None:
    written = merged({}, photos=ALL_KEYS).configuration
    (entry,) = written["QueueConfigurations"]
    earlier = {"QueueConfigurations": [{**entry, "Events": list(OBJECT_EVENTS)}]}
    assert merged(earlier, photos=ALL_KEYS).configuration == written


def test_an_entry_made_by_hand_that_lacks_the_events_of_tags_is_left_as_it_is() -> None:
    entry = {"Id": "by hand", "QueueArn": QUEUE, "Events": list(OBJECT_EVENTS)}
    present = {"QueueConfigurations": [entry]}
    found = merged(present, photos=ALL_KEYS)
    assert (found.configuration, found.obstacles, found.is_covered_by_others) == (present, (), True)


def test_a_range_that_an_entry_made_by_hand_covers_gets_no_second_entry() -> None:
    entry = {"Id": "by hand", "QueueArn": QUEUE, "Events": list(EVENTS)}
    present = {"QueueConfigurations": [entry]}
    found = merged(present, photos=KeyRange("photos/"))
    assert (found.configuration, found.ranges, found.is_covered_by_others) == (present, (), True)
    less = {"QueueConfigurations": [{**entry, "Events": ["s3:ObjectCreated:*"]}]}
    assert merged(less, photos=KeyRange("photos/")).obstacles
