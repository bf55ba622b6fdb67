"""Selects the tags of an S3 object that OSS accepts.

OSS allows 10 tags, with keys of 1 to 128 bytes and values of up to 256 bytes, of letters, digits,
space and `+-=._:/`. https://help.aliyun.com/document_detail/106678.html. S3 counts characters
instead of bytes, and also allows `@` and the letters of all alphabets. OSS's "letters" are read as
a-z and A-Z, because its documentation speaks of upper and lower case, and because with the stricter
reading a problem is found before a byte moves. For a bucket that is known to take others, they are
the letters and digits of all alphabets.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from replication.errors import ErrorCode, ReplicationError
from replication.mapping.capabilities import AS_DOCUMENTED, Capabilities
from replication.mapping.metadata import Dropped

MAX_TAGS = 10
MAX_TAG_KEY_BYTES = 128
MAX_TAG_VALUE_BYTES = 256

_TEXT = re.compile(r"[A-Za-z0-9 +\-=._:/]*")


class TagPolicy(StrEnum):
    """What to do with tags that OSS does not accept. The values are stored.

    Tags are never rewritten: lifecycle rules and policies act on tags, and a tag with another name
    could trigger an action that nobody wants.
    """

    FAIL = "fail"  # the job fails, with the reason
    DROP = "drop"  # the object is copied without those tags, and their keys are recorded


@dataclass(frozen=True)
class PlannedTags:
    """The tags to write, and the tags that the replica lacks."""

    tags: dict[str, str]
    dropped: tuple[Dropped, ...] = ()


def plan_tags(
    tags: Mapping[str, str], *, policy: TagPolicy, capabilities: Capabilities = AS_DOCUMENTED
) -> PlannedTags:
    """Plan the replica's tags: the source's tags, under the policy where the bucket refuses them.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, under FAIL, naming the first tag refused.
    """
    kept: dict[str, str] = {}
    dropped = []
    for key, value in tags.items():
        problem = _problem(key, value, capabilities)
        if not problem and len(kept) == MAX_TAGS:
            problem = f"the tag {key!r} is one tag too many; OSS allows {MAX_TAGS}"
        if not problem:
            kept[key] = value
        elif policy == TagPolicy.FAIL:
            raise ReplicationError(ErrorCode.METADATA_INCOMPATIBLE, problem)
        else:
            dropped.append(Dropped(key, problem))
    return PlannedTags(kept, tuple(dropped))


def _problem(key: str, value: str, capabilities: Capabilities) -> str:
    """Why OSS does not accept the tag; empty if it does."""
    for subject, text, limit in (
        (f"the key of the tag {key!r}", key, MAX_TAG_KEY_BYTES),
        (f"the value of the tag {key!r}", value, MAX_TAG_VALUE_BYTES),
    ):
        if not _TEXT.fullmatch(_as_ascii(text) if capabilities.non_ascii_tags else text):
            return f"{subject} has characters other than letters, digits, space and +-=._:/"
        size_bytes = len(text.encode())
        if size_bytes > limit:
            return f"{subject} has {size_bytes} bytes; OSS allows {limit}"
    return "" if key else "a tag has an empty key"


def _as_ascii(text: str) -> str:
    """The text with each letter or digit of another alphabet as an `x`."""
    return "".join("x" if not char.isascii() and char.isalnum() else char for char in text)
