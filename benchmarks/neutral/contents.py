"""The contents of the buckets: key ranges that are computed, overlaid by written objects."""

import hashlib
import heapq
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.neutral import pattern

# Larger objects have an ETag that is not an MD5, like objects put in parts.
LARGEST_WITH_MD5_BYTES = 8 * 1024**2
_SUMS_BYTES = 16 + 8
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Stored:
    """An object. Its content is `data`, or the pattern from `first_byte` on, or was not kept."""

    size_bytes: int
    etag: str
    crc64: int
    modified: float
    headers: bytes = b""  # complete lines
    first_byte: int | None = None
    data: bytes | None = None


@dataclass
class KeyRange:
    """`count` objects, PREFIX0000000, PREFIX0000001 …, with sizes from `smallest` to `largest`.

    The sizes are spread evenly over the orders of magnitude, and the same in each run.
    """

    prefix: str
    count: int
    smallest_bytes: int
    largest_bytes: int
    modified: float = field(default_factory=lambda: float(int(time.time())))
    _known: bytearray = field(default_factory=bytearray, repr=False)
    _packed: bytearray = field(default_factory=bytearray, repr=False)

    def key(self, number: int) -> str:
        return f"{self.prefix}{number:07d}"

    def number(self, key: str) -> int | None:
        """The number of the object with this key; None if the range does not have it."""
        digits = key.removeprefix(self.prefix)
        if len(digits) == 7 and digits.isdecimal() and key.startswith(self.prefix):
            number = int(digits)
            return number if number < self.count else None
        return None

    def size_bytes(self, number: int) -> int:
        if self.smallest_bytes == self.largest_bytes:
            return self.smallest_bytes
        share = (number * _GOLDEN_RATIO) % 1
        return round(self.smallest_bytes * (self.largest_bytes / self.smallest_bytes) ** share)

    def object(self, number: int) -> Stored:
        size, first = self.size_bytes(number), number * 4099 % pattern.PERIOD_BYTES
        md5, crc64 = self._sums(number, size, first)
        if size <= LARGEST_WITH_MD5_BYTES:
            etag = md5.hex()
        else:
            etag = f"{crc64:032x}-{-(-size // LARGEST_WITH_MD5_BYTES)}"
        return Stored(size, etag, crc64, self.modified, first_byte=first)

    def _sums(self, number: int, size: int, first: int) -> tuple[bytes, int]:
        """The MD5 and the CRC-64 of an object, computed once. Those of millions fit into memory."""
        if not self._known:
            self._known, self._packed = bytearray(self.count), bytearray(_SUMS_BYTES * self.count)
        at = _SUMS_BYTES * number
        if not self._known[number]:
            md5 = hashlib.md5()
            if size <= LARGEST_WITH_MD5_BYTES:
                for piece in pattern.pieces(first, size):
                    md5.update(piece)
            crc64 = pattern.crc64(first, size)
            self._packed[at : at + _SUMS_BYTES] = md5.digest() + crc64.to_bytes(8)
            self._known[number] = 1
        packed = bytes(self._packed[at : at + _SUMS_BYTES])
        return packed[:16], int.from_bytes(packed[16:])

    def numbers(self, *, after: str, prefix: str) -> range:
        """The numbers of the keys that begin with `prefix` and sort after `after`."""
        all_numbers = range(self.count)
        start = bisect_right(all_numbers, after, key=self.key)
        start = max(start, bisect_left(all_numbers, prefix, key=self.key))
        end = bisect_left(all_numbers, prefix + "\U0010ffff", key=self.key)
        return range(start, max(start, end))


class Bucket:
    """The objects of a bucket, by key."""

    def __init__(self) -> None:
        self.ranges: list[KeyRange] = []
        self._written: dict[str, Stored | None] = {}  # None: deleted
        self._sorted: list[str] = []

    def get(self, key: str) -> Stored | None:
        if key in self._written:
            return self._written[key]
        for keys in self.ranges:
            number = keys.number(key)
            if number is not None:
                return keys.object(number)
        return None

    def put(self, key: str, stored: Stored | None) -> None:
        self._written[key] = stored

    def items(self, *, after: str = "", prefix: str = "") -> Iterator[tuple[str, Stored]]:
        """The objects in key order, with keys that begin with `prefix` and sort after `after`."""
        if len(self._sorted) != len(self._written):
            self._sorted = sorted(self._written)
        start = max(bisect_right(self._sorted, after), bisect_left(self._sorted, prefix))
        written = (self._sorted[i] for i in range(start, len(self._sorted)))
        computed = [map(keys.key, keys.numbers(after=after, prefix=prefix)) for keys in self.ranges]
        if start == len(self._sorted) and len(self.ranges) == 1:
            keys = self.ranges[0]
            for number in keys.numbers(after=after, prefix=prefix):
                yield keys.key(number), keys.object(number)
            return
        last = None
        for key in heapq.merge(written, *computed):
            if not key.startswith(prefix):
                return
            if key != last and (stored := self.get(key)) is not None:
                yield key, stored
            last = key

    def digest(self) -> dict[str, int]:
        """The bucket's totals and a checksum: equal for buckets with equal keys and contents."""
        objects = size = total = 0
        for key, stored in self.items():
            objects += 1
            size += stored.size_bytes
            total += pattern.CRC64.calc(f"{key}\0{stored.size_bytes}\0{stored.crc64}".encode())
        return {"objects": objects, "bytes": size, "sum": total % 2**64}
