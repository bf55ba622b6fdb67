"""A small `make chaos`."""

import subprocess
import sys

from tests.support.processes import REPOSITORY

CLEAN = "lost=0 stale=0 extra=0 overlaps=0 foreign_touched=0 deleted_unowned=0"


TOLD = " dropped=6 unreported=0 false_alarms=0 needless_deletes=0"


def chaos(*arguments: str, more: str = "") -> str:
    """Run it; returns what it reports. `more` is what its last line has after the usual."""
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
    assert done.stdout.splitlines()[-1] == f"{CLEAN}{more}", output
    return output


def test_strikes_and_edits_lose_nothing_touch_nothing_of_others_and_the_last_rules_hold() -> None:
    output = chaos("--keys", "150", "--duration", "15", "--edits")
    assert "strike kill-first-process" in output
    assert "strike crash-database" in output
    assert "edit by update" in output
    assert "edit by applyrules" in output


def test_credentials_of_four_kinds_that_end_all_the_time_fail_no_job() -> None:
    options = ("--keys", "60", "--duration", "24", "--tokens", "--token-seconds", "6")
    output = chaos(*options, more=" failed_jobs=0")
    assert "strike tokens-away" in output
    assert "not all kinds" not in output


def test_sweeps_report_each_lost_event_and_no_other_and_delete_nothing_that_exists() -> None:
    output = chaos("--keys", "60", "--duration", "6", "--sweep", more=TOLD)
    assert "strike pause-sweeps" in output
    assert "lost events that sweeps reported: 0" not in output
