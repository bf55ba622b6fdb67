"""Measures how lanes claim jobs of many rules, and how writers commit jobs beside the NOTIFY."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg

from benchmarks.claimers import LANES, LIMIT
from benchmarks.ours import Installation
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from sandbox.bootstrap import REPOSITORY

MANY_RULES = 1000
ONE, MANY = "1 rule", f"{MANY_RULES:,} rules"
FEW_OF_ONE, FEW_OF_MANY = f"{ONE}, few due jobs", f"{MANY}, few due jobs"
FEW_CLAIMS = 14  # by each lane: at any time more are due than all lanes together ask for
PROCESSES, THREADS = 2, 8  # as many as the web server of the image has
LISTENERS = 2  # as many as there are lanes
CHANNEL = "s3sync_jobs"  # of replication/jobs/waking.py
NOTIFYING, SILENT = "with NOTIFY", "without"


def measure_claims(sitting: Sitting) -> Row:
    """One rule and many in turns; then few due jobs, of which all lanes want some."""
    due, claims, rounds = (20_000, 20, 1) if sitting.is_quick else (100_000, 60, 4)
    row = Row(
        f"Claims: {LIMIT} of {due:,} due jobs, one lane, and {LANES} at once",
        notes=[
            "The lanes complete what they claim, outside the measured time. WAL is that of the one "
            "lane's claims, without the whole pages that the first change of a page after a "
            "checkpoint adds."
        ],
    )
    with ExitStack() as both:
        one, many = (both.enter_context(sitting.installation()) for _ in range(2))
        turns = [(ONE, one, 1), (MANY, many, MANY_RULES)]
        for _, installation, rules in turns:
            _run(installation, "claimers", "fill", rules, due // rules)
        for _ in range(rounds):
            for name, installation, _ in turns:
                row.add(name, **_run(installation, "claimers", "claim", claims))
            turns.reverse()
        for name, installation, rules in ((FEW_OF_ONE, one, 1), (FEW_OF_MANY, many, MANY_RULES)):
            for _ in range(rounds):
                _run(installation, "claimers", "fill", rules, _few(LANES + 1) // rules)
                row.add(name, **_run(installation, "claimers", "claim", FEW_CLAIMS))
    row.checks = [
        *(
            Check(
                f"{name.replace('_', ' ')}, {MANY} / {ONE}",
                row.median(MANY, name) / row.median(ONE, name),
                at_most=2,
                aim=1.2,
            )
            for name in ("ms_a_claim", f"ms_a_claim_of_{LANES}_lanes")
        ),
        *(
            Check(f"bytes of WAL a job, {name}", row.median(name, "wal_bytes_a_job"), at_most=1000)
            for name in (ONE, MANY)
        ),
        Check(
            "empty claims while jobs are due",
            sum(sum(figures["empty_claims"].values) for figures in row.figures.values()),
            at_most=0,
        ),
    ]
    return row


def _few(lanes: int) -> int:
    """Due jobs for the claims of so many lanes, and for what all of them ask for at the end."""
    needed = (lanes * FEW_CLAIMS + LANES) * LIMIT
    return -(-needed // MANY_RULES) * MANY_RULES


def measure_commits(sitting: Sitting) -> Row:
    """Commits by many writers, in turns with and without the NOTIFY that follows each."""
    seconds, rounds = (3, 1) if sitting.is_quick else (8, 6)
    row = Row(
        f"Commits: {PROCESSES * THREADS} writers enqueue job after job, with fsync",
        notes=[
            f"{PROCESSES} processes of {THREADS} threads; {LISTENERS} connections listen. The "
            "NOTIFY is sent after the commit, and the threads of a process share it."
        ],
    )
    with sitting.installation() as installation, _listeners(installation):
        turns = [NOTIFYING, SILENT]
        for _ in range(rounds):
            for name in turns:
                installation.delete_unfinished()
                row.add(name, **_commit(installation, seconds, is_silent=name == SILENT))
            turns.reverse()
    row.checks = [
        Check(
            f"commits/s {NOTIFYING} / {SILENT}",
            row.median(NOTIFYING, "commits_a_second") / row.median(SILENT, "commits_a_second"),
            at_least=0.9,
            aim=1,
        )
    ]
    return row


def _commit(installation: Installation, seconds: float, *, is_silent: bool) -> dict[str, float]:
    arguments = [str(THREADS), str(seconds), *(["--silent"] if is_silent else [])]
    processes = [_start(installation, "committers", *arguments) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
    return {"commits_a_second": sum(map(_result, processes)) / seconds}


@contextmanager
def _listeners(installation: Installation) -> Iterator[None]:
    """Connections that listen as lanes do, and take what they are told."""
    ended = threading.Event()

    def listen() -> None:
        with psycopg.connect(installation.postgres.url, autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while not ended.is_set():
                for _ in connection.notifies(timeout=0.5):
                    pass

    threads = [threading.Thread(target=listen) for _ in range(LISTENERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _run(installation: Installation, module: str, *arguments: object) -> Any:
    """Run a module of the benchmarks at the installation's database; returns what it prints."""
    return _result(_start(installation, module, *arguments))


def _start(installation: Installation, module: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env=installation.environment,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _result(process: subprocess.Popen[str]) -> Any:
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed")
    return json.loads(output)
