"""Runs the service's own processes against the test's database."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from django.db import connection

from sandbox.child import Child
from tests.support.paths import REPOSITORY

T = TypeVar("T")


def test_database_url() -> str:
    """The DATABASE_URL of this test's database."""
    database = connection.settings_dict
    return (
        f"postgresql://{quote(database['USER'])}:{quote(database['PASSWORD'])}"
        f"@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    )


@contextmanager
def manage(*arguments: str, directory: Path, **environment: str) -> Iterator[Child]:
    """Run `manage.py ARGUMENTS` as a process until the context ends."""
    process = Child(
        [sys.executable, REPOSITORY / "manage.py", *arguments],
        log=directory / f"{arguments[0]}-{time.monotonic_ns()}.log",
        env={
            **os.environ,
            "DATABASE_URL": test_database_url(),
            "S3SYNC_LANE_SECONDS": "3",  # short, because a stop waits for the loops
            **environment,
        },
        cwd=REPOSITORY,
    )
    try:
        yield process
    finally:
        process.stop(grace_seconds=40)


@contextmanager
def web_server(*, processes: int = 1, **environment: str) -> Iterator[str]:
    """Run the product's web server as a process until the context ends; yields its HOST:PORT."""
    command = [sys.executable, "manage.py", "web", "--bind=127.0.0.1:0"]
    with web_server_by([*command, f"--processes={processes}"], **environment) as address:
        yield address


@contextmanager
def web_server_by(command: list[str], **environment: str) -> Iterator[str]:
    """Run this command, which starts a web server, until the context ends; yields its HOST:PORT."""
    environment = {"DATABASE_URL": test_database_url(), **environment}
    with tempfile.TemporaryDirectory(prefix="s3sync-web-") as directory:
        server = Child(
            command,
            log=Path(directory) / "web.log",
            env={**os.environ, **environment},
            cwd=REPOSITORY,
        )
        try:
            found = eventually(
                lambda: re.search(r"Listening at: http://(\S+)", server.log.read_text()),
                unless_ended=server,
            )
            assert found
            yield found[1]
        finally:
            server.stop(grace_seconds=60)


def eventually(
    look: Callable[[], T], *, timeout_seconds: float = 90, unless_ended: Child | None = None
) -> T:
    """Wait until `look()` is true and return its result; on a timeout, show the process's log."""
    deadline = time.monotonic() + timeout_seconds
    while not (seen := look()):
        ended = unless_ended is not None and not unless_ended.is_running()
        if ended or time.monotonic() > deadline:
            log = unless_ended.log_tail() if unless_ended else ""
            reason = "the process ended" if ended else "timed out"
            raise AssertionError(f"{reason}: {seen!r}\n{log}")
        time.sleep(0.05)
    return seen


def members(cluster: Child) -> set[int]:
    """The ids of the cluster's processes, which form one process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdecimal() and int(fields[2]) == cluster.pid and fields[0] != "Z":
            found.add(int(entry.name))
    return found
