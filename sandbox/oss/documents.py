"""Parses the XML of requests as OSS does: it takes the control characters that XML 1.0 forbids."""

import re
from xml.etree import ElementTree

# Control characters as they are, or as references: clients send keys with both.
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]|&#(x[0-9a-fA-F]+|[0-9]+);")
# Characters of a private range stand in for them while the XML is parsed.
_STAND_IN = 0x10FF00
_PARSED = re.compile(f"[{chr(_STAND_IN)}-{chr(_STAND_IN + 0x1F)}]")


def parse(data: bytes) -> ElementTree.Element:
    """The root of a document; raises ElementTree.ParseError."""
    if not _CONTROL.search(data):
        return ElementTree.fromstring(data)
    root = ElementTree.fromstring(_CONTROL.sub(_replace, data))
    for each in root.iter():
        if each.text:
            each.text = _PARSED.sub(lambda found: chr(ord(found[0]) - _STAND_IN), each.text)
    return root


def _replace(found: re.Match[bytes]) -> bytes:
    reference = found[1]
    if reference is None:
        code = found[0][0]
    else:
        code = int(reference[1:], 16) if reference[:1] == b"x" else int(reference)
    return chr(_STAND_IN + code).encode() if 0 < code < ord(" ") else found[0]
