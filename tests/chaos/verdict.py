"""Compares both buckets, and finds writes of the same key that overlap."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from anycrc import Model

from sandbox.environment import Sandbox
from tests.chaos.oss_control import OssControl, Write
from tests.chaos.strikes import SLOW_ANSWER_SECONDS, SURELY_LIVE_SECONDS, Strikes

Contents = dict[str, tuple[int, int]]  # size and CRC-64 by key

_CRC64 = Model("CRC64-XZ")


@dataclass(frozen=True)
class Verdict:
    """Keys that OSS lacks, keys that differ, keys that only OSS has, and overlapping writes."""

    lost: list[str]
    stale: list[str]
    extra: list[str]
    overlaps: list[tuple[Write, Write]]

    def __str__(self) -> str:
        return (
            f"lost={len(self.lost)} stale={len(self.stale)} "
            f"extra={len(self.extra)} overlaps={len(self.overlaps)}"
        )

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.stale or self.extra or self.overlaps)


def judge(sandbox: Sandbox, oss: OssControl, strikes: Strikes) -> Verdict:
    """Compare the buckets, and find overlapping writes."""
    wanted = source_contents(sandbox)
    found = oss.contents(sandbox.destination_bucket)
    return Verdict(
        lost=sorted(wanted.keys() - found.keys()),
        stale=sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key]),
        extra=sorted(found.keys() - wanted.keys()),
        overlaps=overlaps(oss.writes(), slow_answers=strikes.slow_answers, pauses=strikes.pauses),
    )


def source_contents(sandbox: Sandbox) -> Contents:
    """The contents of the source bucket; reads every object completely."""
    s3 = sandbox.aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=sandbox.source_bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def look(key: str) -> tuple[int, int]:
        body = s3.get_object(Bucket=sandbox.source_bucket, Key=key)["Body"].read()
        return len(body), _CRC64.calc(body)

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(keys, pool.map(look, keys), strict=True))


def overlaps(
    writes: list[Write], *, slow_answers: set[int], pauses: set[int]
) -> list[tuple[Write, Write]]:
    """Pairs of writes of the same key, one begun before the other's writer was done.

    A write with a slow answer was carried out SLOW_ANSWER_SECONDS before its logged end: its client
    gives up before that end and may retry. A paused write may have lost its client during the
    pause: it counts only for SURELY_LIVE_SECONDS, the time for which its client was certainly
    alive.
    """

    def done(write: Write) -> float:
        if write.fault in pauses:
            return min(write.ended, write.started + SURELY_LIVE_SECONDS)
        return write.ended - (SLOW_ANSWER_SECONDS if write.fault in slow_answers else 0)

    found = []
    for _, of_key in groupby(sorted(writes, key=attrgetter("key", "started")), attrgetter("key")):
        latest: Write | None = None
        for write in of_key:
            if latest is not None and write.started < done(latest):
                found.append((latest, write))
            if latest is None or done(write) > done(latest):
                latest = write
    return found
