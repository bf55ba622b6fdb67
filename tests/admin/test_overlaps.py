"""Rules that can write to the same destination keys are found; other rules are not."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replication.admin.overlaps import overlapping_rules
from replication.models import ReplicationRule
from tests.support.story import Service


def finds(service: Service, one: dict, other: dict) -> bool:
    """Whether each of the two rules is reported as overlapping with the other."""
    ReplicationRule.objects.all().delete()
    locations = {"source": service.rule.source, "destination": service.rule.destination}
    rules = [
        ReplicationRule.objects.create(name=name, **locations, **fields)
        for name, fields in (("one", one), ("other", other))
    ]
    found = [overlapping_rules(rule) for rule in rules]
    assert found in ([[], []], [[rules[1]], [rules[0]]])
    return bool(found[0])


PHOTOS = {"source_prefix": "photos/"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({}, PHOTOS),
        (PHOTOS, {"include": "**/*.jpg"}),
        (PHOTOS, {"include": "elsewhere/*\nphotos/*"}),
        ({"include": "**/a.jpg"}, {"include": "a.*"}),
        ({"include": "[a-c]/x"}, {"include": "b/?"}),
        ({"include": "*.jpg"}, {"exclude": "*.png"}),
        ({"include": "*.jpg\n*.png"}, {"exclude": "*.png"}),
        ({"include": "*.jpg"}, {"exclude": "*.jpg", "destination_prefix": "a"}),
        (PHOTOS | {"strip_source_prefix": True}, {"include": "2026/*"}),
        (
            {"source_prefix": "a.j", "source_suffix": ".jpg", "strip_source_prefix": True},
            {"include": "pg"},
        ),
    ],
)
def test_rules_that_can_overlap_are_found(service: Service, one: dict, other: dict) -> None:
    assert finds(service, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PHOTOS, {"source_prefix": "scans/"}),
        (PHOTOS, {"include": "scans/**"}),
        ({"source_suffix": ".png"}, {"include": "**/*.jpg"}),
        ({"include": "*.jpg\n*.gif"}, {"include": "*.png"}),
        ({"include": "logs/**"}, {"exclude": "tmp/*\nlogs/**"}),
        (PHOTOS | {"include": "scans/*"}, {}),
        (
            PHOTOS | {"strip_source_prefix": True, "destination_prefix": "copies/"},
            {"include": "photos/*"},
        ),
    ],
)
def test_rules_that_never_overlap_are_not_found(service: Service, one: dict, other: dict) -> None:
    assert not finds(service, one, other)


texts = st.text("ab/", max_size=3)
globs = st.lists(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**/", "?", "[ab]"]), max_size=4)
    .map("".join)
    .filter(lambda pattern: "***" not in pattern),
    max_size=2,
).map("\n".join)
rules = st.fixed_dictionaries(
    {
        "source_prefix": texts,
        "source_suffix": texts,
        "destination_prefix": texts,
        "include": globs,
        "exclude": globs,
        "strip_source_prefix": st.booleans(),
    }
)


@given(one=rules, other=rules, keys=st.lists(st.text("ab/", max_size=5), max_size=30))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_overlap_is_missed(service: Service, one: dict, other: dict, keys: list[str]) -> None:
    first, second = ReplicationRule(**one), ReplicationRule(**other)
    written = [
        {rule.destination_key(key) for key in keys if rule.matches(key)} for rule in (first, second)
    ]
    if written[0] & written[1]:
        assert finds(service, one, other)
