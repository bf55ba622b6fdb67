"""Compares both buckets, and finds writes of the same key that overlap."""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from anycrc import Model

from replication.mapping.metadata import PROVENANCE_SOURCE
from sandbox.environment import Sandbox
from tests.chaos.foreign import Foreign
from tests.chaos.oss_control import OssControl, Write
from tests.chaos.rules import Place, Rules, marks

Contents = dict[str, tuple[int, int]]  # size and CRC-64 by key
Found = dict[Place, tuple[int, int]]  # the same by place

_CRC64 = Model("CRC64-XZ")


@dataclass(frozen=True)
class Verdict:
    """What OSS lacks, what differs, what only OSS has, overlapping writes, and what was not ours.

    `left` are replicas at places that the rules do not ask for any more: nobody deletes them, and
    they are no mistakes.
    """

    lost: list[Place]
    stale: list[Place]
    extra: list[Place]
    overlaps: list[tuple[Write, Write]]
    foreign_touched: list[Place]
    deleted_unowned: list[Write]
    left: int

    def __str__(self) -> str:
        return (
            f"lost={len(self.lost)} stale={len(self.stale)} "
            f"extra={len(self.extra)} overlaps={len(self.overlaps)} "
            f"foreign_touched={len(self.foreign_touched)} "
            f"deleted_unowned={len(self.deleted_unowned)}"
        )

    @property
    def is_clean(self) -> bool:
        return not (
            self.lost
            or self.stale
            or self.extra
            or self.overlaps
            or self.foreign_touched
            or self.deleted_unowned
        )


@dataclass(frozen=True)
class Judge:
    """Compares the buckets with what the rules ask for. `keys` are all that were ever announced."""

    sandbox: Sandbox
    oss: OssControl
    foreign: Foreign
    buckets: Mapping[str, str]  # by the name of the destination
    keys: Sequence[str]

    def differences(
        self, rules: Rules, *, only: Mapping[str, Set[str]] | None = None
    ) -> tuple[list[Place], list[Place]]:
        """What is lost and what is stale by these rules; with `only`, among these keys by rule."""
        wanted = _wanted(rules, source_contents(self.sandbox), only=only)
        found = self._found()
        lost = sorted(wanted.keys() - found.keys())
        stale = sorted(
            place for place in wanted.keys() & found.keys() if wanted[place] != found[place]
        )
        return lost, stale

    def judge(self, rules: Rules, states: Sequence[Rules]) -> Verdict:
        """The verdict by the last rules; `states` are all that the rules have been."""
        source = source_contents(self.sandbox)
        lost, stale = self.differences(rules)
        ours = self._found().keys() - set(self.foreign.places)
        not_wanted = ours - _wanted(rules, source).keys()
        extra = not_wanted if len(states) == 1 else not_wanted & self._deleted(rules, source)
        writes = self.oss.writes()
        return Verdict(
            lost=lost,
            stale=stale,
            extra=sorted(extra),
            overlaps=overlaps(writes),
            foreign_touched=self.foreign.touched(),
            deleted_unowned=self._deleted_unowned(writes, states),
            left=len(not_wanted) - len(extra),
        )

    def _found(self) -> Found:
        return {
            (name, key): contents
            for name, bucket in self.buckets.items()
            for key, contents in self.oss.contents(bucket).items()
        }

    def _deleted(self, rules: Rules, source: Contents) -> set[Place]:
        """The places of keys that the source has not, where a rule asks for deletes."""
        return {
            rule.place(key)
            for rule in rules
            for key in self.keys
            if rule.delete_policy == "mirror" and key not in source and rule.asks_for(key)
        }

    def _deleted_unowned(self, writes: list[Write], states: Sequence[Rules]) -> list[Write]:
        """Deletes of objects that carried no mark of a rule and a key that the place is for."""
        names = {bucket: name for name, bucket in self.buckets.items()}
        allowed = marks(states, self.keys, bucket=self.sandbox.source_bucket)
        return [
            write
            for write in writes
            if write.deleted_meta is not None
            and write.deleted_meta.get(PROVENANCE_SOURCE)
            not in allowed.get((names[write.bucket], write.key), set())
        ]


def _wanted(rules: Rules, source: Contents, *, only: Mapping[str, Set[str]] | None = None) -> Found:
    return {
        rule.place(key): contents
        for rule in rules
        for key, contents in source.items()
        if rule.asks_for(key) and (only is None or key in only[rule.name])
    }


def source_contents(sandbox: Sandbox, bucket: str = "") -> Contents:
    """The contents of a source bucket; reads every object completely."""
    s3 = sandbox.aws.client("s3")
    bucket = bucket or sandbox.source_bucket
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def look(key: str) -> tuple[int, int]:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return len(body), _CRC64.calc(body)

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(keys, pool.map(look, keys), strict=True))


def overlaps(writes: list[Write]) -> list[tuple[Write, Write]]:
    """Pairs of writes of the same key, one begun before the other was over for its writer."""
    found = []
    of_keys = sorted(writes, key=attrgetter("bucket", "key", "started"))
    for _, of_key in groupby(of_keys, attrgetter("bucket", "key")):
        latest: Write | None = None
        for write in of_key:
            if latest is not None and write.started < latest.over:
                found.append((latest, write))
            if latest is None or write.over > latest.over:
                latest = write
    return found
