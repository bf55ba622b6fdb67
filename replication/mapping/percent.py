"""Any bytes as visible ASCII, and back: the form of what OSS can't keep as it is."""

import re
from urllib.parse import unquote_to_bytes

_OTHER = re.compile(rb"[^!-~]|%")


def encode(data: bytes) -> str:
    """The bytes with all but visible ASCII, and the percent sign itself, as `%XX`."""
    return _OTHER.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")


def decode(text: str) -> bytes:
    """The bytes that `encode` was given."""
    return unquote_to_bytes(text)
