"""Changes a bucket while everything dies, then wants both buckets equal and no key written twice
at once. The same seed strikes the same way, but two runs are never the same to the millisecond.
"""

import argparse
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg

from sandbox.bootstrap import BootstrapError
from sandbox.child import StartError
from sandbox.environment import Sandbox
from tests.chaos.oss_control import OssControl
from tests.chaos.proxy import CuttingProxy
from tests.chaos.service import Service
from tests.chaos.strikes import Strikes
from tests.chaos.verdict import judge
from tests.chaos.writer import Writer, plan

PROGRESS_SECONDS = 5.0
LOOK_SECONDS = 0.5
# Messages that a killed poller held come back after so long.
VISIBILITY_SECONDS = 5
# To settle what is left when all is well again: leases and pauses, and some jobs a second.
SETTLE_SECONDS = 60.0
SETTLE_JOBS_A_SECOND = 20.0


def main() -> int:
    """One run; the exit status is 0 if nothing was lost, stale, extra, overlapping or failed."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        with ExitStack() as stack:
            return Run(arguments, stack).run()
    except KeyboardInterrupt:
        return 130
    except (BootstrapError, StartError) as failure:
        sys.stderr.write(f"chaos ended early: {failure}\n")
        return 2


def _print(line: str) -> None:
    # At once, also into a pipe: who watches wants to see it happen.
    print(line, flush=True)  # noqa: T201  a program that tells how it goes


def _leave(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: let everything end in peace
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--duration", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--clusters", type=int, default=2)
    parser.add_argument("--pollers", type=int, default=2)
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the processes' logs there")
    return parser.parse_args()


@dataclass(frozen=True)
class Counts:
    """What is left to do: jobs by state, and messages that wait or are being taken."""

    jobs: dict[str, int]
    messages: int

    @property
    def is_settled(self) -> bool:
        return not (self.messages or self.jobs.get("pending") or self.jobs.get("running"))

    def __str__(self) -> str:
        states = " ".join(f"{state}={count}" for state, count in sorted(self.jobs.items()))
        return f"messages={self.messages} {states}"


class Run:
    """One run; all that it starts is ended by `stack`."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self._arguments = arguments
        self._stack = stack
        self._started = time.monotonic()
        self._stop = threading.Event()

    def run(self) -> int:
        """The exit status."""
        wanted = self._arguments
        self._say(f"seed {wanted.seed}, {wanted.keys} keys, {wanted.duration:g} s")
        self._start()
        self._started = time.monotonic()
        self._let_it_rain()
        self._say("all strikes are over")
        is_settled = self._settle()
        return self._conclude(is_settled=is_settled)

    def _start(self) -> None:
        wanted = self._arguments
        directory = wanted.logs or Path(self._stack.enter_context(TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        self._sandbox = self._stack.enter_context(Sandbox(fsync=False))
        self._sqs = self._sandbox.aws.client("sqs")
        self._sqs.set_queue_attributes(
            QueueUrl=self._sandbox.queue_url,
            Attributes={"VisibilityTimeout": f"{VISIBILITY_SECONDS}"},
        )
        self._oss = OssControl(self._sandbox.oss.endpoint_url)
        self._oss.remember_all_requests()
        proxy = CuttingProxy(urlsplit(self._sandbox.aws.endpoint_url).port or 0, seed=wanted.seed)
        self._stack.enter_context(proxy)
        self._service = self._stack.enter_context(
            Service(
                self._sandbox,
                source_port=proxy.port,
                clusters=wanted.clusters,
                pollers=wanted.pollers,
                directory=directory,
                is_limited=wanted.seed % 2 == 0,  # claims with and without limits go other ways
                say=self._say,
            )
        )
        self._strikes = Strikes(self._service, self._oss, proxy, self._say)

    def _let_it_rain(self) -> None:
        wanted = self._arguments
        chance = random.Random(wanted.seed)
        schedule = self._strikes.schedule(chance, seconds=wanted.duration)
        steps = plan(chance, keys=wanted.keys, seconds=wanted.duration)
        self._writer = Writer(self._sandbox, steps, seed=wanted.seed)
        self._say(f"{len(steps)} changes and {len(schedule)} strikes to come")
        with ThreadPoolExecutor(2, "chaos") as pool:
            tasks = [
                pool.submit(self._writer.run, self._stop),
                pool.submit(self._strikes.run, schedule, self._stop),
            ]
            try:
                self._watch(lambda: not all(task.done() for task in tasks))
            finally:
                self._stop.set()
        for task in tasks:
            task.result()

    def _settle(self) -> bool:
        """Wait until nothing is left to do; False if that takes too long."""
        wait_seconds = SETTLE_SECONDS + self._arguments.keys / SETTLE_JOBS_A_SECOND
        deadline = time.monotonic() + wait_seconds
        self._watch(lambda: not self._counts().is_settled and time.monotonic() < deadline)
        return self._counts().is_settled

    def _watch(self, goes_on: Callable[[], bool]) -> None:
        """Look after the processes and tell how it goes, as long as it goes on."""
        next_line = time.monotonic()
        while goes_on():
            self._service.revive()
            if time.monotonic() >= next_line:
                next_line += PROGRESS_SECONDS
                made, repeated = self._writer.made, self._writer.repeated
                self._say(f"changes={made} repeats={repeated} {self._look()}")
            time.sleep(LOOK_SECONDS)

    def _look(self) -> Counts | str:
        try:
            return self._counts()
        except psycopg.OperationalError:
            return "the database is away"

    def _counts(self) -> Counts:
        # Messages first: what leaves the queue after that is seen as a job.
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=self._sandbox.queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        with psycopg.connect(self._sandbox.postgres.url, connect_timeout=5) as database:
            jobs = database.execute(
                "SELECT state, count(*) FROM replication_transferjob GROUP BY state"
            ).fetchall()
        return Counts(dict(jobs), sum(map(int, attributes.values())))

    def _conclude(self, *, is_settled: bool) -> int:
        verdict = judge(self._sandbox, self._oss, self._strikes)
        counts = self._counts()
        self._say(f"changes={self._writer.made} repeats={self._writer.repeated} {counts}")
        for name in ("lost", "stale", "extra"):
            for key in getattr(verdict, name)[:10]:
                self._say(f"{name}: {key!r}")
        for earlier, later in verdict.overlaps[:10]:
            self._say(f"overlap: {earlier} and {later}")
        self._tell_failures()
        if not is_settled:
            self._say("gave up waiting: there is still something to do")
        if self._service.ended_by_themselves:
            self._say(f"{self._service.ended_by_themselves} processes ended by themselves")
        _print(str(verdict))
        return 0 if verdict.is_clean and is_settled and not counts.jobs.get("failed") else 1

    def _tell_failures(self) -> None:
        with psycopg.connect(self._sandbox.postgres.url) as database:
            for row in database.execute(
                "SELECT code, count(*), max(number) FROM replication_transferattempt "
                "GROUP BY code ORDER BY code"
            ):
                self._say("unsuccessful tries: {} {} times, at most {} of a job".format(*row))
            for row in database.execute(
                "SELECT key, error_code, error_detail FROM replication_transferjob "
                "WHERE state = 'failed' LIMIT 10"
            ):
                self._say("failed: {!r} {} {}".format(*row))

    def _say(self, text: str) -> None:
        _print(f"{time.monotonic() - self._started:6.1f} s  {text}")


if __name__ == "__main__":
    sys.exit(main())
