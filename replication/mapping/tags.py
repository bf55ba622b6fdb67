"""Which tags of an S3 object an OSS object can have.

OSS: 10 tags; keys of 1 to 128 bytes, values of up to 256; letters, digits, space and `+-=._:/`.
https://help.aliyun.com/document_detail/106678.html. S3 counts characters instead of bytes, and has
`@` and the letters of all alphabets. OSS's "letters" are taken for a to z and A to Z: its documents
speak of upper and lower case, and the stricter reading is found before a byte moves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.metadata import Dropped

MAX_TAGS = 10
MAX_TAG_KEY_BYTES = 128
MAX_TAG_VALUE_BYTES = 256

_TEXT = re.compile(r"[A-Za-z0-9 +\-=._:/]*")


class TagPolicy(StrEnum):
    """What becomes of tags that OSS can't have. The values are stored.

    They are never rewritten: tags are what lifecycle rules and policies go by, and a tag by another
    name would do what nobody asked for.
    """

    FAIL = "fail"  # the job fails, with the reason
    DROP = "drop"  # the object is copied without those tags, which are put on record


@dataclass(frozen=True)
class PlannedTags:
    """The tags to write, and those that the replica goes without."""

    tags: dict[str, str]
    dropped: tuple[Dropped, ...] = ()


def plan_tags(tags: Mapping[str, str], *, policy: TagPolicy) -> PlannedTags:
    """The replica's tags: the source's, as the policy says.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, under FAIL, naming the first tag.
    """
    kept: dict[str, str] = {}
    dropped = []
    for key, value in tags.items():
        problem = _problem(key, value)
        if not problem and len(kept) == MAX_TAGS:
            problem = f"the tag {key!r} is one too many; OSS allows {MAX_TAGS}"
        if not problem:
            kept[key] = value
        elif policy == TagPolicy.FAIL:
            raise ReplicationError(ErrorCode.METADATA_INCOMPATIBLE, problem)
        else:
            dropped.append(Dropped(key, problem))
    return PlannedTags(kept, tuple(dropped))


def _problem(key: str, value: str) -> str:
    """Why OSS can't have the tag; empty if it can."""
    for what, text, limit in (
        (f"the key of the tag {key!r}", key, MAX_TAG_KEY_BYTES),
        (f"the value of the tag {key!r}", value, MAX_TAG_VALUE_BYTES),
    ):
        if not _TEXT.fullmatch(text):
            return f"{what} has other characters than letters, digits, space and +-=._:/"
        if len(text) > limit:  # all ASCII by now
            return f"{what} has {len(text)} bytes; OSS allows {limit}"
    return "" if key else "a tag has an empty key"
