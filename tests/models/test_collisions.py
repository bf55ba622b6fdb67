"""Rules collide exactly if they can write two different objects to one destination key."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from replication.errors import ReplicationError
from replication.mapping.collisions import KeyMapping, Meeting, Place, find_meetings
from replication.mapping.keys import (
    REWRITTEN_MARK,
    KeyPolicy,
    PlannedKey,
    plan_key,
)
from replication.models import Addressing, Destination, ReplicationRule, Source
from replication.models.collisions import Rules, find_collisions, map_rule

PHOTOS, SCANS = (Source(name=name, bucket=name, region="eu-west-1") for name in ("photos", "scans"))
REPLICA = Destination(name="replica", bucket="replica", endpoint="https://oss.example.com")


def a_rule(**fields: Any) -> ReplicationRule:
    """A rule that is not saved."""
    return ReplicationRule(**({"source": PHOTOS, "destination": REPLICA} | fields))


def meetings_of(one: ReplicationRule, other: ReplicationRule) -> list[Meeting]:
    rules: Rules = {number: map_rule(rule) for number, rule in enumerate((one, other))}
    return [collision.meeting for collision in find_collisions(rules)]


def written_key(rule: ReplicationRule, key: str) -> str | None:
    """The destination key of an object, as a transfer plans it; None if nothing is written."""
    try:
        planned = plan_key(
            rule.destination_key(key),
            policy=KeyPolicy(rule.key_policy),
            prefix=rule.destination_prefix,
        )
    except ReplicationError:
        return None
    return planned.key if isinstance(planned, PlannedKey) else None


def source_key(rule: ReplicationRule, wanted_key: str) -> str | None:
    """The key that the rule maps to this wanted key; None if it maps none."""
    start = rule.destination_key(rule.source_prefix)
    if not wanted_key.startswith(start):
        return None
    key = rule.source_prefix + wanted_key.removeprefix(start)
    assert rule.destination_key(key) == wanted_key
    return key


def write_one_key(one: ReplicationRule, key: str, other: ReplicationRule, other_key: str) -> bool:
    """Whether the two rules write these two objects, which must be different, to one key."""
    is_same_object = (one.source, key) == (other.source, other_key)
    written = written_key(one, key)
    return not is_same_object and written is not None and written == written_key(other, other_key)


# -- by search and by construction -------------------------------------------------------------

PIECES = ["a", "b", "/", "a/", ".", "%", "%01", "\x01", REWRITTEN_MARK, f"{REWRITTEN_MARK}escaped/"]
texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


def pairs_of_rules(prefixes: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Any, Any]]:
    rules = st.builds(
        a_rule,
        source=st.sampled_from([PHOTOS, SCANS]),
        source_prefix=prefixes,
        destination_prefix=prefixes,
        strip_source_prefix=st.booleans(),
        key_policy=st.sampled_from([policy.value for policy in KeyPolicy]),
    )
    return st.tuples(rules, rules)


@given(pair=pairs_of_rules(texts), ends=st.lists(texts, min_size=1, max_size=12))
@settings(max_examples=400, deadline=None)
def test_rules_that_are_allowed_write_no_two_objects_to_one_key(
    pair: tuple[ReplicationRule, ReplicationRule], ends: list[str]
) -> None:
    is_allowed = not meetings_of(*pair)
    event(f"allowed: {is_allowed}")
    assume(is_allowed)
    for one, other in (pair, pair[::-1]):
        for key in (one.source_prefix + end for end in ends):
            wanted = one.destination_key(key)
            for aimed_at in filter(None, (wanted, written_key(one, key))):
                other_key = source_key(other, aimed_at)
                assert other_key is None or not write_one_key(one, key, other, other_key)


# Prefixes that OSS accepts, and that don't reach into a folder of the mark.
usable_prefixes = st.text("ab/", max_size=3).filter(lambda prefix: not prefix.startswith("/"))


@given(pair=pairs_of_rules(usable_prefixes))
@settings(max_examples=400, deadline=None)
def test_of_rules_that_are_refused_two_objects_are_written_to_one_key(
    pair: tuple[ReplicationRule, ReplicationRule],
) -> None:
    meetings = meetings_of(*pair)
    event(f"refused: {bool(meetings)}, by rewriting: {[m.is_by_rewriting for m in meetings]}")
    for meeting in meetings:
        one, other = pair if meeting.one.mapping == map_rule(pair[0]).mapping else pair[::-1]
        if meeting.is_by_rewriting:
            key = f"{one.source_prefix}{REWRITTEN_MARK}a"  # a key with the mark is rewritten
            aimed_at = written_key(one, key)
        else:
            aimed_at = f"{meeting.prefix}a"
            key = source_key(one, aimed_at) or ""
        other_key = source_key(other, aimed_at or "")
        assert other_key is not None
        assert write_one_key(one, key, other, other_key)


places = st.sampled_from([Place("one"), Place("two", "a"), Place("two", "b")])
prefixes = st.text("ab", max_size=3)
mappings = st.builds(
    KeyMapping,
    source=places,
    source_prefix=prefixes,
    destination=places,
    wanted_prefix=prefixes,
    rewritten_prefix=st.none() | prefixes.map(lambda prefix: prefix + REWRITTEN_MARK),
)


@given(found_together=st.lists(mappings, max_size=10))
@settings(max_examples=500, deadline=None)
def test_the_meetings_of_many_rules_are_those_of_each_two_of_them(
    found_together: list[KeyMapping],
) -> None:
    together = list(find_meetings(found_together))
    two_by_two = [
        meeting for pair in combinations(set(found_together), 2) for meeting in find_meetings(pair)
    ]
    assert len(together) == len(set(together))
    assert set(map(unordered, together)) == set(map(unordered, two_by_two))


def unordered(meeting: Meeting) -> frozenset[Any]:
    return frozenset({meeting.one, meeting.other})


# -- examples ----------------------------------------------------------------------------------

STRIPPED = {"source_prefix": "photos/", "strip_source_prefix": True}
REWRITING = {"key_policy": "rewrite"}


@pytest.mark.parametrize(
    ("one", "other", "prefix"),
    [
        ({}, {"source": SCANS}, ""),
        ({"source_prefix": "2026/"}, {"source": SCANS}, "2026/"),
        ({"destination_prefix": "a"}, {"source": SCANS, "destination_prefix": "a/b"}, "a/b"),
        ({}, STRIPPED, ""),
        (STRIPPED, STRIPPED | {"source_prefix": "scans/"}, ""),
        ({"source_suffix": ".jpg"}, {"source": SCANS, "source_suffix": ".png"}, ""),
        ({"include": "a/**"}, {"source": SCANS, "exclude": "a/**"}, ""),
        ({}, REWRITING, ".s3sync-key/"),
        ({}, {"destination_prefix": "copies/"} | REWRITING, "copies/.s3sync-key/"),
        (
            {"destination_prefix": "copies/.s3sync-key/escaped/2026/"},
            {"destination_prefix": "copies/", "source_prefix": "2025/"} | REWRITING,
            "copies/.s3sync-key/escaped/2026/",
        ),
    ],
)
def test_rules_collide(one: dict[str, Any], other: dict[str, Any], prefix: str) -> None:
    assert prefix in [meeting.prefix for meeting in meetings_of(a_rule(**one), a_rule(**other))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"include": "a/**"}, {"source_suffix": ".jpg"}),
        ({}, {"source_prefix": "photos/"}),
        (REWRITING, REWRITING | {"source_prefix": "photos/"}),
        # The same mapping, though it is spelled in another way.
        ({"source_prefix": "photos/"}, STRIPPED | {"destination_prefix": "photos/"}),
        ({"source_prefix": "a/"}, {"source": SCANS, "source_prefix": "b/"}),
        ({"destination_prefix": "a/"}, {"source": SCANS, "destination_prefix": "b/"} | REWRITING),
        # Both rewrite to keys that begin with .s3sync-key/, but not to the same keys.
        (
            {"source_prefix": "a/"} | REWRITING,
            {"source": SCANS, "source_prefix": "b/"} | REWRITING,
        ),
    ],
)
def test_rules_do_not_collide(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert meetings_of(a_rule(**one), a_rule(**other)) == []


# -- one place, spelled in several ways --------------------------------------------------------


def replica(endpoint: str, **fields: Any) -> Destination:
    return Destination(**({"bucket": "replica", "endpoint": endpoint} | fields))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (replica("https://oss.example.com"), replica("http://OSS.example.com:80/"), True),
        (replica("https://oss.example.com:443"), replica("https://oss.example.com"), True),
        (
            replica("https://oss-cn-hangzhou.aliyuncs.com"),
            replica("https://oss-cn-hangzhou-internal.aliyuncs.com"),
            True,
        ),
        (
            replica("https://oss-accelerate.aliyuncs.com"),
            replica("https://cdn.example.com", addressing=Addressing.CUSTOM_DOMAIN),
            True,
        ),
        (replica("https://oss.example.com"), replica("https://oss.example.com:8443"), False),
        (replica("https://oss.example.com"), replica("https://oss.example.org"), False),
        (
            replica("https://oss-cn-hangzhou.aliyuncs.com"),
            replica("https://oss-cn-hangzhou.aliyuncs.com", bucket="other"),
            False,
        ),
    ],
)
def test_destinations_that_lead_to_one_bucket_count_as_one(
    one: Destination, other: Destination, is_same: bool
) -> None:
    rules = a_rule(destination=one), a_rule(destination=other, source=SCANS)
    assert bool(meetings_of(*rules)) is is_same


def bucket(region: str = "eu-west-1", endpoint_url: str = "", name: str = "photos") -> Source:
    return Source(bucket=name, region=region, endpoint_url=endpoint_url)


def web_server(endpoint_url: str) -> Source:
    return Source(kind="http", endpoint_url=endpoint_url)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (bucket(), bucket(), True),
        (bucket(), bucket(name="scans"), False),
        (bucket("cn-north-1"), bucket("us-east-1"), False),
        (bucket(), bucket(endpoint_url="https://s3.example.com"), False),
        (
            bucket(endpoint_url="https://s3.example.com"),
            bucket("us-east-1", "https://S3.example.com:443/"),
            True,
        ),
        (web_server("https://www.example.com/"), web_server("https://www.example.com:443"), True),
        (web_server("https://www.example.com"), web_server("http://www.example.com"), False),
        (web_server("https://www.example.com"), web_server("https://cdn.example.com"), False),
    ],
)
def test_rules_with_one_mapping_are_allowed_if_their_sources_lead_to_one_place(
    one: Source, other: Source, is_same: bool
) -> None:
    assert bool(meetings_of(a_rule(source=one), a_rule(source=other))) is not is_same
