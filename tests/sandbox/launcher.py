"""Runs a program that starts a stand-in, in a process that a test can kill."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandbox.bootstrap import REPOSITORY


@contextmanager
def launcher(program: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a Python program that prints one line and then waits; yields the process and the line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` is true; fail after 90 s."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
