"""The objects of the corpus: what is sent to S3, and what must arrive in OSS under each rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Variant(StrEnum):
    """The variants of the rule, by what they do with what OSS does not accept."""

    FAIL = "fail"
    DROP = "drop"
    REWRITE = "rewrite"
    # Fails too, where the bucket takes characters beyond ASCII; for the samples that have them.
    LENIENT = "lenient"
    PREFIX = "prefix"  # rewrites too, below a destination prefix; for samples of keys only


@dataclass(frozen=True)
class Sent:
    """An object as it is put into S3; headers and metadata have one character for each byte."""

    body: bytes = b"content"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/plain"})
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    # The tags that are set once the object has arrived, in place of `tags`; None: they stay.
    later_tags: Mapping[str, str] | None = None
    storage_class: str = ""
    is_restored: bool = False  # whether an archived object is restored for a day
    # Headers of properties that replicas don't have: access, encryption, checksums, redirects.
    other_headers: Mapping[str, str] = field(default_factory=dict)
    part_bytes: int = 0  # the size of the parts if it is uploaded to S3 in parts

    @property
    def last_tags(self) -> Mapping[str, str]:
        return self.tags if self.later_tags is None else self.later_tags


@dataclass(frozen=True)
class Arrives:
    """A replica arrives with these properties; None stands for "as it was sent"."""

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
    """The job fails at the first try with this code, and nothing is written."""

    code: str


@dataclass(frozen=True)
class LeftOut:
    """The job completes, and nothing is written."""


Expected = Arrives | Refused | LeftOut


class Shortfall(StrEnum):
    """How a stand-in falls short of S3."""

    REFUSES = "refuses the request"
    ALTERS = "stores something else"
    SERVES = "serves an object that S3 refuses"


@dataclass(frozen=True)
class Exclusion:
    """Why a sample is not replicated from an implementation of S3."""

    how: Shortfall
    reason: str


@dataclass(frozen=True)
class Sample:
    """An object of the corpus; it is replicated under the variants that `expected` names."""

    group: str
    title: str  # unique in its group
    key: str
    sent: Sent
    expected: Mapping[Variant, Expected]
    exclusions: Mapping[str, Exclusion] = field(default_factory=dict)  # by implementation

    # Whether S3 itself returns something else than was sent: a default, or a name in lower case.
    is_mapped_by_s3: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}: {self.title}"

    def excluded_from(self, implementation: str, how: Shortfall, reason: str) -> "Sample":
        """The same sample, excluded from an implementation of S3 that can't hold it."""
        return replace(self, exclusions={**self.exclusions, implementation: Exclusion(how, reason)})


def sample(
    group: str,
    title: str,
    sent: Sent | None = None,
    *,
    fail: Expected | None = None,
    drop: Expected | None = None,
    rewrite: Expected | None = None,
    lenient: Expected | None = None,
    everywhere: Expected | None = None,
    is_mapped_by_s3: bool = False,
) -> Sample:
    """A sample with an ordinary key. It arrives as it was sent, unless a variant says otherwise."""
    otherwise = everywhere or Arrives()
    expected: dict[Variant, Expected] = {
        Variant.FAIL: fail or otherwise,
        Variant.DROP: drop or otherwise,
        Variant.REWRITE: rewrite or otherwise,
    }
    if lenient is not None:
        expected[Variant.LENIENT] = lenient
    key = f"{group}/{title}".replace(" ", "-")
    return Sample(group, title, key, sent or Sent(), expected, is_mapped_by_s3=is_mapped_by_s3)
