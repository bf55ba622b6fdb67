"""Checksums that are computed while the bytes pass: the source's own, and OSS's CRC-64.

OSS's CRC-64 is ECMA-182, reflected (CRC-64/XZ). S3's CRC64NVME is another polynomial.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from anycrc import Model

from replication.stores.base import ObjectInfo

# Each CRC takes less time than MD5, and that of an object can be combined from those of its parts.
# S3 computes CRC64NVME itself for objects that are uploaded without another checksum.
_CRCS = {
    "CRC64NVME": (Model("CRC64-NVME"), 8),
    "CRC32C": (Model("CRC32C"), 4),
    "CRC32": (Model("CRC32"), 4),
}
_DIGESTS: dict[str, Callable[[], Any]] = {
    "MD5": partial(hashlib.md5, usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA1": partial(hashlib.sha1, usedforsecurity=False),
}


@dataclass(frozen=True)
class SourceChecksum:
    """A checksum that the source gives; `expected` is in base64, as S3 writes checksums."""

    algorithm: str
    expected: str
    is_guess: bool = False  # it may be no checksum at all: see ObjectInfo.md5_is_promised

    @property
    def is_combinable(self) -> bool:
        """Whether checksums of separately read parts combine to that of the whole object."""
        return self.algorithm in _CRCS

    def shown(self, value: str) -> str:
        """Format a value for people: the algorithm, and the value in base64 (MD5: hexadecimal)."""
        if self.algorithm == "MD5":
            value = base64.b64decode(value).hex()
        return f"{self.algorithm} {value}"

    def begin(self) -> "RunningChecksum":
        """Start to compute a checksum of this algorithm."""
        return RunningChecksum(self.algorithm)

    def combine(self, parts: Iterable[tuple[int, int]]) -> str:
        """Return the checksum of the whole object, in base64.

        Args:
            parts: `RunningChecksum.crc` and the length in bytes of each part, in order.
        """
        model, size_bytes = _CRCS[self.algorithm]
        whole = 0
        for crc, length_bytes in parts:
            whole = model.combine(whole, crc, length_bytes)
        return _base64(whole.to_bytes(size_bytes, "big"))


class RunningChecksum:
    """A checksum of the bytes that have passed so far."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._digest = _DIGESTS[algorithm]() if algorithm in _DIGESTS else None
        self.crc = 0  # stays 0 for a digest

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        if self._digest is not None:
            self._digest.update(data)
        else:
            self.crc = _CRCS[self._algorithm][0].calc(data, self.crc)

    def value(self) -> str:
        """Return the checksum in base64, to compare with `SourceChecksum.expected`."""
        if self._digest is not None:
            return _base64(self._digest.digest())
        return _base64(self.crc.to_bytes(_CRCS[self._algorithm][1], "big"))


def source_checksum(info: ObjectInfo, *, must_combine: bool = False) -> SourceChecksum | None:
    """Return the cheapest usable checksum that the source gives; None if there is none.

    Args:
        must_combine: the object is read in parts, in any order, so only a CRC is usable.
    """
    given = dict(info.checksums)
    if info.md5:
        given["MD5"] = _base64(bytes.fromhex(info.md5))
    for algorithm in _CRCS if must_combine else (*_CRCS, *_DIGESTS):
        if algorithm in given:
            is_guess = algorithm == "MD5" and not info.md5_is_promised
            return SourceChecksum(algorithm, given[algorithm], is_guess)
    return None


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


CRC64 = Model("CRC64-XZ")


def combine_crc64(parts: Iterable[tuple[str, int]]) -> str:
    """Combine the CRC-64s of parts, in order, to that of the object, in decimal.

    It takes microseconds, whatever the size.

    Args:
        parts: the CRC-64, in decimal as OSS writes it, and the length in bytes of each part.

    Raises:
        ValueError: a checksum is not a decimal number of at most 64 bits, or a length is negative.
    """
    whole = 0  # the CRC-64 of no bytes
    for text, size_bytes in parts:
        if not (text.isascii() and text.isdecimal() and int(text) < 1 << 64):
            raise ValueError(f"not a CRC-64 in decimal: {text!r}")
        if size_bytes < 0:
            raise ValueError(f"a part of {size_bytes} bytes")
        whole = CRC64.combine(whole, int(text), size_bytes)
    return str(whole)
