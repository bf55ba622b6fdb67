"""Percent-encodes bytes as visible ASCII, for values that OSS does not accept as they are."""

import re
from urllib.parse import unquote_to_bytes

_OTHER = re.compile(rb"[^!-~]|%")


def encode(data: bytes) -> str:
    """Encode the percent sign and all bytes other than visible ASCII as `%XX`."""
    return _OTHER.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")


def decode(text: str) -> bytes:
    """Decode a text that `encode` returned."""
    return unquote_to_bytes(text)
