"""Runs the service's own processes against the test's database."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from django.db import connection

from sandbox.child import Child

REPOSITORY = Path(__file__).resolve().parent.parent

T = TypeVar("T")


def test_database_url() -> str:
    """DATABASE_URL of the database that this test works in."""
    database = connection.settings_dict
    return (
        f"postgresql://{quote(database['USER'])}:{quote(database['PASSWORD'])}"
        f"@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    )


@contextmanager
def manage(*arguments: str, directory: Path, **environment: str) -> Iterator[Child]:
    """`manage.py ARGUMENTS` as a process, until the context ends."""
    process = Child(
        [sys.executable, REPOSITORY / "manage.py", *arguments],
        log=directory / f"{arguments[0]}-{time.monotonic_ns()}.log",
        env={
            **os.environ,
            "DATABASE_URL": test_database_url(),
            "S3SYNC_LANE_SECONDS": "3",  # a stop waits for the loops
            **environment,
        },
        cwd=REPOSITORY,
    )
    try:
        yield process
    finally:
        process.stop(grace_seconds=40)


def eventually(
    look: Callable[[], T], *, timeout_seconds: float = 30, unless_ended: Child | None = None
) -> T:
    """Wait for a look that is true, and return what it saw; shows the process's log otherwise."""
    deadline = time.monotonic() + timeout_seconds
    while not (seen := look()):
        ended = unless_ended is not None and not unless_ended.is_running()
        if ended or time.monotonic() > deadline:
            log = unless_ended.log_tail() if unless_ended else ""
            raise AssertionError(f"{'it ended' if ended else 'it never came'}: {seen!r}\n{log}")
        time.sleep(0.05)
    return seen


def members(cluster: Child) -> set[int]:
    """The cluster's processes: they are one process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdecimal() and int(fields[2]) == cluster.pid and fields[0] != "Z":
            found.add(int(entry.name))
    return found
