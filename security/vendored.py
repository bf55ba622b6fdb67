"""The libraries that packages carry inside of them, from vendored.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

VENDORED = Path(__file__).with_name("vendored.toml")


@dataclass(frozen=True)
class Library:
    """`inside` carries `name`; `file`, below site-packages, has its version, as `says`."""

    inside: str
    name: str
    version: str
    license: str  # SPDX
    file: str
    says: str
    registry: str = "pypi"

    @property
    def purl(self) -> str:
        """The package URL, under which advisories are published."""
        return f"pkg:{self.registry}/{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} (inside of {self.inside})"


def libraries() -> list[Library]:
    return [Library(**each) for each in tomllib.loads(VENDORED.read_text())["library"]]
