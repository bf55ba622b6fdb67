"""Content that need not be stored: any range of an endless, repeating pattern."""

import random
from collections.abc import Iterator
from functools import lru_cache

from anycrc import Model

CRC64 = Model("CRC64-XZ")
# Not a power of two, so that mixed-up ranges of a usual size have different checksums.
PERIOD_BYTES = 1_000_003

_ONCE = random.Random(64).randbytes(PERIOD_BYTES)
_TWICE = memoryview(_ONCE + _ONCE)


def pieces(first_byte: int, size_bytes: int) -> Iterator[memoryview]:
    """Yield the range in pieces of at most one period, without copying."""
    while size_bytes:
        start = first_byte % PERIOD_BYTES
        piece = _TWICE[start : start + min(size_bytes, PERIOD_BYTES)]
        yield piece
        first_byte += len(piece)
        size_bytes -= len(piece)


@lru_cache(maxsize=64)
def crc64(first_byte: int, size_bytes: int) -> int:
    """The CRC-64 of a range of any size: one period's CRC-64 is computed, and combined."""
    whole, rest = divmod(size_bytes, PERIOD_BYTES)
    total: int = 0
    if whole:
        period = CRC64.calc(next(pieces(first_byte, PERIOD_BYTES)))
        for _ in range(whole):
            total = CRC64.combine(total, period, PERIOD_BYTES)
    for piece in pieces(first_byte, rest):
        total = CRC64.combine(total, CRC64.calc(piece), rest)
    return total
