"""Finds the keys that S3 allows and OSS does not accept, before a byte moves, and rewrites them.

Every other key is kept byte for byte: `a//b`, `a/./b`, `a/../b`, a trailing slash, spaces, plus,
percent, any Unicode normal form. https://help.aliyun.com/document_detail/31827.html lists OSS's
rules. The other rules come from the transport:

- `.` or `..` as a whole key collapses to a request for the bucket itself.
- Control characters other than tab and line feed, U+FFFE and U+FFFF do not exist in XML 1.0, and
  XML parsers turn a carriage return into a line feed. OSS itself seems to store such keys: its
  documentation offers `encoding-type=url` to list them. But XML without that encoding can't carry
  them: the response when oss2 begins a multipart upload, a batch delete request, the console's
  list. A replica that common tools can't list or delete is useless.
- A lone surrogate has no UTF-8 encoding.

docs/decisions/reversible-keys.md explains the form of rewritten keys.
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
    "rewritten_prefix",
]

MAX_OSS_KEY_BYTES = 1023

# Rewritten keys have this mark after the rule's destination prefix. A source key that contains the
# mark is rewritten too, so only s3sync writes keys with the mark.
REWRITTEN_MARK = ".s3sync-key/"
_ESCAPED = REWRITTEN_MARK + "escaped/"
_HASHED = REWRITTEN_MARK + "sha256/"

_NOT_IN_XML = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_DOTS = {".", ".."}


class KeyPolicy(StrEnum):
    """What to do with an object whose key OSS does not accept. The values are stored."""

    FAIL = "fail"  # the job fails, with the reason
    SKIP = "skip"  # the object is not copied, and the reason is recorded
    REWRITE = "rewrite"  # the replica gets another key, from which the wanted key can be restored


@dataclass(frozen=True)
class PlannedKey:
    """The destination key, and the wanted key if that is different."""

    key: str
    original: str | None = None

    @property
    def is_rewritten(self) -> bool:
        return self.original is not None

    @property
    def provenance(self) -> dict[str, str]:
        """The user metadata that a replica with a rewritten key must have, for `original_key`."""
        if self.original is None:
            return {}
        return {PROVENANCE_KEY: percent.encode(_bytes(self.original))}


@dataclass(frozen=True)
class SkippedKey:
    """The object must not be copied."""

    reason: str


def plan_key(wanted_key: str, *, policy: KeyPolicy, prefix: str = "") -> PlannedKey | SkippedKey:
    """Plan the destination key of a replica that should have the key `wanted_key`.

    A valid key is never changed, except a key with REWRITTEN_MARK under REWRITE. A rewritten key is
    always valid. Two wanted keys never get the same destination key, not even from rules with
    different prefixes in the same bucket; for keys so long that a hash replaces them, this holds
    unless two keys have the same SHA-256. A rule with another policy copies keys with the mark
    unchanged; mapping/collisions.py keeps it apart from rules that rewrite.

    Args:
        wanted_key: the whole key, including the prefix.
        prefix: the rule's destination prefix, with which `wanted_key` begins. A rewritten key
            keeps it in front if the result is valid.

    Raises:
        ReplicationError: KEY_INCOMPATIBLE, under FAIL.
    """
    assert wanted_key.startswith(prefix), "the key must begin with the prefix"
    problem = key_problem(wanted_key)
    if policy == KeyPolicy.REWRITE and (problem or REWRITTEN_MARK in wanted_key):
        return PlannedKey(_rewritten(wanted_key, prefix=prefix), original=wanted_key)
    if not problem:
        return PlannedKey(wanted_key)
    if policy == KeyPolicy.SKIP:
        return SkippedKey(problem)
    raise _incompatible(problem)


def original_key(destination_key: str, metadata: Mapping[str, str]) -> str:
    """The wanted key of a replica; the replica's own key if it was not rewritten.

    Args:
        metadata: the replica's user metadata. The key alone is not enough: a hash can't be
            reversed, and under FAIL and SKIP a key with the mark is an ordinary key.
    """
    head, mark, _ = destination_key.rpartition(REWRITTEN_MARK)
    if not mark or PROVENANCE_KEY not in metadata:
        return destination_key
    try:
        original = percent.decode(metadata[PROVENANCE_KEY]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return destination_key  # s3sync did not write the field
    # If somebody copied the replica to another key, the metadata went along but no longer applies.
    is_ours = original.startswith(head) and _rewritten(original, prefix=head) == destination_key
    return original if is_ours else destination_key


def rewritten_prefix(prefix: str) -> str:
    """What every rewritten key of a rule with this destination prefix begins with."""
    return _usable_head(prefix) + REWRITTEN_MARK


def key_problem(key: str) -> str:
    """Why OSS or the transport can't carry this key; empty if they can."""
    if match := _NOT_IN_XML.search(key):
        return f"it has the character U+{ord(match[0]):04X}, which OSS's XML can't carry"
    size = len(key.encode())
    if not 1 <= size <= MAX_OSS_KEY_BYTES:
        return f"it has {size} bytes; OSS allows 1 to {MAX_OSS_KEY_BYTES}"
    if key[0] in "/\\":
        return f"it begins with {key[0]!r}, which OSS refuses"
    if key in _DOTS:
        return "as a URL path, it means the bucket itself"
    return ""


def check_destination_key(key: str) -> None:
    """Refuse a key that OSS or the transport can't carry.

    Raises:
        ReplicationError: KEY_INCOMPATIBLE, with the reason.
    """
    if problem := key_problem(key):
        raise _incompatible(problem)


def _rewritten(wanted_key: str, *, prefix: str) -> str:
    head = _usable_head(prefix)
    escaped = f"{head}{_ESCAPED}{_escaped(wanted_key.removeprefix(head))}"
    if len(escaped.encode()) <= MAX_OSS_KEY_BYTES:
        return escaped
    return f"{head}{_HASHED}{hashlib.sha256(_bytes(wanted_key)).hexdigest()}"


def _usable_head(prefix: str) -> str:
    """The prefix if a rewritten key can begin with it, or else an empty text."""
    return "" if key_problem(f"{prefix}{_HASHED}{'0' * 64}") else prefix


def _escaped(tail: str) -> str:
    """The text with as few characters as possible as `%XX`, and without the mark."""
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
        ErrorCode.KEY_INCOMPATIBLE, f"OSS does not accept the destination key: {problem}"
    )
