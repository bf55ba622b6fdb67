"""Sweeps beside the changes: always one of each rule, paused, cancelled and killed at random."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sandbox.bootstrap import REPOSITORY
from tests.chaos.service import Service
from tests.chaos.strikes import kill_one_of
from tests.chaos.weather import FAULT_SECONDS

# Scaled like the leases: a poller that is killed is back, and its messages visible again, within
# the time until the second look.
SETTLE_SECONDS = 12.0
# A fault may keep messages away for as long as it lasts.
SETTLE_SECONDS_IN_WEATHER = 2 * FAULT_SECONDS
PAUSE_SECONDS = 2.0
LOOK_SECONDS = 0.5  # what a timer does each minute, scaled

# Kinds and levels take turns. Whatever a sweep mends, it mends by jobs that look again.
TURNS: tuple[dict[str, Any], ...] = (
    {"kind": "reconcile", "level": "head", "mends": True, "mends_extras": True},
    {"kind": "scrub", "level": "listing", "mends": True},
    {"kind": "backfill", "level": "records", "mends": True},
    {"kind": "scrub", "level": "full", "mends": True, "requests_per_second": 20.0},
)
LAST: dict[str, Any] = {
    "kind": "reconcile",
    "level": "head",
    "mends": True,
    "mends_extras": True,
    "settle_seconds": 5,  # nothing is on its way any more
    "instead_of_scrubs": True,
}


def settings(settle_seconds: float) -> dict[str, str]:
    """Variables of the service's environment."""
    return {
        "S3SYNC_SWEEP_GRACE_SECONDS": "4",
        "S3SYNC_SWEEP_SETTLE_SECONDS": f"{settle_seconds:g}",
    }


class Sweeping:
    """Starts sweeps until it is told to stop, and then the last ones."""

    def __init__(self, service: Service, say: Callable[[str], None]) -> None:
        self._service = service
        self._say = say
        self._asking = threading.Lock()
        self._resume_at = 0.0
        self._operator = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.operator_process"],
            cwd=REPOSITORY,
            env=service.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask("states")  # once it has started, no strike must wait for it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._operator.kill()
        self._operator.communicate()

    def strikes(self) -> dict[str, Callable[[random.Random], str]]:
        """Strikes against sweeps, by their names."""
        return {
            "kill-sweeper": self._kill_sweeper,
            "pause-sweeps": self._pause,
            "cancel-sweeps": self._cancel,
        }

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Have a sweep of each rule under way; raises what went wrong with that."""
        stop = threading.Event()
        with ThreadPoolExecutor(1, "sweeping") as pool:
            sweeps = pool.submit(self._run, stop)
            try:
                yield
            finally:
                stop.set()
            sweeps.result()

    def _run(self, stop: threading.Event) -> None:
        turn = 0
        while not stop.wait(LOOK_SECONDS):
            if time.monotonic() < self._resume_at:
                continue
            self._ask("resume")
            if self._ask("start", **TURNS[turn % len(TURNS)]):
                self._say(f"sweep {turn + 1}: {TURNS[turn % len(TURNS)]}")
                turn += 1
            self._ask("carry_on")

    def finish(self, *, seconds: float, watch: Callable[[Callable[[], bool]], None]) -> bool:
        """Compare and mend everything once more; returns whether that came to its end in time."""
        deadline = time.monotonic() + seconds
        last: list[int] = []

        def must_go_on() -> bool:
            if not last:
                self._ask("cancel")
                last.extend(self._ask("start", **LAST) or ())
            self._ask("carry_on")
            is_over = self._are_completed(last) and self._ask("is_told")
            return not is_over and time.monotonic() < deadline

        watch(must_go_on)
        for pk, state in (self._ask("states") or {}).items():
            self._say(f"sweep {pk}: {state}")
        return self._are_completed(last) and bool(self._ask("is_told"))

    def _are_completed(self, ids: list[int]) -> bool:
        states = self._ask("states") or {}
        return bool(ids) and all(states.get(f"{pk}", "").startswith("completed") for pk in ids)

    def _ask(self, command: str, **arguments: object) -> Any:
        """The operator's answer; None if the database did not answer."""
        process = self._operator
        assert process.stdin is not None
        assert process.stdout is not None
        with self._asking:
            process.stdin.write(f"{json.dumps([command, arguments])}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise RuntimeError("the operator's process has ended: see its error above")
        return json.loads(line)

    def _kill_sweeper(self, chance: random.Random) -> str:
        return kill_one_of(self._service.loop_pids("sweeper"), chance)

    def _pause(self, chance: random.Random) -> str:
        self._resume_at = time.monotonic() + PAUSE_SECONDS
        return f"{self._ask('pause')} sweeps"

    def _cancel(self, chance: random.Random) -> str:
        return f"{self._ask('cancel')} sweeps"
