"""Two buckets that differ in every way."""

import hashlib
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from replication.models import Destination, ReplicationRule, Source

SOURCE_BUCKET, DESTINATION_BUCKET = "photos", "replica"
BEGAN = datetime(2026, 11, 29, 1, tzinfo=UTC)

ODD_KEYS = [
    *("a b", "a+b", "a%20b", "100%", "%2B", "a%zz", "tab\there", "line\nbreak", "line\r\nbreak"),
    *('quote"d', "it's", "a,b", ';"', "back\\slash", "\\first", "/first", "//", ".", ".."),
    *("ümlaut", "u\u0308mlaut", "图片/一", "emoji \U0001f600", "private \ue000", "\ufffd"),
    *("\uffff", "trailing ", " leading", "NULL", "true", "#", "*", "[x]", "x" * 1024, "é" * 400),
    *(
        ".s3sync-key/escaped/x",
        "a/.s3sync-key/b",
        "bell\x07",
        "~",
        "a//b",
        "=1+1",
        "-",
        "photos/Key",
    ),
]


KINDS = [
    *("equal", "equal", "equal", "missing", "archived", "extra", "size", "older", "etag"),
    *("older and equal", "a little older", "in_parts", "kms"),
]


@dataclass(frozen=True)
class Entry:
    """A version of an object, as an inventory lists it."""

    key: str
    size: int = 10
    etag: str = "0" * 32
    modified: datetime = BEGAN
    storage_class: str = "STANDARD"
    encryption: str = "NOT-SSE"
    is_latest: bool = True
    is_delete_marker: bool = False


def rule_of(**fields: Any) -> ReplicationRule:
    """A rule that needs no database."""
    source = Source(name="s", bucket=SOURCE_BUCKET, region="eu-central-1")
    destination = Destination(name="d", bucket=DESTINATION_BUCKET)
    return ReplicationRule(name="rule", source=source, destination=destination, **fields)


def md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogatepass")).hexdigest()


def two_buckets(
    rule: ReplicationRule, *, keys: int, with_versions: bool, seed: int = 1
) -> tuple[list[Entry], list[Entry]]:
    """The entries of the rule's two buckets, in no order."""
    chance = random.Random(seed)
    names = [*ODD_KEYS, *(f"{chance.choice(ODD_KEYS[:30])}/{number}.jpg" for number in range(keys))]
    prefix = rule.source_prefix
    names = [prefix + name for name in names if len((prefix + name).encode()) <= 1024]
    names += [f"elsewhere/{number}" for number in range(keys // 20)]
    sources: list[Entry] = []
    replicas: list[Entry] = []
    for key in names:
        modified = BEGAN - timedelta(seconds=chance.randrange(10**7))
        source, replica = pair(
            chance.choice(KINDS), Entry(key, chance.randrange(10**9), md5(key), modified), rule
        )
        sources += [source] if source else []
        replicas += [replica] if replica and can_be_in_oss(replica.key) else []
    if with_versions:
        sources += history(sources, chance)
        replicas += history(replicas, chance)
    chance.shuffle(sources)
    chance.shuffle(replicas)
    return sources, replicas


def pair(kind: str, source: Entry, rule: ReplicationRule) -> tuple[Entry | None, Entry | None]:
    """The two sides of a key."""
    replica = replace(
        source,
        key=rule.destination_key(source.key),
        etag=source.etag.upper(),
        modified=source.modified + timedelta(seconds=5),
        storage_class="Standard",
    )
    in_parts = replace(source, etag=f"{source.etag}-7")
    unlike = replace(replica, etag=md5(source.key + "?"))
    older = replace(replica, modified=source.modified - timedelta(seconds=61))
    a_little_older = replace(replica, modified=source.modified - timedelta(seconds=59))
    sides: dict[str, tuple[Entry | None, Entry | None]] = {
        "equal": (source, replica),
        "missing": (source, None),
        "archived": (replace(source, storage_class="DEEP_ARCHIVE"), None),
        "extra": (None, replica),
        "size": (source, replace(replica, size=source.size + 1)),
        "older": (in_parts, older),
        "a little older": (in_parts, a_little_older),
        "older and equal": (source, older),
        "etag": (source, unlike),
        "in_parts": (in_parts, unlike),
        "kms": (replace(source, encryption="SSE-KMS"), unlike),
    }
    return sides[kind]


def history(entries: list[Entry], chance: random.Random) -> list[Entry]:
    """Older versions of some objects, and deleted objects."""
    some = chance.sample(entries, len(entries) // 3)
    past = [replace(each, size=each.size + 5, is_latest=False) for each in some]
    markers = [Entry(f"deleted/{number}", is_delete_marker=True) for number in range(50)]
    deleted = [Entry(f"deleted/{number}", is_latest=False) for number in range(50)]
    return past + markers + deleted


def can_be_in_oss(key: str) -> bool:
    return (
        len(key.encode()) < 1024
        and key[0] not in "/\\"
        and key not in {".", ".."}
        and not any(
            (ord(each) < 32 and each not in "\t\n") or each in "\ufffe\uffff" for each in key
        )
    )
