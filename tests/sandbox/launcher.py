"""A process that starts a stand-in, to be killed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandbox.bootstrap import REPOSITORY


@contextmanager
def launcher(program: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `program`, which prints one line and then waits for its end; the process and the line."""
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


def await_(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` holds; fail after 15 s."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
