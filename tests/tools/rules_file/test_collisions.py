"""A file by which rules would collide is refused, whatever the order of its entries."""

from itertools import permutations

import pytest

from replication.models import Destination, ReplicationRule, Source
from replication.tools.rules_file import RulesFileError, apply_rules
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db

PLACES = """\
sources:
  - {name: photos, bucket: photos-bucket, region: ap-east-1}
  - {name: scans, bucket: scans-bucket, region: ap-east-1}
destinations:
  - {name: one, bucket: one, endpoint: 'https://oss-cn-hongkong.aliyuncs.com', region: cn-hongkong}
  - {name: two, bucket: two, endpoint: 'https://oss-cn-hongkong.aliyuncs.com', region: cn-hongkong}
"""


def rule(name: str, *, into: str, source: str = "", destination: str = "one") -> str:
    return (
        f"  - {{name: {name}, source: {source or name}, destination: {destination}, "
        f"destination_prefix: '{into}'}}\n"
    )


def mistakes(text: str) -> list[str]:
    before = list(ReplicationRule.objects.values()), list(Destination.objects.values())
    with pytest.raises(RulesFileError) as raised:
        apply_rules(text)
    after = list(ReplicationRule.objects.values()), list(Destination.objects.values())
    assert after == before, "the database was changed"
    return [str(mistake) for mistake in raised.value.mistakes]


def prefixes() -> dict[str, str]:
    return dict(ReplicationRule.objects.values_list("name", "destination_prefix"))


def test_two_rules_of_the_file_that_collide_are_a_mistake_at_the_line_of_the_later_one() -> None:
    text = PLACES + "rules:\n" + rule("photos", into="a/") + rule("scans", into="a/b/")
    [mistake] = mistakes(text)
    assert mistake.startswith(
        "9: rules[1]: Rules photos and scans can write the same keys of the bucket one: photos "
        "writes keys that begin with 'a/', and scans writes keys that begin with 'a/b/'."
    )


def test_a_rule_that_collides_with_one_that_the_file_does_not_mention_is_a_mistake() -> None:
    apply_rules(PLACES + "rules:\n" + rule("photos", into="a/"))
    [mistake] = mistakes("rules:\n" + rule("scans", into=""))
    assert mistake.startswith("2: rules[0]: Rules scans and photos can write the same keys")


def test_a_destination_by_whose_edit_rules_collide_is_a_mistake() -> None:
    rules = rule("photos", into="") + rule("scans", into="", destination="two")
    apply_rules(PLACES + "rules:\n" + rules)
    [mistake] = mistakes(PLACES.replace("name: two, bucket: two", "name: two, bucket: one"))
    assert mistake.startswith("6: destinations[1]: Rules photos and scans can write the same keys")


def test_a_source_by_whose_edit_rules_collide_is_a_mistake() -> None:
    """Two rules of one bucket with one mapping can't collide; two rules of two buckets can."""
    places = PLACES.replace("scans-bucket", "photos-bucket")
    apply_rules(places + "rules:\n" + rule("photos", into="") + rule("scans", into=""))
    [mistake] = mistakes(PLACES)
    assert mistake.startswith("3: sources[1]: Rules photos and scans can write the same keys")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_prefixes_can_be_swapped_in_whichever_order_the_rules_stand(order: tuple[int, ...]) -> None:
    def apply(*into: str) -> None:
        entries = [
            rule(f"rule-{number}", source=["photos", "scans"][number % 2], into=prefix)
            for number, prefix in enumerate(into)
        ]
        apply_rules(PLACES + "rules:\n" + "".join(entries[number] for number in order))

    apply("a/", "b/", "c/")
    apply("b/", "c/", "a/")
    assert prefixes() == {"rule-0": "b/", "rule-1": "c/", "rule-2": "a/"}


def test_a_dry_run_refuses_too() -> None:
    text = PLACES + "rules:\n" + rule("photos", into="") + rule("scans", into="")
    with pytest.raises(RulesFileError):
        apply_rules(text, dry_run=True)


def test_rules_that_collided_before_can_be_applied_again_and_set_right() -> None:
    photos = a_rule("photos")
    a_rule("scans", destination=photos.destination)
    text = """\
rules:
  - {name: photos, source: photos, destination: photos, source_suffix: .jpg}
  - {name: scans, source: scans, destination: photos}
"""
    apply_rules(text)
    assert ReplicationRule.objects.get(name="photos").source_suffix == ".jpg"
    apply_rules(text.replace("source: scans", "destination_prefix: scans/, source: scans"))
    assert prefixes() == {"photos": "", "scans": "scans/"}
    assert mistakes(text)


def test_collisions_are_not_looked_for_in_a_file_with_other_mistakes() -> None:
    """The rule that has a mistake may be the one that the file moves out of the way."""
    apply_rules(PLACES + "rules:\n" + rule("photos", into="a/"))
    moved = rule("photos", into="b/").replace("}", ", acl: open}")
    [mistake] = mistakes(PLACES + "rules:\n" + moved + rule("scans", into="a/"))
    assert mistake == "8: rules[0].acl: Value 'open' is not a valid choice."
    assert Source.objects.count() == 2
