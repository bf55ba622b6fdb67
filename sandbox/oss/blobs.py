"""Immutable bytes with their MD5 and CRC-64: small ones in memory, large ones in files."""

import hashlib
import itertools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import anycrc

CRC64 = anycrc.Model("CRC64-XZ")
READ_BYTES = 1 << 18

_file_numbers = itertools.count()


class Source(Protocol):
    """A stream of bytes to write a blob from."""

    def read(self) -> bytes:
        """The next bytes, or b"" at the end."""


class Blob:
    """Immutable bytes; the blob's file is removed with the last reference to the blob."""

    __slots__ = ("__weakref__", "crc64", "data", "md5", "path", "size")

    def __init__(self, *, data: bytes, path: Path | None, size: int, md5: bytes, crc64: int):
        self.data = data
        self.path = path
        self.size = size
        self.md5 = md5
        self.crc64 = crc64
        if path is not None:
            weakref.finalize(self, path.unlink, missing_ok=True)


def receive_blob(source: Source, *, folder: Path, spill_bytes: int) -> Blob:
    """Read `source` to its end; above `spill_bytes` the bytes go to a file in `folder`.

    If `source.read` raises, no file remains.
    """
    held: list[bytes] = []
    held_bytes = 0
    while chunk := source.read():
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes > spill_bytes:
            return _receive_into_file(held, source, folder / f"blob-{next(_file_numbers)}")
    data = held[0] if len(held) == 1 else b"".join(held)
    return blob_of(data)


def blob_of(data: bytes) -> Blob:
    """A blob in memory."""
    md5 = hashlib.md5(data).digest()
    return Blob(data=data, path=None, size=len(data), md5=md5, crc64=CRC64.calc(data))


def _receive_into_file(held: list[bytes], source: Source, path: Path) -> Blob:
    md5 = hashlib.md5()
    crc64 = 0
    size = 0
    try:
        with path.open("wb", buffering=0) as file:
            for chunk in itertools.chain(held, iter(source.read, b"")):
                file.write(chunk)
                md5.update(chunk)
                crc64 = CRC64.calc(chunk, crc64)
                size += len(chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Blob(data=b"", path=path, size=size, md5=md5.digest(), crc64=crc64)


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` bytes of a blob, starting at `offset`."""

    blob: Blob
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """Open the blob's file; only for a blob with a `path`."""
        assert self.blob.path is not None
        return self.blob.path.open("rb", buffering=0)


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an object: blobs one after the other."""

    blobs: tuple[Blob, ...]
    size: int
    crc64: int

    @staticmethod
    def join(blobs: tuple[Blob, ...]) -> "Content":
        """Join blobs in order; their CRC-64s are combined without reading the bytes again."""
        size = 0
        crc64 = 0
        for blob in blobs:
            crc64 = CRC64.combine(crc64, blob.crc64, blob.size) if size else blob.crc64
            size += blob.size
        return Content(blobs, size, crc64)

    def pieces(self, start: int, length: int) -> Iterator[Piece]:
        """The pieces that make up `length` bytes from `start`."""
        for blob in self.blobs:
            if start >= blob.size:
                start -= blob.size
                continue
            if length <= 0:
                return
            size = min(length, blob.size - start)
            yield Piece(blob, start, size)
            length -= size
            start = 0


class ContentSource:
    """A Source that reads a range of a content, for copies."""

    def __init__(self, content: Content, start: int, length: int) -> None:
        self._chunks = self._read_pieces(content, start, length)

    def read(self) -> bytes:
        """The next bytes, or b"" at the end."""
        return next(self._chunks, b"")

    @staticmethod
    def _read_pieces(content: Content, start: int, length: int) -> Iterator[bytes]:
        for piece in content.pieces(start, length):
            if piece.blob.path is None:
                yield piece.blob.data[piece.offset : piece.offset + piece.size]
                continue
            with piece.open() as file:
                file.seek(piece.offset)
                left = piece.size
                while left:
                    chunk = file.read(min(left, READ_BYTES))
                    left -= len(chunk)
                    yield chunk
