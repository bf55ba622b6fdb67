"""What a bucket tells, and whom: ours is put beside what is there, and taken out again. Pure.

S3 has one configuration for a bucket, which every write replaces as a whole. So what is written is
always what was read, EventBridge's switch and all, with our part of it exchanged.

S3 refuses two notifications of one event for one key. docs/decisions/provisioning.md says what
follows for rules that share a bucket, and for what others have configured.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

# ObjectRemoved leaves out what a lifecycle rule deletes.
EVENTS = (
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:LifecycleExpiration:*",
    "s3:ObjectRestore:Completed",
)
ID_PREFIX = "s3sync-"
MAX_CONFIGURATIONS = 100  # of a bucket, S3's limit

_TARGETS = {
    "QueueConfigurations": "QueueArn",
    "TopicConfigurations": "TopicArn",
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
}

# In a filter S3 wants other characters in a form that depends on them (a space as `+`, others as
# `%XX`). Asking for a few keys more is right whatever the form: the rules look at each key again.
_PLAIN_START = re.compile(r"[A-Za-z0-9/._-]*")
_PLAIN_END = re.compile(r"[A-Za-z0-9/._-]*\Z")


@dataclass(frozen=True, order=True)
class KeyRange:
    """The keys that begin with the prefix and end with the suffix."""

    prefix: str = ""
    suffix: str = ""

    def meets(self, other: "KeyRange") -> bool:
        """Whether S3 takes it that a key can be in both."""
        return _one_begins(self.prefix, other.prefix) and _one_begins(
            self.suffix[::-1], other.suffix[::-1]
        )

    def covers(self, other: "KeyRange") -> bool:
        """Whether all keys of the other are in this one, too."""
        return other.prefix.startswith(self.prefix) and other.suffix.endswith(self.suffix)

    def __str__(self) -> str:
        parts = [f"begin with {self.prefix!r}"] if self.prefix else []
        parts += [f"end with {self.suffix!r}"] if self.suffix else []
        return f"keys that {' and '.join(parts)}" if parts else "all keys"


@dataclass(frozen=True)
class Notification:
    """One entry of a bucket's configuration: these events of these keys go there."""

    id: str
    target_arn: str
    events: frozenset[str]
    keys: KeyRange

    @property
    def is_ours(self) -> bool:
        return self.id.startswith(ID_PREFIX)

    def __str__(self) -> str:
        return f"{self.id!r} ({', '.join(sorted(self.events))} of {self.keys} → {self.target_arn})"


@dataclass(frozen=True)
class Merged:
    """A bucket's configuration as it should be.

    `heard` are the ranges that we have the bucket tell the queue of; `covered` says that it tells
    the queue of some without us. With obstacles, S3 would refuse the configuration.
    """

    configuration: dict[str, Any]
    heard: tuple[KeyRange, ...]
    covered: bool
    obstacles: tuple[str, ...]


def wanted_range(*, prefix: str, suffix: str) -> KeyRange:
    """The range to ask S3 for, where a rule is for the keys that begin and end so."""
    start, end = _PLAIN_START.match(prefix), _PLAIN_END.search(suffix)
    assert start and end, "both match no character, too"
    return KeyRange(start[0], end[0])


def apart(ranges: Iterable[KeyRange], *, at_most: int = MAX_CONFIGURATIONS) -> list[KeyRange]:
    """Few ranges, no two of which meet, that cover all of these.

    Two that meet become what they have in common, which others may meet in turn.
    """
    left = set(ranges)
    while meeting := next((pair for pair in combinations(sorted(left), 2) if _meet(pair)), None):
        left = left - set(meeting) | {_common(meeting)}
    return sorted(left) if len(left) <= at_most else [_common(left)]


def merge(
    present: Mapping[str, Any], *, queue_arn: str, queue_name: str, ranges: Mapping[str, KeyRange]
) -> Merged:
    """The configuration, with the queue told of all events of these ranges; no ranges: of none.

    What is not ours stays, byte for byte. What others have the bucket tell the same queue is not
    asked for twice.

    Args:
        ranges: by the names of the rules.
    """
    others = [each for each in read_notifications(present) if not _is_ours(each, queue_arn)]
    heard_by_others = [
        each.keys
        for each in others
        if each.target_arn == queue_arn and all(has_event(each, event) for event in EVENTS)
    ]
    asked = {
        rule: keys
        for rule, keys in ranges.items()
        if not any(heard.covers(keys) for heard in heard_by_others)
    }
    heard = apart(asked.values(), at_most=max(1, MAX_CONFIGURATIONS - len(others)))
    ours = [_ours(keys, asked, queue_arn=queue_arn, queue_name=queue_name) for keys in heard]
    there = [each for each in read_notifications(present) if _is_ours(each, queue_arn)]
    # That a rule has another name is no change.
    is_done = {(each.keys, each.events) for each in there} == {
        (keys, frozenset(EVENTS)) for keys in heard
    }
    return Merged(
        without_answer(present) if is_done else _exchanged(present, queue_arn, ours),
        tuple(heard),
        covered=len(asked) < len(ranges),
        obstacles=tuple(_obstacles(heard, others)),
    )


def describe_others(present: Mapping[str, Any], *, queue_arn: str) -> list[str]:
    """What stays as it is, in a few words each."""
    names = [each.id for each in read_notifications(present) if not _is_ours(each, queue_arn)]
    return names + (["EventBridge"] if "EventBridgeConfiguration" in present else [])


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations say the same; S3 keeps no order and no capitals of a filter."""
    return set(read_notifications(one)) == set(read_notifications(other)) and (
        "EventBridgeConfiguration" in one
    ) == ("EventBridgeConfiguration" in other)


def without_answer(present: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an answer of boto3's."""
    return {name: value for name, value in present.items() if name != "ResponseMetadata"}


def _obstacles(heard: Sequence[KeyRange], others: Sequence[Notification]) -> Iterator[str]:
    for other in others:
        shared = [event for event in EVENTS if _shares_event(other, event)]
        if shared and any(keys.meets(other.keys) for keys in heard):
            yield (
                f"S3 takes one notification for an event of a key, and there is {other}. "
                + _way_out(other)
            )


def _way_out(other: Notification) -> str:
    if other.is_ours:
        return (
            "It is that of another queue of s3sync's: name the other buckets with --source, or "
            "take it out there with --destroy first."
        )
    return (
        "Have it go to an SNS topic, or switch EventBridge on for the bucket, and let both "
        "receivers hear from there (docs/guides/provisioning.md, “Another receiver already gets "
        "the events”); or, if it is of no use, remove it. To go on without this "
        "bucket, name the others with --source."
    )


def _exchanged(
    present: Mapping[str, Any], queue_arn: str, ours: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    configuration = without_answer(present)
    kept = [
        entry
        for entry in configuration.pop("QueueConfigurations", [])
        if not _is_ours(_notification(entry, "QueueArn"), queue_arn)
    ]
    if queues := [*kept, *ours]:
        configuration["QueueConfigurations"] = queues
    return configuration


def _ours(
    keys: KeyRange, rules: Mapping[str, KeyRange], *, queue_arn: str, queue_name: str
) -> dict[str, Any]:
    """An entry as S3 wants it, named after the first rule that it is for."""
    first = min(rule for rule, wanted in rules.items() if keys.covers(wanted))
    entry: dict[str, Any] = {
        "Id": f"{ID_PREFIX}{queue_name}-{first}",
        "QueueArn": queue_arn,
        "Events": list(EVENTS),
    }
    filters = [
        {"Name": name, "Value": value}
        for name, value in (("prefix", keys.prefix), ("suffix", keys.suffix))
        if value
    ]
    if filters:
        entry["Filter"] = {"Key": {"FilterRules": filters}}
    return entry


def _is_ours(notification: Notification, queue_arn: str) -> bool:
    # Another installation's are to be let alone: they go to its own queue.
    return notification.is_ours and notification.target_arn == queue_arn


def read_notifications(configuration: Mapping[str, Any]) -> list[Notification]:
    """All entries of a bucket's configuration, whoever is told."""
    return [
        _notification(entry, arn)
        for section, arn in _TARGETS.items()
        for entry in configuration.get(section, [])
    ]


def _notification(entry: Mapping[str, Any], arn: str) -> Notification:
    rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    values = {rule["Name"].lower(): rule.get("Value", "") for rule in rules}
    return Notification(
        entry.get("Id", ""),
        entry[arn],
        frozenset(entry["Events"]),
        KeyRange(values.get("prefix", ""), values.get("suffix", "")),
    )


def has_event(notification: Notification, wanted: str) -> bool:
    """Whether it is about these events: named one by one, or as a family with `*`."""
    return bool(notification.events & {wanted, _family(wanted)})


def _shares_event(notification: Notification, wanted: str) -> bool:
    return has_event(notification, wanted) or (
        wanted == _family(wanted) and any(_family(event) == wanted for event in notification.events)
    )


def _family(event: str) -> str:
    return ":".join([*event.split(":")[:2], "*"])


def _meet(pair: tuple[KeyRange, KeyRange]) -> bool:
    return pair[0].meets(pair[1])


def _common(ranges: Iterable[KeyRange]) -> KeyRange:
    prefixes, turned = zip(*((each.prefix, each.suffix[::-1]) for each in ranges), strict=True)
    return KeyRange(_common_start(prefixes), _common_start(turned)[::-1])


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next(
        (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        len(first),
    )
    return first[:length]


def _one_begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
