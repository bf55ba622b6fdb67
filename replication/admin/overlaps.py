"""Finds rules that can write to the same keys of a destination.

It can report two rules that never overlap, because it compares only the literal beginnings and
ends of globs. It misses no overlap, except of rewritten keys (docs/decisions/reversible-keys.md
says when these can meet other keys).
"""

import re

from replication.mapping.filters import parse_globs
from replication.models import ReplicationRule

_WILDCARD = re.compile(r"[*?\[]")
_UP_TO_LAST_WILDCARD = re.compile(r".*[*?\]]", re.DOTALL)


def overlapping_rules(rule: ReplicationRule) -> list[ReplicationRule]:
    """The other rules, also disabled ones, that can write to a destination key of this rule."""
    others = ReplicationRule.objects.filter(destination=rule.destination).exclude(pk=rule.pk)
    return [
        other
        for other in others
        if any(
            _overlap(one, another)
            for one in _destination_patterns(rule)
            for another in _destination_patterns(other)
        )
        and not _includes_only_what_other_excludes(rule, other)
        and not _includes_only_what_other_excludes(other, rule)
    ]


def _destination_patterns(rule: ReplicationRule) -> list[tuple[str, str]]:
    """Pairs of a prefix and a suffix; each destination key of the rule has one such pair."""
    patterns = []
    for pattern in parse_globs(rule.include) or ("**",):
        head, tail = _literal_prefix(pattern), _literal_suffix(pattern)
        if _prefixes_can_match(head, rule.source_prefix) and _suffixes_can_match(
            tail, rule.source_suffix
        ):
            start = rule.destination_key(max(head, rule.source_prefix, key=len))
            end = max(tail, rule.source_suffix, key=len)
            if rule.strip_source_prefix and _can_share_characters(rule.source_prefix, end):
                end = ""  # stripping the prefix may take off a part of it
            patterns.append((start, end))
    return patterns


def _can_share_characters(prefix: str, suffix: str) -> bool:
    shorter = min(len(prefix), len(suffix))
    return any(prefix.endswith(suffix[:length]) for length in range(1, shorter + 1))


def _literal_prefix(pattern: str) -> str:
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def _literal_suffix(pattern: str) -> str:
    front = _UP_TO_LAST_WILDCARD.match(pattern)
    if not front:
        return pattern
    tail = pattern[front.end() :]
    # "**/a" matches "a" too.
    return tail.removeprefix("/") if front[0].endswith("**") else tail


def _includes_only_what_other_excludes(rule: ReplicationRule, other: ReplicationRule) -> bool:
    included, excluded = set(parse_globs(rule.include)), set(parse_globs(other.exclude))
    return bool(included) and included <= excluded and _mapping(rule) == _mapping(other)


def _mapping(rule: ReplicationRule) -> tuple[str, str]:
    """Equal for two rules that map every source key to the same destination key."""
    return rule.source_prefix if rule.strip_source_prefix else "", rule.destination_prefix


def _overlap(one: tuple[str, str], another: tuple[str, str]) -> bool:
    return _prefixes_can_match(one[0], another[0]) and _suffixes_can_match(one[1], another[1])


def _prefixes_can_match(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _suffixes_can_match(one: str, other: str) -> bool:
    return one.endswith(other) or other.endswith(one)
