"""The header fields of an answer."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

_Default = TypeVar("_Default")


class Headers(Mapping[str, str]):
    """Header fields. Names match in any case; values have one character per byte (Latin-1)."""

    def __init__(self) -> None:
        self.lower: dict[str, str] = {}  # by name in lower case

    def __getitem__(self, name: str) -> str:
        return self.lower[name.lower()]

    def get(self, name: str, default: _Default = None) -> str | _Default:  # type: ignore[assignment]
        """As Mapping's own `get`, but without the cost of an exception."""
        return self.lower.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lower)

    def __len__(self) -> int:
        return len(self.lower)
