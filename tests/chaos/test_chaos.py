"""`make chaos`, small: a bucket's worth of changes while everything that can die dies."""

import subprocess
import sys

import pytest

from tests.support.processes import REPOSITORY


@pytest.mark.xdist_group("chaos")
def test_whatever_dies_nothing_is_lost_stale_or_written_twice_at_once() -> None:
    arguments = ["--seed", "1", "--keys", "150", "--duration", "15"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert done.stdout.splitlines()[-1] == "lost=0 stale=0 extra=0 overlaps=0", said
    assert "strike kill-cluster" in said
    assert "strike crash-database" in said
