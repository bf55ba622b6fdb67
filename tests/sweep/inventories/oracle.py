"""What a comparison of two inventories must find, in plain Python, apart from the product."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from replication.models import ReplicationRule
from tests.sweep.inventories.samples import Entry, can_be_in_oss

MARK = ".s3sync-key/"


@dataclass
class Expected:
    """By key of the source: why to look at it. And what is no candidate."""

    reasons: dict[str, str] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    extra: set[str] = field(default_factory=set)


def expect(
    rule: ReplicationRule,
    sources: list[Entry],
    replicas: list[Entry],
    *,
    covers: Callable[[str], bool] = lambda _key: True,
    shows_encryption: bool = True,
) -> Expected:
    """`covers` is the rule's filter, but for its prefix."""
    found = Expected()
    left = {each.key: each for each in replicas if each.is_latest and not each.is_delete_marker}
    head = rule.destination_prefix
    for source in sources:
        key = source.key
        is_covered = key.startswith(rule.source_prefix) and covers(key)
        if not source.is_latest or source.is_delete_marker or not is_covered:
            continue
        wanted = head + (key[len(rule.source_prefix) :] if rule.strip_source_prefix else key)
        replica = left.pop(wanted, None)
        is_odd, rewrites = not can_be_in_oss(wanted), rule.key_policy == "rewrite"
        is_archived = source.storage_class == "DEEP_ARCHIVE" and rule.archive_policy == "fail"
        if "\0" in key or (is_odd and not rewrites):
            found.refused.add(key)
        elif rewrites and (is_odd or MARK in wanted):
            found.reasons[key] = "rewritten"
        elif replica is None and is_archived:
            found.archived.add(key)
        elif replica is None:
            found.reasons[key] = "missing"
        elif reason := compare(source, replica, shows_encryption=shows_encryption):
            found.reasons[key] = reason
    for key in left:
        if not key.startswith(head) or key.startswith(head + MARK):
            continue
        original = (rule.source_prefix if rule.strip_source_prefix else "") + key[len(head) :]
        if original.startswith(rule.source_prefix) and covers(original):
            found.extra.add(key)
    return found


def compare(source: Entry, replica: Entry, *, shows_encryption: bool) -> str:
    if source.size != replica.size:
        return "size"
    of_bytes = re.fullmatch("[0-9a-f]{32}", source.etag)
    if shows_encryption and source.encryption == "SSE-KMS":
        of_bytes = None
    both = of_bytes and re.fullmatch("[0-9A-Fa-f]{32}", replica.etag)
    if both and source.etag == replica.etag.lower():
        return ""
    if replica.modified < source.modified - timedelta(minutes=1):
        return "older"
    return "etag" if both else ""
