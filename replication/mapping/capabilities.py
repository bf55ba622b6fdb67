"""What an OSS bucket takes beyond what OSS documents, as a value.

OSS documents ASCII for user metadata and tags, but buckets are known that store other characters
unchanged. So the service asks a bucket once (stores/probe.py) instead of guessing.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Capabilities:
    """What the bucket takes and gives back unchanged."""

    non_ascii_metadata: bool = False  # user metadata whose values are UTF-8
    non_ascii_tags: bool = False  # tags of letters and digits of all alphabets


AS_DOCUMENTED = Capabilities()


def wanted_capabilities(metadata: Mapping[str, str], tags: Mapping[str, str]) -> Capabilities:
    """What an object with this user metadata and these tags would need."""
    return Capabilities(
        non_ascii_metadata=not all(value.isascii() for value in metadata.values()),
        non_ascii_tags=not all(f"{key}{value}".isascii() for key, value in tags.items()),
    )
