"""What S3 allows as an object's name and OSS does not, found before a byte moves.

Every other key survives byte for byte: `a//b`, `a/./b`, `a/../b`, a slash at the end, spaces,
plus, percent, any normal form of Unicode. https://help.aliyun.com/document_detail/31827.html
has OSS's rules; the rest is about the way there:

- `.` and `..` as a whole key collapse to a request on the bucket itself.
- Control characters other than tab and line feed, U+FFFE and U+FFFF do not exist in XML 1.0, and
  XML's readers turn a carriage return into a line feed. OSS itself seems to store them: its
  documents offer `encoding-type=url` to have such keys back. But an answer without that, such as
  oss2's to the begin of a multipart upload, the request of a batch delete, or the console's
  list can't carry them. A replica that the usual tools can't list or delete is none.
- Half a surrogate pair has no UTF-8.

docs/decisions/reversible-keys.md says why keys are rewritten as they are here.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import ErrorCode, ReplicationError
from replication.mapping import percent
from replication.mapping.metadata import (
    PROVENANCE_ETAG,
    PROVENANCE_KEY,
    PROVENANCE_VERSION,
    check_user_metadata,
)
from replication.mapping.parts import MAX_PUT_BYTES, check_size

__all__ = [
    "MAX_OSS_KEY_BYTES",
    "MAX_PUT_BYTES",
    "PROVENANCE_ETAG",
    "PROVENANCE_KEY",
    "PROVENANCE_VERSION",
    "REWRITTEN_MARK",
    "KeyPolicy",
    "PlannedKey",
    "SkippedKey",
    "check_destination_key",
    "check_size",
    "check_user_metadata",
    "key_problem",
    "original_key",
    "plan_key",
]

MAX_OSS_KEY_BYTES = 1023

# Where rewritten keys live, below the rule's own prefix. A key of the source that contains the
# mark is rewritten too, so what stands behind a mark is always ours.
REWRITTEN_MARK = ".s3sync-key/"
_ESCAPED = REWRITTEN_MARK + "escaped/"
_HASHED = REWRITTEN_MARK + "sha256/"

_NOT_IN_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_DOTS = {".", ".."}


class KeyPolicy(StrEnum):
    """What becomes of an object whose key OSS can't have. The values are stored."""

    FAIL = "fail"  # the job fails, with the reason
    SKIP = "skip"  # the object is left out, with the reason on record
    REWRITE = "rewrite"  # it gets another key, from which the wanted one can be had back


@dataclass(frozen=True)
class PlannedKey:
    """The key at the destination, and the wanted one if it is another."""

    key: str
    original: str | None = None

    @property
    def is_rewritten(self) -> bool:
        return self.original is not None

    @property
    def provenance(self) -> dict[str, str]:
        """The user metadata that a rewritten replica must carry; `original_key` reads it."""
        if self.original is None:
            return {}
        return {PROVENANCE_KEY: percent.encode(_bytes(self.original))}


@dataclass(frozen=True)
class SkippedKey:
    """The object is to be left out."""

    reason: str


def plan_key(wanted_key: str, *, policy: KeyPolicy, prefix: str = "") -> PlannedKey | SkippedKey:
    """Where the replica goes whose key should be `wanted_key`.

    A possible key is never changed, but for one under REWRITE that contains REWRITTEN_MARK; a
    rewritten key is possible. Two wanted keys never meet at one, also not those of rules with
    different prefixes in the same bucket; where a hash stands for a key that is too long, that is
    short of two keys with one SHA-256. A rule with another policy that has keys with the mark can
    break this for the rules beside it: it copies them as they are.

    Args:
        wanted_key: prefix and all.
        prefix: what it begins with that is to be kept in front, where that is possible: the
            rule's destination prefix, so that a rewritten key stays inside it.

    Raises:
        ReplicationError: KEY_INCOMPATIBLE, under FAIL.
    """
    assert wanted_key.startswith(prefix), "the prefix is what the key begins with"
    problem = key_problem(wanted_key)
    if policy == KeyPolicy.REWRITE and (problem or REWRITTEN_MARK in wanted_key):
        return PlannedKey(_rewritten(wanted_key, prefix=prefix), original=wanted_key)
    if not problem:
        return PlannedKey(wanted_key)
    if policy == KeyPolicy.SKIP:
        return SkippedKey(problem)
    raise _incompatible(problem)


def original_key(destination_key: str, metadata: Mapping[str, str]) -> str:
    """The key that a replica should have had; its own if it was not rewritten.

    Args:
        metadata: the replica's user metadata. The key alone would not do: a hash can't be read
            back, and under FAIL and SKIP a key with the mark is nothing but a key.
    """
    head, mark, _ = destination_key.rpartition(REWRITTEN_MARK)
    if not mark or PROVENANCE_KEY not in metadata:
        return destination_key
    try:
        original = percent.decode(metadata[PROVENANCE_KEY]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return destination_key  # somebody else's field
    # One that went along when the replica was copied to another name means nothing there.
    is_ours = original.startswith(head) and _rewritten(original, prefix=head) == destination_key
    return original if is_ours else destination_key


def key_problem(key: str) -> str:
    """Why OSS, or the way to it, can't carry this key; empty if it can."""
    if match := _NOT_IN_XML.search(key):
        return f"it has the character U+{ord(match[0]):04X}, which OSS's XML can't carry"
    size = len(key.encode())
    if not 1 <= size <= MAX_OSS_KEY_BYTES:
        return f"it has {size} bytes; OSS allows 1 to {MAX_OSS_KEY_BYTES}"
    if key[0] in "/\\":
        return f"it begins with {key[0]!r}; OSS refuses that"
    if key in _DOTS:
        return "as a URL path it would mean the bucket itself"
    return ""


def check_destination_key(key: str) -> None:
    """Refuse a key that OSS, or the way to it, can't carry.

    Raises:
        ReplicationError: KEY_INCOMPATIBLE, with the reason.
    """
    if problem := key_problem(key):
        raise _incompatible(problem)


def _rewritten(wanted_key: str, *, prefix: str) -> str:
    head = prefix if _can_stand_in_front(prefix) else ""
    escaped = f"{head}{_ESCAPED}{_escaped(wanted_key.removeprefix(head))}"
    if len(escaped.encode()) <= MAX_OSS_KEY_BYTES:
        return escaped
    return f"{head}{_HASHED}{hashlib.sha256(_bytes(wanted_key)).hexdigest()}"


def _can_stand_in_front(prefix: str) -> bool:
    return not key_problem(f"{prefix}{_HASHED}{'0' * 64}")


def _escaped(tail: str) -> str:
    """The text with the least possible of it as `%XX`, and no mark in it."""
    if tail[:1] in {"/", "\\"} or tail in _DOTS:
        first, rest = f"%{ord(tail[0]):02X}", tail[1:]
    else:
        first, rest = "", tail
    rest = rest.replace("%", "%25").replace(REWRITTEN_MARK, f"%2E{REWRITTEN_MARK[1:]}")
    return first + _NOT_IN_XML.sub(lambda match: percent.encode(_bytes(match[0])), rest)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _incompatible(problem: str) -> ReplicationError:
    return ReplicationError(
        ErrorCode.KEY_INCOMPATIBLE, f"the destination key is not possible: {problem}"
    )
