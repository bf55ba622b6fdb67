"""What is going on in the database: waits for it, measures it, and prints it."""

import time
from collections.abc import Callable
from typing import Any

import psycopg

from sandbox.child import Child
from sandbox.environment import Sandbox
from tests.upgrade.rows import KINDS
from tests.upgrade.traffic import Window, window

WAIT_SECONDS = 3600.0
_LOOK_SECONDS = 0.2
_PROGRESS_SECONDS = 15.0
_STAYS = " OR ".join(f"key LIKE '{kind.prefix}%'" for kind in KINDS if not kind.is_carried_on)


class Watch:
    """Looks at one database; `windows` are the stretches of time that were measured."""

    def __init__(self, sandbox: Sandbox, database: psycopg.Connection) -> None:
        self._sandbox = sandbox
        self._database = database
        self._began = time.monotonic()
        self.windows: list[Window] = []

    def say(self, line: str) -> None:
        """Print a line, at once through a pipe too."""
        print(f"{time.monotonic() - self._began:6.1f} s  {line}", flush=True)  # noqa: T201

    def one(self, query: str) -> Any:
        """The first value of the first row."""
        row = self._database.execute(query).fetchone()
        assert row is not None
        return row[0]

    def now(self) -> float:
        """The database's clock, in seconds of the epoch."""
        return float(self.one("SELECT extract(epoch FROM clock_timestamp())"))

    def count(self, condition: str) -> int:
        """How many jobs meet this SQL condition."""
        return int(self.one(f"SELECT count(*) FROM {self._jobs()} WHERE {condition}"))

    def calm(self, name: str, seconds: float) -> None:
        """Let the traffic go on for so long, and measure it."""
        began = self.now()
        time.sleep(seconds)
        self.measure(name, began, self.now())

    def measure(self, name: str, began: float, ended: float) -> None:
        """Measure the traffic between these moments of the database's clock."""
        self.windows.append(window(self._database, self._jobs(), name, began, ended))
        self.say(f"{self.windows[-1]}")

    def until_no_work(self) -> None:
        """Wait until the queue of messages is empty, and no job is left that can be copied."""
        sqs = self._sandbox.aws.client("sqs")

        def left() -> int:
            # First the messages: one that leaves the queue after that is counted as a job.
            found = sqs.get_queue_attributes(
                QueueUrl=self._sandbox.queue_url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
            messages = sum(map(int, found["Attributes"].values()))
            return messages + self.count(f"state IN ('pending', 'running') AND NOT ({_STAYS})")

        self.until("messages and jobs are left", left)

    def until(
        self,
        what: str,
        left: Callable[[], float],
        *,
        at_most: float = 0,
        unless_ended: Child | None = None,
    ) -> None:
        """Wait until no more than `at_most` is left, and print now and then how much is."""
        deadline = time.monotonic() + WAIT_SECONDS
        next_line = time.monotonic() + _PROGRESS_SECONDS
        while (seen := left()) > at_most:
            if unless_ended and not unless_ended.is_running():
                raise RuntimeError(f"the cluster ended:\n{unless_ended.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: {seen} instead of {at_most}")
            if time.monotonic() > next_line:
                next_line += _PROGRESS_SECONDS
                self.say(f"{what}: {seen:.5g}")
            time.sleep(_LOOK_SECONDS)

    def _jobs(self) -> str:
        """The table of all jobs, before the migration and after it."""
        return str(
            self.one(
                "SELECT coalesce(to_regclass('replication_job'), 'replication_transferjob')::text"
            )
        )
