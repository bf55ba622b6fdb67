"""Finds the end and the content of a body, by its length or its chunks."""

from typing import Protocol


class Sink(Protocol):
    """A receiver of a body's content."""

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""


class Framing(Protocol):
    """Finds where a body ends; `is_over` is true after its last byte."""

    is_over: bool

    def take(self, data: memoryview, sink: Sink) -> memoryview:
        """Feed the content to the sink; returns the bytes after the body."""


class Length:
    """A body of a known length."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self.is_over = not size_bytes

    def take(self, data: memoryview, sink: Sink) -> memoryview:
        mine = data[: self._left_bytes]
        if mine:
            sink.feed(mine)
            self._left_bytes -= len(mine)
        self.is_over = not self._left_bytes
        return data[len(mine) :]


class Chunks:
    """A body in HTTP's chunks, or in AWS's, which have a signature after each size.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    """

    def __init__(self) -> None:
        self._left_bytes = 0
        self._line = b""
        self._is_after_data = False
        self._is_last = False
        self.is_over = False

    def take(self, data: memoryview, sink: Sink) -> memoryview:
        while data and not self.is_over:
            if self._left_bytes:
                mine = data[: self._left_bytes]
                sink.feed(mine)
                self._left_bytes -= len(mine)
                data = data[len(mine) :]
            else:
                data = self._take_line(data)
        return data

    def _take_line(self, data: memoryview) -> memoryview:
        found = bytes(data[:512]).find(b"\n")
        if found < 0:
            self._line += bytes(data[:512])
            return data[512:]
        line, self._line = (self._line + bytes(data[: found + 1])).strip(), b""
        if self._is_last:
            self.is_over = not line  # the lines before the empty line are trailers
        elif self._is_after_data:
            self._is_after_data = False
        else:
            self._left_bytes = int(line.partition(b";")[0], 16)
            self._is_after_data = True
            self._is_last = not self._left_bytes
        return data[found + 1 :]


class WithoutChunks:
    """A sink that passes on the content of AWS's chunks."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._chunks = Chunks()

    def feed(self, data: memoryview) -> None:
        self._chunks.take(data, self._sink)
