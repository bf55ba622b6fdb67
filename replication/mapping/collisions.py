"""Finds the rules that can write two different objects to one destination key. Pure.

A rule maps each source key `s + r` to the wanted key `t + r`: `s` is its source prefix, and `t` is
what becomes of that at the destination. Under another key policy than REWRITE, the replica gets the
wanted key or there is none. Under REWRITE, a wanted key that OSS does not accept becomes a key
below the mark (mapping/keys.py). So two rules can meet in two ways:

- Both want the same key for two different objects. Then one `t` begins with the other.
- One rule rewrites a key to a key that the other rule, which rewrites none, wants. The whole folder
  of the mark belongs to the rule that rewrites. Two rules that both rewrite don't meet this way:
  from different wanted keys, they never make the same key.

Filters don't count, because they change too easily: a suffix or a glob that keeps two rules apart
today is edited tomorrow, by somebody who does not think of the other rule. Nor does it count if OSS
accepts none of the keys that two rules want, because the prefix begins with a slash for example.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Place(NamedTuple):
    """A bucket or a web server, however it is spelled. A web server has no `bucket`."""

    address: str
    bucket: str = ""


@dataclass(frozen=True)
class KeyMapping:
    """How a rule maps source keys to destination keys.

    `rewritten_prefix` is None if the rule rewrites no keys.
    """

    source: Place
    source_prefix: str
    destination: Place
    wanted_prefix: str
    rewritten_prefix: str | None = None


@dataclass(frozen=True)
class Claim:
    """Keys that a rule with this mapping can write: all keys that begin with the prefix."""

    mapping: KeyMapping
    prefix: str
    is_rewritten: bool = False


@dataclass(frozen=True)
class Meeting:
    """Two claims that overlap: both rules can write a key, for two different objects.

    If one claim is of rewritten keys, it is `one`.
    """

    one: Claim
    other: Claim

    @property
    def is_by_rewriting(self) -> bool:
        return self.one.is_rewritten

    @property
    def prefix(self) -> str:
        """What the keys begin with that both claims have."""
        return max(self.one.prefix, self.other.prefix, key=len)


def find_meetings(mappings: Iterable[KeyMapping]) -> Iterator[Meeting]:
    """Yield the meetings of all these mappings. Equal mappings never meet each other."""
    claims = [claim for mapping in dict.fromkeys(mappings) for claim in _claims(mapping)]
    # In this order, the claims that overlap a claim and come before it are those that it is in.
    around: list[Claim] = []
    for claim in sorted(claims, key=lambda each: (each.mapping.destination, each.prefix)):
        while around and not _is_within(claim, around[-1]):
            around.pop()
        for outer in around:
            if _can_meet(outer, claim):
                yield Meeting(claim, outer) if claim.is_rewritten else Meeting(outer, claim)
        around.append(claim)


def source_place(*, endpoint_url: str, region: str, bucket: str) -> Place:
    """The place of a source. In doubt, two sources are different: then their rules can meet.

    Args:
        endpoint_url: empty for a bucket of AWS, which its region and its name identify.
    """
    scheme, host = _scheme_and_host(endpoint_url)
    return Place(f"{scheme}://{host}" if host else region, bucket)


def destination_place(*, endpoint: str, bucket: str, is_custom_domain: bool) -> Place:
    """The place of a destination. In doubt, two destinations are the same: then rules can meet.

    Bucket names are unique in all of OSS
    (https://www.alibabacloud.com/help/en/oss/user-guide/bucket-naming-conventions). So the public,
    internal and accelerated endpoints and the custom domains of a bucket are one place.
    """
    _, host = _scheme_and_host(endpoint)
    is_of_alibaba = is_custom_domain or host.endswith(".aliyuncs.com")
    return Place("aliyuncs.com" if is_of_alibaba else host, bucket)


def _claims(mapping: KeyMapping) -> Iterator[Claim]:
    yield Claim(mapping, mapping.wanted_prefix)
    if mapping.rewritten_prefix is not None:
        yield Claim(mapping, mapping.rewritten_prefix, is_rewritten=True)


def _is_within(inner: Claim, outer: Claim) -> bool:
    is_same_bucket = inner.mapping.destination == outer.mapping.destination
    return is_same_bucket and inner.prefix.startswith(outer.prefix)


def _can_meet(outer: Claim, inner: Claim) -> bool:
    """Whether two overlapping claims can be for different objects."""
    if outer.is_rewritten or inner.is_rewritten:
        other = inner if outer.is_rewritten else outer
        return other.mapping.rewritten_prefix is None
    return _source_of(outer, inner.prefix) != _source_of(inner, inner.prefix)


def _source_of(claim: Claim, wanted_key: str) -> tuple[Place, str]:
    """The object that the rule maps to this key."""
    rest = wanted_key.removeprefix(claim.prefix)
    return claim.mapping.source, claim.mapping.source_prefix + rest


def _scheme_and_host(url: str) -> tuple[str, str]:
    scheme, _, host = url.lower().rstrip("/").rpartition("://")
    return scheme, host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
