"""A small `make chaos`."""

import subprocess
import sys

import pytest

from tests.support.processes import REPOSITORY


@pytest.mark.xdist_group("chaos")
def test_no_strike_makes_an_object_lost_stale_or_written_by_two_writers_at_once() -> None:
    arguments = ["--seed", "1", "--keys", "150", "--duration", "15"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert done.stdout.splitlines()[-1] == "lost=0 stale=0 extra=0 overlaps=0", output
    assert "strike kill-cluster" in output
    assert "strike crash-database" in output
