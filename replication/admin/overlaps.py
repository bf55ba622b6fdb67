"""Which rules can write to the same keys of a destination.

It may name two that never will, as whether two globs have a key in common is only looked into as
far as what they begin and end with. It keeps silent about none that do, but for keys that are
rewritten (docs/decisions/reversible-keys.md says when these can meet others).
"""

import re

from replication.mapping.filters import parse_globs
from replication.models import ReplicationRule

_WILDCARD = re.compile(r"[*?\[]")
_UP_TO_LAST_WILDCARD = re.compile(r".*[*?\]]", re.DOTALL)


def writers_of_the_same_place(rule: ReplicationRule) -> list[ReplicationRule]:
    """The other rules, also disabled ones, that can write to a key that this one can write to."""
    others = ReplicationRule.objects.filter(destination=rule.destination).exclude(pk=rule.pk)
    return [
        other
        for other in others
        if any(_meet(one, another) for one in _places(rule) for another in _places(other))
        and not _takes_what_the_other_leaves(rule, other)
        and not _takes_what_the_other_leaves(other, rule)
    ]


def _places(rule: ReplicationRule) -> list[tuple[str, str]]:
    """What the keys at the destination begin and end with; one of these for each of them."""
    places = []
    for pattern in parse_globs(rule.include) or ("**",):
        head, tail = _head(pattern), _tail(pattern)
        if _one_begins_with_the_other(head, rule.source_prefix) and _one_ends_with_the_other(
            tail, rule.source_suffix
        ):
            start = rule.destination_key(max(head, rule.source_prefix, key=len))
            end = max(tail, rule.source_suffix, key=len)
            if rule.strip_source_prefix and _can_overlap(rule.source_prefix, end):
                end = ""  # some of it may be taken off with the prefix
            places.append((start, end))
    return places


def _can_overlap(prefix: str, suffix: str) -> bool:
    shorter = min(len(prefix), len(suffix))
    return any(prefix.endswith(suffix[:length]) for length in range(1, shorter + 1))


def _head(pattern: str) -> str:
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def _tail(pattern: str) -> str:
    front = _UP_TO_LAST_WILDCARD.match(pattern)
    if not front:
        return pattern
    tail = pattern[front.end() :]
    # "**/a" matches "a" too.
    return tail.removeprefix("/") if front[0].endswith("**") else tail


def _takes_what_the_other_leaves(rule: ReplicationRule, other: ReplicationRule) -> bool:
    included, left = set(parse_globs(rule.include)), set(parse_globs(other.exclude))
    return bool(included) and included <= left and _mapping(rule) == _mapping(other)


def _mapping(rule: ReplicationRule) -> tuple[str, str]:
    """The same for two rules that keep a key of theirs at the same place."""
    return rule.source_prefix if rule.strip_source_prefix else "", rule.destination_prefix


def _meet(one: tuple[str, str], another: tuple[str, str]) -> bool:
    return _one_begins_with_the_other(one[0], another[0]) and _one_ends_with_the_other(
        one[1], another[1]
    )


def _one_begins_with_the_other(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _one_ends_with_the_other(one: str, other: str) -> bool:
    return one.endswith(other) or other.endswith(one)
