"""OSS's CRC-64 (ECMA-182, reflected: CRC-64/XZ), which is not S3's CRC64NVME."""

from collections.abc import Iterable

from anycrc import Model

CRC64 = Model("CRC64-XZ")


def combine_crc64(parts: Iterable[tuple[str, int]]) -> str:
    """The CRC-64 of an object, of those of its parts in order. Microseconds, whatever the size.

    Args:
        parts: the CRC-64 and the length in bytes of each; checksums in decimal, as OSS writes them.

    Raises:
        ValueError: a checksum is no decimal number of 64 bits, or a length is negative.
    """
    whole = 0  # of no bytes
    for text, size_bytes in parts:
        if not (text.isascii() and text.isdecimal() and int(text) < 1 << 64):
            raise ValueError(f"not a CRC-64 in decimal: {text!r}")
        if size_bytes < 0:
            raise ValueError(f"a part of {size_bytes} bytes")
        whole = CRC64.combine(whole, int(text), size_bytes)
    return str(whole)
