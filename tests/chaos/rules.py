"""The rules of a chaos run: what they ask for, where that goes, and the edits that change them."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from replication.mapping.filters import key_filter
from replication.mapping.ownership import source_mark

REPLICA, SECOND = "replica", "second"  # names of destinations
BACK = 0.4  # the share of edits that are undone soon
BACK_SECONDS = 0.3
SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 4.0

Place = tuple[str, str]  # the name of a destination, and a key there


@dataclass(frozen=True)
class Rule:
    """A rule's fields, as the rules file names them."""

    name: str
    destination: str = REPLICA
    source_prefix: str = ""
    strip_source_prefix: bool = False
    destination_prefix: str = ""
    exclude: str = ""
    delete_policy: str = "mirror"
    metadata_policy: str = "fail"
    tag_policy: str = "fail"

    @property
    def fields(self) -> dict[str, str | bool]:
        return asdict(self)

    def asks_for(self, key: str) -> bool:
        return key_filter(self.source_prefix, "", "", self.exclude).matches(key)

    def place(self, key: str) -> Place:
        """Where the replica of this key of the source belongs."""
        rest = key.removeprefix(self.source_prefix) if self.strip_source_prefix else key
        return self.destination, self.destination_prefix + rest


Rules = tuple[Rule, ...]

WITHOUT_EDITS: Rules = (Rule("mirror"),)
# Whatever is edited, the two rules never write to the same key. Nor does one rule ever map two keys
# of the source to one key: each key of the source ends with a number of its own.
BEFORE_EDITS: Rules = (
    Rule("one", destination_prefix="one/"),
    Rule("two", SECOND, source_prefix="1", destination_prefix="two/"),
)
_CHOICES: dict[str, tuple[str | bool, ...]] = {
    "destination": (REPLICA, SECOND),
    "source_prefix": ("", "1", "1/"),
    "strip_source_prefix": (False, True),
    "exclude": ("", "3/**", "**/*7", "**/plain/**"),
    "delete_policy": ("mirror", "keep"),
    "metadata_policy": ("fail", "drop", "rewrite"),
    "tag_policy": ("fail", "drop"),
}
_PREFIXES = {"one": ("one/", "one/moved/"), "two": ("two/", "moved/two/")}


@dataclass(frozen=True)
class Edit:
    """A change of one field, and all rules as they are after it.

    `is_by_file` says whether `applyrules` makes it; otherwise it is an UPDATE of the table.
    """

    at_seconds: float
    name: str
    field: str
    rules: Rules
    is_by_file: bool

    @property
    def value(self) -> str | bool:
        return next(rule.fields[self.field] for rule in self.rules if rule.name == self.name)


def plan_edits(chance: random.Random, *, seconds: float) -> list[Edit]:
    """Edits every few seconds, some of them back and forth."""
    edits: list[Edit] = []
    rules = BEFORE_EDITS
    at_seconds = SHORTEST_INTERVAL_SECONDS
    while at_seconds < seconds:
        rule = chance.choice(rules)
        choices = {**_CHOICES, "destination_prefix": _PREFIXES[rule.name]}
        field = chance.choice(sorted(choices))
        value = chance.choice([each for each in choices[field] if each != rule.fields[field]])
        edited = _with(rules, rule.name, field, value)
        edits.append(Edit(at_seconds, rule.name, field, edited, chance.random() < 0.3))
        if chance.random() < BACK:
            back = at_seconds + BACK_SECONDS
            edits.append(Edit(back, rule.name, field, rules, is_by_file=False))
        else:
            rules = edited
        at_seconds += chance.uniform(SHORTEST_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS)
    return edits


def _with(rules: Rules, name: str, field: str, value: str | bool) -> Rules:
    changes: dict[str, Any] = {field: value}
    return tuple(replace(rule, **changes) if rule.name == name else rule for rule in rules)


def places(states: Iterable[Rules], keys: Sequence[str]) -> dict[Place, set[str]]:
    """Each place that a rule ever mapped one of these keys to, with the keys."""
    found: dict[Place, set[str]] = {}
    for rule in {rule for rules in states for rule in rules}:
        for key in keys:
            if key.startswith(rule.source_prefix):
                found.setdefault(rule.place(key), set()).add(key)
    return found


def marks(states: Iterable[Rules], keys: Sequence[str], *, bucket: str) -> dict[Place, set[str]]:
    """The marks that replicas of these keys may carry at each place."""
    return {
        place: {source_mark(bucket, key) for key in mapped}
        for place, mapped in places(states, keys).items()
    }
