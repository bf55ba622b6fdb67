"""Finds rules that collide: they can write two different objects to one destination key.

The admin and the rules file refuse a change that adds a collision, so that each destination key has
one source key. Collisions that are older than this check stay, are reported, and can be edited.
docs/decisions/one-source-key.md says why.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product

from django.core.exceptions import ValidationError
from django.db import connection

from replication.mapping.collisions import (
    KeyMapping,
    Meeting,
    destination_place,
    find_meetings,
    source_place,
)
from replication.mapping.keys import KeyPolicy, rewritten_prefix
from replication.models.locations import Addressing, Destination, Source
from replication.models.rules import ReplicationRule

MAX_NAMED = 10

# PostgreSQL advisory lock: two transactions must not each add a half of a collision.
_LOCK = 0x6D617070  # "mapp"


@dataclass(frozen=True)
class MappedRule:
    """A rule's mapping, and its names for people. `pk` is None if the rule is not saved yet."""

    pk: int | None
    name: str
    source_name: str
    destination_name: str
    enabled: bool
    mapping: KeyMapping


Rules = Mapping[int | None, MappedRule]  # by primary key


@dataclass(frozen=True)
class Collision:
    """Two rules, and how they meet."""

    one: MappedRule
    other: MappedRule
    meeting: Meeting

    def __str__(self) -> str:
        """What is wrong, what it affects, and what to do; for operators."""
        one, other = self.one.name, self.other.name
        ones, others = (_keys(claim.prefix) for claim in (self.meeting.one, self.meeting.other))
        if self.meeting.is_by_rewriting:
            cause = (
                f"{one} rewrites keys that OSS does not accept to {ones}, and {other}, which "
                f"rewrites none, writes {others}"
            )
            fix = "Let both rules rewrite such keys, or neither; or give them different buckets."
        else:
            cause = f"{one} writes {ones}, and {other} writes {others}"
            fix = (
                "Give the rules destination prefixes of which neither begins with the other, or "
                "different buckets. Filters do not keep rules apart."
            )
        return (
            f"Rules {one} and {other} can write the same keys of the bucket "
            f"{self.one.mapping.destination.bucket}: {cause}. Where two objects get the same key, "
            "one replaces the other, and a delete of one deletes the replica of the other. "
            f"{fix}"
        )


def lock_and_read_rules() -> dict[int | None, MappedRule]:
    """Read all rules, and let no other change add a collision until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    return read_rules()


def read_rules(**filters: bool) -> dict[int | None, MappedRule]:
    """Read the rules with these values, in the order of their names."""
    rules = ReplicationRule.objects.filter(**filters).select_related("source", "destination")
    return {rule.pk: map_rule(rule) for rule in rules.order_by("name")}


def map_rule(rule: ReplicationRule) -> MappedRule:
    """The rule's mapping; neither the rule nor its source and destination need be saved."""
    source, destination = rule.source, rule.destination
    rewrites = rule.key_policy == KeyPolicy.REWRITE
    mapping = KeyMapping(
        source=source_place(
            endpoint_url=source.endpoint_url, region=source.region, bucket=source.bucket
        ),
        source_prefix=rule.source_prefix,
        destination=destination_place(
            endpoint=destination.endpoint,
            bucket=destination.bucket,
            is_custom_domain=destination.addressing == Addressing.CUSTOM_DOMAIN,
        ),
        wanted_prefix=rule.destination_key(rule.source_prefix),
        rewritten_prefix=rewritten_prefix(rule.destination_prefix) if rewrites else None,
    )
    return MappedRule(rule.pk, rule.name, source.name, destination.name, rule.enabled, mapping)


def find_collisions(rules: Rules) -> Iterator[Collision]:
    """Yield the collisions of these rules, enabled or not."""
    by_mapping: defaultdict[KeyMapping, list[MappedRule]] = defaultdict(list)
    for rule in rules.values():
        by_mapping[rule.mapping].append(rule)
    for meeting in find_meetings(by_mapping):
        for one, other in product(
            by_mapping[meeting.one.mapping], by_mapping[meeting.other.mapping]
        ):
            yield Collision(one, other, meeting)


def find_new_collisions(rules: Rules, *, before: Rules) -> Iterator[Collision]:
    """Yield the collisions that were not there before, or that were but are only now effective.

    A collision is new where the rules can meet at keys at which they could not meet before, or if
    one of the rules was disabled and is enabled now. So colliding rules can be edited, and set
    right one by one.
    """
    for collision in find_collisions(rules):
        if _is_new(collision, before):
            yield collision


def refuse_new_collisions(changed: ReplicationRule | Source | Destination) -> None:
    """Refuse a row, not saved yet, that would add a collision.

    Call it in the transaction that saves the row.

    Raises:
        ValidationError: names the first MAX_NAMED collisions.
    """
    before = lock_and_read_rules()
    after = before | {rule.pk: map_rule(rule) for rule in _rules_with(changed)}
    found = list(islice(find_new_collisions(after, before=before), MAX_NAMED))
    if found:
        raise ValidationError([str(collision) for collision in found])


def _rules_with(changed: ReplicationRule | Source | Destination) -> list[ReplicationRule]:
    """The rules that the change concerns, with the changed values."""
    if isinstance(changed, ReplicationRule):
        return [changed]
    if changed._state.adding:
        return []
    # Django gives each of these rules this very row, which is not saved yet.
    other_side = "destination" if isinstance(changed, Source) else "source"
    return list(changed.rules.select_related(other_side))


def _is_new(collision: Collision, before: Rules) -> bool:
    rules = [collision.one, collision.other]
    earlier = [before[rule.pk] for rule in rules if rule.pk in before]
    if earlier == rules:
        return False  # as below, but faster: the usual case where many rules collide already
    if len(earlier) < len(rules):
        return True
    if any(now.enabled and not then.enabled for now, then in zip(rules, earlier, strict=True)):
        return True
    known = find_meetings(rule.mapping for rule in earlier)
    return not any(collision.meeting.prefix.startswith(each.prefix) for each in known)


def _keys(prefix: str) -> str:
    return f"keys that begin with {prefix!r}" if prefix else "any key"
