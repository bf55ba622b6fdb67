"""Claimers: they claim and settle jobs like lanes but move no bytes, and record each claim.

`python -m tests.support.claimers FOLDER NAME` runs four claimers in one process. They work until
FOLDER/produced exists and no job is left, and then write their looks to FOLDER/NAME.json. Times
come from the machine's monotonic clock, so times of different processes can be compared.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from uuid import uuid4

THREADS = 4
BATCH = 25
TRANSFER_SECONDS = 0.02
SHARE_OF_ERRORS = 0.05
VERSION_BYTES = 8


@dataclass(frozen=True)
class Look:
    """A claimer held a job from `began_ns` to `ended_ns`, and read this version of its key."""

    rule_id: int
    key: str
    job_id: int
    version: int
    began_ns: int
    ended_ns: int


class VersionedKeys:
    """The source that claimers read: a file with the latest version of each key.

    Keys are decimal numbers.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)

    def close(self) -> None:
        os.close(self._file)

    def change(self, key: str, version: int) -> None:
        os.pwrite(self._file, version.to_bytes(VERSION_BYTES), int(key) * VERSION_BYTES)

    def version(self, key: str) -> int:
        return int.from_bytes(os.pread(self._file, VERSION_BYTES, int(key) * VERSION_BYTES))


def overlaps(looks: list[Look]) -> list[tuple[Look, Look]]:
    """Pairs of looks at the same rule and key, one begun before the other ended."""
    found = []
    latest: dict[tuple[int, str], Look] = {}
    for look in sorted(looks, key=attrgetter("began_ns")):
        rule_and_key = (look.rule_id, look.key)
        before = latest.get(rule_and_key)
        if before is not None and look.began_ns < before.ended_ns:
            found.append((before, look))
        if before is None or look.ended_ns > before.ended_ns:
            latest[rule_and_key] = look
    return found


def read_looks(path: Path) -> list[Look]:
    """Read the looks that a process wrote."""
    return [Look(**look) for look in json.loads(path.read_text())]


def work(folder: Path) -> list[Look]:
    """Claim and settle jobs until none is left; returns the looks."""
    return list(_looks(folder))


def _looks(folder: Path) -> Iterator[Look]:
    from replication import jobs
    from replication.errors import ErrorCode, ReplicationError
    from replication.models import Job, JobState, Outcome
    from replication.transfer.results import Completion

    unfinished = Job.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING])
    error = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)
    lane, rng = uuid4(), random.Random()
    with closing(VersionedKeys(folder / "versions")) as source:
        while True:
            is_last = (folder / "produced").exists()
            held = jobs.claim(lane, limit=BATCH, lease_seconds=60)
            began_ns = time.monotonic_ns()
            if not held:
                if is_last and not unfinished.exists():
                    return
                time.sleep(0.005)
                continue
            seen = [source.version(job.key) for job in held]
            time.sleep(TRANSFER_SECONDS)
            ours = jobs.extend_leases(lane, held, lease_seconds=60)
            assert ours == {job.claim for job in held}
            # Read the clock before settling: once that commits, another claimer may claim the key.
            ended_ns = time.monotonic_ns()
            failed = [job for job in held if rng.random() < SHARE_OF_ERRORS]
            done = [(job, Completion(Outcome.COPIED)) for job in held if job not in failed]
            assert jobs.complete(done) == {job.claim for job, _ in done}
            for job in failed:
                assert jobs.retry_later(job, error) is not None
            for job, version in zip(held, seen, strict=True):
                yield Look(job.rule_id, job.key, job.id, version, began_ns, ended_ns)


def main() -> None:
    """Run the claimers of one process; write their looks, unless a claimer fails."""
    import django

    django.setup()

    from tests.support.threads import at_once

    folder, name = Path(sys.argv[1]), sys.argv[2]
    (folder / f"{name}.ready").touch()
    looks = chain.from_iterable(at_once(*[lambda: work(folder)] * THREADS))
    part = folder / f"{name}.part"
    part.write_text(json.dumps([asdict(look) for look in looks]))
    part.rename(folder / f"{name}.json")


if __name__ == "__main__":
    main()
