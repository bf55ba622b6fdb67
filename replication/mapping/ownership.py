"""Marks of ownership: the metadata of a replica names the source object that it is a copy of.

Only a replica with the mark of the rule's own source and key is deleted without asking a person.
"""

import hashlib
from collections.abc import Mapping
from enum import Enum

from replication.mapping import percent
from replication.mapping.metadata import PROVENANCE_SOURCE

# A longer mark is replaced by its digest: OSS allows 8 KB of metadata, and the source's own fields
# need the room.
MAX_MARK_BYTES = 512


class Mark(Enum):
    """Whose mark a replica carries."""

    OURS = "ours"
    MISSING = "missing"  # it was written by an earlier version of s3sync, or by another program
    OTHER = "other"  # it is a copy of another object


def source_mark(location: str, key: str) -> str:
    """The mark of replicas of this object.

    Args:
        location: the source bucket's name, or the URL of the web server.
    """
    name = f"{location}/{key}".encode("utf-8", "surrogatepass")
    mark = percent.encode(name)
    if len(mark) <= MAX_MARK_BYTES:
        return mark
    return f"sha256:{hashlib.sha256(name).hexdigest()}"


def mark_of(metadata: Mapping[str, str], *, location: str, key: str) -> Mark:
    """Whether a replica with this user metadata carries the mark of this source object."""
    found = metadata.get(PROVENANCE_SOURCE)
    if found is None:
        return Mark.MISSING
    return Mark.OURS if found == source_mark(location, key) else Mark.OTHER


def without_mark(metadata: Mapping[str, str]) -> dict[str, str]:
    """The user metadata without the mark, to compare with replicas that have none."""
    return {name: value for name, value in metadata.items() if name != PROVENANCE_SOURCE}
