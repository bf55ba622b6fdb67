"""A small `make chaos`."""

import subprocess
import sys

import pytest

from tests.support.processes import REPOSITORY

CLEAN = "lost=0 stale=0 extra=0 overlaps=0 foreign_touched=0 deleted_unowned=0"


def chaos(*arguments: str) -> str:
    """Run it; returns what it reports."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", "1", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert done.stdout.splitlines()[-1] == CLEAN, output
    return output


@pytest.mark.xdist_group("chaos")
def test_no_strike_makes_an_object_lost_stale_or_written_by_two_writers_at_once() -> None:
    output = chaos("--keys", "150", "--duration", "15")
    assert "strike kill-first-process" in output
    assert "strike crash-database" in output


@pytest.mark.xdist_group("chaos")
def test_edits_of_rules_under_load_touch_nothing_of_others_and_the_last_rules_hold() -> None:
    output = chaos("--keys", "80", "--duration", "10", "--edits")
    assert "edit by update" in output
    assert "edit by applyrules" in output
