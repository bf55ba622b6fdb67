"""What an object of the corpus is: what is sent to S3, and what must arrive under which rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Leg(StrEnum):
    """The rules that the corpus is replicated under, by what they do with what OSS can't have."""

    FAIL = "fail"
    DROP = "drop"
    REWRITE = "rewrite"
    PREFIX = "prefix"  # rewritten too, below a destination prefix: for keys alone


@dataclass(frozen=True)
class Sent:
    """An object as it is put into S3. Headers and metadata are one character for each byte."""

    body: bytes = b"content"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/plain"})
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = ""
    is_restored: bool = False  # for the archived: readable for a day
    # What is no property of a replica: access, encryption, checksums, redirects, all as headers.
    other_headers: Mapping[str, str] = field(default_factory=dict)
    part_bytes: int = 0  # uploaded to S3 in parts of that size, if not 0


@dataclass(frozen=True)
class Arrives:
    """The replica; None is "as it was sent"."""

    key: str | None = None
    headers: Mapping[str, str] | None = None
    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    storage_class: str = "Standard"

    @property
    def is_as_sent(self) -> bool:
        return self == Arrives(storage_class=self.storage_class)


@dataclass(frozen=True)
class Refused:
    """The job fails at once with this code, and nothing is written."""

    code: str


@dataclass(frozen=True)
class LeftOut:
    """The job completes, and nothing is written."""


Expected = Arrives | Refused | LeftOut


class Shortfall(StrEnum):
    """How a stand-in falls short of S3."""

    REFUSES = "refuses the request"
    ALTERS = "keeps something else"
    SERVES = "serves what S3 would not"


@dataclass(frozen=True)
class Excuse:
    """Why an implementation of S3 is not asked for this object."""

    how: Shortfall
    reason: str


@dataclass(frozen=True)
class Sample:
    """An object of the corpus. A leg that `expected` does not name goes without it."""

    group: str
    title: str  # unique in its group
    key: str
    sent: Sent
    expected: Mapping[Leg, Expected]
    excuses: Mapping[str, Excuse] = field(default_factory=dict)  # by implementation

    # S3 itself gives out something else than was sent: a default, or another case of a name.
    is_mapped_by_s3: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}: {self.title}"

    def not_on(self, implementation: str, how: Shortfall, reason: str) -> "Sample":
        """The same, which this implementation of S3 can't hold."""
        return replace(self, excuses={**self.excuses, implementation: Excuse(how, reason)})


def sample(
    group: str,
    title: str,
    sent: Sent | None = None,
    *,
    fail: Expected | None = None,
    drop: Expected | None = None,
    rewrite: Expected | None = None,
    everywhere: Expected | None = None,
    is_mapped_by_s3: bool = False,
) -> Sample:
    """An object that is not about its key. It arrives as it was sent, unless a leg says other."""
    otherwise = everywhere or Arrives()
    expected = {
        Leg.FAIL: fail or otherwise,
        Leg.DROP: drop or otherwise,
        Leg.REWRITE: rewrite or otherwise,
    }
    key = f"{group}/{title}".replace(" ", "-")
    return Sample(group, title, key, sent or Sent(), expected, is_mapped_by_s3=is_mapped_by_s3)
