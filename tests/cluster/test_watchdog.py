"""The watchdog ends a process that is stuck, whatever it is stuck in."""

import subprocess
import sys

from tests.support.paths import REPOSITORY

IMPORTS = "import os, time; from replication.cluster import watchdog\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORTS + code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_silent_thread_ends_the_process_and_its_stack_is_shown() -> None:
    ended = run(
        "def stuck():\n    time.sleep(300)\nwith watchdog.watching(seconds=0.2):\n    stuck()"
    )
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in stuck" in ended.stderr


def test_a_thread_that_pats_goes_on_and_nothing_is_watched_after_the_body() -> None:
    ended = run(
        "watchdog.PAT_SECONDS = 0.01\n"
        "with watchdog.watching(seconds=5):\n"
        "    for _ in range(100):\n"
        "        time.sleep(0.06)\n"
        "        watchdog.pat()\n"
        "with watchdog.watching(seconds=0.2):\n"
        "    pass\n"
        "time.sleep(0.5)"
    )
    assert ended.returncode == 0, ended.stderr


def test_a_forked_child_is_not_watched_and_the_parent_still_is() -> None:
    ended = run(
        "with watchdog.watching(seconds=2):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        watchdog.pat()\n"
        "        with watchdog.watching(seconds=60):\n"
        "            pass\n"
        "        os._exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "    print('child ended', flush=True)\n"
        "    time.sleep(300)"
    )
    assert ended.stdout == "child ended\n", ended.stderr
    assert ended.returncode == 1
