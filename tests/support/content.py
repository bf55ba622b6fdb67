"""Bytes as the body of a request to a destination."""

from io import BytesIO


class Content(BytesIO):
    @property
    def len(self) -> int:
        return len(self.getvalue())
