"""A small `make chaos`."""

import subprocess
import sys

import pytest

from tests.support.processes import REPOSITORY

CLEAN = "lost=0 stale=0 extra=0 overlaps=0 foreign_touched=0 deleted_unowned=0"


TOLD = " dropped=6 unreported=0 false_alarms=0 needless_deletes=0"


def chaos(*arguments: str, more: str = "", seed: int = 1, seconds: float = 150) -> str:
    """Run it; returns what it reports. `more` is what its last line has after the usual."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", str(seed), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert done.stdout.splitlines()[-1] == f"{CLEAN}{more}", output
    return output


def test_strikes_and_edits_lose_nothing_touch_nothing_of_others_and_the_last_rules_hold() -> None:
    output = chaos("--keys", "150", "--duration", "15", "--edits")
    assert "strike kill-first-process" in output
    assert "strike crash-database" in output
    assert "edit by update" in output
    assert "edit by applyrules" in output


# Two rules, and processes that start anew: many seconds where the machine is slow.
@pytest.mark.timeout(300)
def test_credentials_of_four_kinds_that_end_all_the_time_fail_no_job() -> None:
    options = ("--keys", "40", "--duration", "12", "--tokens", "--token-seconds", "6")
    output = chaos(*options, more=" failed_jobs=0", seed=15, seconds=270)
    assert "strike tokens-away" in output  # this seed has it early
    assert "not all kinds" not in output


def test_sweeps_report_each_lost_event_and_no_other_and_delete_nothing_that_exists() -> None:
    output = chaos("--keys", "60", "--duration", "6", "--sweep", more=TOLD)
    assert "strike pause-sweeps" in output
    assert "lost events that sweeps reported: 0" not in output
