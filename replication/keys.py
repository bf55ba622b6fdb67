"""What S3 allows and OSS does not, in names and metadata; found before a byte moves.

https://help.aliyun.com/document_detail/31827.html (objects), facts tried against oss2.
"""

import re

from replication.errors import ErrorCode, ReplicationError

MAX_OSS_KEY_BYTES = 1023
MAX_OSS_METADATA_BYTES = 8 * 1024
MAX_PUT_BYTES = 5 * 1024**3

_METADATA_NAME = re.compile(r"[a-z0-9-]+")

# Where the replica says what it is a copy of, so that a comparison needs no ledger.
PROVENANCE_ETAG = "s3sync-etag"
PROVENANCE_VERSION = "s3sync-version"


def check_destination_key(key: str) -> None:
    """Refuse a key that OSS, or the way to it, can't carry.

    Raises:
        ReplicationError: KEY_INCOMPATIBLE, with the reason.
    """
    size = len(key.encode())
    if not 1 <= size <= MAX_OSS_KEY_BYTES:
        reason = f"it has {size} bytes; OSS allows 1 to {MAX_OSS_KEY_BYTES}"
    elif key[0] in "/\\":
        reason = f"it begins with {key[0]!r}; OSS refuses that"
    elif key in {".", ".."}:
        reason = "as a URL path it would mean the bucket itself"
    else:
        return
    raise ReplicationError(
        ErrorCode.KEY_INCOMPATIBLE, f"the destination key is not possible: {reason}"
    )


def check_user_metadata(metadata: dict[str, str]) -> None:
    """Refuse user metadata that OSS would refuse or mangle.

    Raises:
        ReplicationError: METADATA_INCOMPATIBLE, naming the field.
    """
    for name, value in metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            reason = f"its name has other characters than letters, digits and hyphen: {name!r}"
        elif not (value.isascii() and value.isprintable()):
            reason = f"the value of {name!r} has other characters than printable ASCII"
        else:
            continue
        raise ReplicationError(ErrorCode.METADATA_INCOMPATIBLE, f"a user metadata field: {reason}")
    total = sum(len(name) + len(value) for name, value in metadata.items())
    if total > MAX_OSS_METADATA_BYTES:
        raise ReplicationError(
            ErrorCode.METADATA_INCOMPATIBLE,
            f"the user metadata has {total} bytes; OSS allows {MAX_OSS_METADATA_BYTES}",
        )


def check_size(size_bytes: int) -> None:
    """Refuse an object that one PUT can't carry.

    Raises:
        ReplicationError: OBJECT_TOO_LARGE.
    """
    if size_bytes > MAX_PUT_BYTES:
        raise ReplicationError(
            ErrorCode.OBJECT_TOO_LARGE,
            f"it has {size_bytes:,} bytes; the limit is {MAX_PUT_BYTES:,}",
        )
