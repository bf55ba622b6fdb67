"""The pins: which packages, in which versions, with which files may be installed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WHEELS = REPOSITORY / "requirements" / "wheels"
IMAGE = REPOSITORY / "requirements.txt"
IMAGE_AND_EXTRAS = REPOSITORY / "requirements" / "inventory.txt"
SOURCES = REPOSITORY / "requirements" / "sdists.txt"  # what WHEELS are built from

_REQUIREMENT = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;]+)[^\n]*?"
    r"(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{64})+)$",
    re.MULTILINE,
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, order=True)
class Pin:
    """One version of a package, and the SHA-256 of each file that may be installed as it."""

    name: str
    version: str
    sha256: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def files() -> list[Path]:
    """All files of pins."""
    return [IMAGE, *sorted((REPOSITORY / "requirements").glob("*.txt"))]


def read(path: Path) -> Iterator[Pin]:
    """The pins of a file, as uv writes it.

    Raises ValueError at a requirement without an exact version and a hash.
    """
    text = path.read_text(encoding="utf-8")
    pins = [
        Pin(found["name"], found["version"], tuple(_HASH.findall(found["hashes"])))
        for found in _REQUIREMENT.finditer(text)
    ]
    begun = re.findall(r"^[A-Za-z0-9].*", text, re.MULTILINE)
    if len(begun) != len(pins):
        known = {f"{pin.name}=={pin.version}" for pin in pins}
        loose = [line for line in begun if re.split(r"[\s;]", line)[0] not in known]
        raise ValueError(f"{path.name} has requirements without a version or a hash: {loose}")
    yield from pins
