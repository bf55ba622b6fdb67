"""Adds our entries to a bucket's notification configuration, and removes them again. Pure.

S3 has one configuration for a bucket, and each write replaces all of it. So what is written is
always what was read, the EventBridge switch included, with only our entries replaced.

S3 refuses two notifications of the same event for the same key. docs/decisions/provisioning.md
says what follows for rules that share a bucket, and for entries of others.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

# ObjectRemoved does not include the deletes of a lifecycle rule.
OBJECT_EVENTS = (
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:LifecycleExpiration:*",
    "s3:ObjectRestore:Completed",
)
# Every rule of an S3 bucket asks for tags. They are the only events that may go to others instead.
TAG_EVENTS = "s3:ObjectTagging:*"
EVENTS = (*OBJECT_EVENTS, TAG_EVENTS)
ID_PREFIX = "s3sync-"
MAX_ENTRIES = 100  # S3's limit for a bucket

_TARGETS = {
    "QueueConfigurations": "QueueArn",
    "TopicConfigurations": "TopicArn",
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
}

# S3 wants other characters of a filter in an encoding that depends on the character (a space as
# `+`, others as `%XX`). A filter without them asks for a few more keys, which is always right: each
# event's key is matched against the rules again.
_PLAIN_START = re.compile(r"[A-Za-z0-9/._-]*")
_PLAIN_END = re.compile(r"[A-Za-z0-9/._-]*\Z")


@dataclass(frozen=True, order=True)
class KeyRange:
    """The keys that begin with the prefix and end with the suffix."""

    prefix: str = ""
    suffix: str = ""

    def overlaps(self, other: "KeyRange") -> bool:
        """Whether S3 assumes that a key can be in both ranges."""
        return _one_begins(self.prefix, other.prefix) and _one_begins(
            self.suffix[::-1], other.suffix[::-1]
        )

    def covers(self, other: "KeyRange") -> bool:
        """Whether all keys of the other range are in this one."""
        return other.prefix.startswith(self.prefix) and other.suffix.endswith(self.suffix)

    def __str__(self) -> str:
        parts = [f"begin with {self.prefix!r}"] if self.prefix else []
        parts += [f"end with {self.suffix!r}"] if self.suffix else []
        return f"keys that {' and '.join(parts)}" if parts else "all keys"


@dataclass(frozen=True)
class Notification:
    """One entry of a bucket's configuration: these events of these keys go to this target."""

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

    `ranges` are the ranges of our entries. `is_covered_by_others` says that entries of others
    notify the queue of some wanted ranges already. `tag_receivers` are the entries of others that
    get the events of tags of some keys in place of the queue. With obstacles, S3 would refuse the
    configuration.
    """

    configuration: dict[str, Any]
    ranges: tuple[KeyRange, ...]
    is_covered_by_others: bool
    tag_receivers: tuple[str, ...]
    obstacles: tuple[str, ...]


def wanted_range(*, prefix: str, suffix: str) -> KeyRange:
    """The range to ask S3 for, if a rule is for the keys with this prefix and suffix."""
    start, end = _PLAIN_START.match(prefix), _PLAIN_END.search(suffix)
    assert start and end, "both patterns also match an empty text"
    return KeyRange(start[0], end[0])


def disjoint_ranges(ranges: Iterable[KeyRange], *, limit: int = MAX_ENTRIES) -> list[KeyRange]:
    """Ranges that cover all of these, no two of which overlap; more than `limit` become one.

    Two ranges that overlap become the smallest range that covers both, which may overlap others in
    turn.
    """
    found = set(ranges)
    while pair := next((each for each in combinations(sorted(found), 2) if _overlap(each)), None):
        found = found - set(pair) | {_smallest_cover(pair)}
    return sorted(found) if len(found) <= limit else [_smallest_cover(found)]


def merge(
    present: Mapping[str, Any], *, queue_arn: str, queue_name: str, ranges: Mapping[str, KeyRange]
) -> Merged:
    """The configuration with entries that notify the queue of all events of these ranges.

    Entries that are not ours stay, byte for byte. A range that an entry of others covers for the
    same queue gets no entry of ours, and one whose events of tags go to others gets an entry
    without them. Without ranges, all our entries for the queue are removed.

    Args:
        ranges: by the names of the rules.
    """
    others = [each for each in read_notifications(present) if not _is_ours(each, queue_arn)]
    covered = [
        each.keys
        for each in others
        if each.target_arn == queue_arn and all(has_event(each, event) for event in OBJECT_EVENTS)
    ]
    needed = {
        rule: keys
        for rule, keys in ranges.items()
        if not any(each.covers(keys) for each in covered)
    }
    entry_ranges = disjoint_ranges(needed.values(), limit=max(1, MAX_ENTRIES - len(others)))
    for_tags = [each for each in others if _shares_event(each, TAG_EVENTS)]
    tag_receivers = {
        keys: [each for each in for_tags if each.keys.overlaps(keys)] for keys in entry_ranges
    }
    events = {keys: OBJECT_EVENTS if tag_receivers[keys] else EVENTS for keys in entry_ranges}
    ours = [
        _entry(keys, needed, events=events[keys], queue_arn=queue_arn, queue_name=queue_name)
        for keys in entry_ranges
    ]
    existing = [each for each in read_notifications(present) if _is_ours(each, queue_arn)]
    # The rule's name in an Id is not compared: a renamed rule is no change.
    is_done = {(each.keys, each.events) for each in existing} == {
        (keys, frozenset(events[keys])) for keys in entry_ranges
    }
    return Merged(
        without_answer(present) if is_done else _replace_ours(present, queue_arn, ours),
        tuple(entry_ranges),
        is_covered_by_others=len(needed) < len(ranges),
        tag_receivers=tuple(
            sorted({str(each) for some in tag_receivers.values() for each in some})
        ),
        obstacles=tuple(_obstacles(entry_ranges, others)),
    )


def describe_others(present: Mapping[str, Any], *, queue_arn: str) -> list[str]:
    """The names of the entries that stay as they are, and of the EventBridge switch."""
    names = [each.id for each in read_notifications(present) if not _is_ours(each, queue_arn)]
    return names + (["EventBridge"] if "EventBridgeConfiguration" in present else [])


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations mean the same: S3 may change the order and a filter's capitals."""
    return set(read_notifications(one)) == set(read_notifications(other)) and (
        "EventBridgeConfiguration" in one
    ) == ("EventBridgeConfiguration" in other)


def without_answer(present: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration itself, without what boto3 adds to an answer."""
    return {name: value for name, value in present.items() if name != "ResponseMetadata"}


def _obstacles(ranges: Sequence[KeyRange], others: Sequence[Notification]) -> Iterator[str]:
    for other in others:
        shared = [event for event in OBJECT_EVENTS if _shares_event(other, event)]
        if shared and any(keys.overlaps(other.keys) for keys in ranges):
            yield (
                "S3 allows only one notification for an event of a key, and the bucket already has "
                f"{other}. {_fix_for(other)}"
            )


def _fix_for(other: Notification) -> str:
    if other.is_ours:
        return (
            "It notifies another queue of s3sync's. Leave this bucket out by naming the other "
            "sources with --source, or first remove it from that queue with --destroy."
        )
    return (
        "Send its events to an SNS topic, or switch EventBridge on for the bucket, and let both "
        "receivers get the events from there (docs/guides/provisioning.md, “Another receiver "
        "already gets the events”); or remove it, if it is not needed. To leave this bucket out, "
        "name the other sources with --source."
    )


def _replace_ours(
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


def _entry(
    keys: KeyRange,
    rules: Mapping[str, KeyRange],
    *,
    events: Sequence[str],
    queue_arn: str,
    queue_name: str,
) -> dict[str, Any]:
    """An entry in S3's form, named after the first rule that it is for."""
    first = min(rule for rule, wanted in rules.items() if keys.covers(wanted))
    entry: dict[str, Any] = {
        "Id": f"{ID_PREFIX}{queue_name}-{first}",
        "QueueArn": queue_arn,
        "Events": list(events),
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
    # The entries of another installation stay: they go to its own queue.
    return notification.is_ours and notification.target_arn == queue_arn


def read_notifications(configuration: Mapping[str, Any]) -> list[Notification]:
    """All entries of a bucket's configuration, for targets of any kind."""
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
    """Whether the entry has this event, by its own name or by the `*` of its family."""
    return bool(notification.events & {wanted, _family(wanted)})


def _shares_event(notification: Notification, wanted: str) -> bool:
    return has_event(notification, wanted) or (
        wanted == _family(wanted) and any(_family(event) == wanted for event in notification.events)
    )


def _family(event: str) -> str:
    return ":".join([*event.split(":")[:2], "*"])


def _overlap(pair: tuple[KeyRange, KeyRange]) -> bool:
    return pair[0].overlaps(pair[1])


def _smallest_cover(ranges: Iterable[KeyRange]) -> KeyRange:
    prefixes, reversed_suffixes = zip(
        *((each.prefix, each.suffix[::-1]) for each in ranges), strict=True
    )
    return KeyRange(_common_start(prefixes), _common_start(reversed_suffixes)[::-1])


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next(
        (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        len(first),
    )
    return first[:length]


def _one_begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
