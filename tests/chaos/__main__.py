"""Changes a bucket while processes are killed, connections cut and faults injected. In the end both
buckets must be equal, and no key may have been written by two writers at once. With edits, the
rules change meanwhile, and the buckets must be equal by the rules as they are in the end. Objects
of other programs must be untouched. The same seed gives the same schedule, but timing differs from
run to run. With weather, long faults follow, one after the other (weather.py). With sweeps, one
change in a hundred before the weather is not announced, and sweeps run all the time: they must
report each such change, and no other. With tokens, all credentials are temporary ones
(tokens.py).
"""

import argparse
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg

from sandbox.bootstrap import BootstrapError
from sandbox.child import StartError
from sandbox.environment import Sandbox
from tests.chaos import sweeping, tokens, unannounced
from tests.chaos.editor import Editor
from tests.chaos.foreign import Foreign, foreign_places, ghost_keys
from tests.chaos.oss_control import OssControl
from tests.chaos.rules import (
    BEFORE_EDITS,
    REPLICA,
    SECOND,
    WITHOUT_EDITS,
    Place,
    Rules,
    places,
    plan_edits,
)
from tests.chaos.service import Service, cluster_names
from tests.chaos.strikes import Strikes
from tests.chaos.sweeping import Sweeping
from tests.chaos.tokens import Tokens
from tests.chaos.unannounced import Record, Reported
from tests.chaos.verdict import Judge
from tests.chaos.weather import MAX_SECONDS_TO_EQUALITY, Observation, Weather, table
from tests.chaos.writer import Made, Writer, plan, stop_notifications
from tests.support.proxy import UnreliableProxy

SECOND_BUCKET = "s3sync-second"
PROGRESS_SECONDS = 5.0
LOOK_SECONDS = 0.5
# After this time, messages of a killed poller become visible again.
VISIBILITY_SECONDS = 5
# How long the rest of the work may take after the last strike: time for leases and pauses to end,
# and then this many jobs a second.
SETTLE_SECONDS = 60.0
SETTLE_JOBS_A_SECOND = 20.0
# The last sweeps may take so many times longer than a second look: they look so often at a key
# whose delete awaits a person.
SWEEP_LOOKS = 6


def main() -> int:
    """Run once; the exit status is 0 if nothing was done wrongly and no job failed."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            return Run(arguments, stack).run()
    except KeyboardInterrupt:
        return 130
    except (BootstrapError, StartError) as failure:
        sys.stderr.write(f"The chaos run could not go on: {failure}\n")
        return 2


def _print(line: str) -> None:
    # Flush, so that progress is visible at once through a pipe too.
    print(line, flush=True)  # noqa: T201  a command that reports its progress


def _interrupt(number: int, _: object) -> None:
    # Ignore the signal from now on: a second one must not interrupt the clean-up.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--duration", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--clusters", type=int, default=2)
    parser.add_argument("--pollers", type=int, default=2)
    parser.add_argument("--edits", action="store_true", help="edit the rules meanwhile")
    parser.add_argument("--weather", action="store_true", help="faults that last, after the rest")
    parser.add_argument("--sweep", action="store_true", help="lose 1 %% of the events, and sweep")
    parser.add_argument("--tokens", action="store_true", help="credentials that end all the time")
    parser.add_argument("--token-seconds", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the weather's table")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the processes' logs in DIR")
    arguments = parser.parse_args()
    others = arguments.weather or arguments.edits or arguments.sweep
    if arguments.tokens and (others or arguments.clusters < 2):
        parser.error("--tokens needs two clusters, and goes with no other kind of run")
    return arguments


@dataclass(frozen=True)
class Counts:
    """The jobs by state, and the messages in the queue, visible or in flight.

    `held` are deletes that a person must confirm: nobody does, so they stay.
    """

    jobs: dict[str, int]
    messages: int

    @property
    def is_settled(self) -> bool:
        return not (self.messages or self.jobs.get("pending") or self.jobs.get("running"))

    def __str__(self) -> str:
        states = " ".join(f"{state}={count}" for state, count in sorted(self.jobs.items()))
        return f"messages={self.messages} {states}"


class Run:
    """One run; `stack` stops everything that the run starts."""

    def __init__(self, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self._arguments = arguments
        self._stack = stack
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._unmended: tuple[list[Place], list[Place]] = [], []
        self._weather: Weather | None = None
        self._sweeping: Sweeping | None = None
        self._tokens: Tokens | None = None
        self._observations: list[Observation] = []

    def run(self) -> int:
        """Do the run; returns the exit status."""
        arguments = self._arguments
        self._say(f"seed {arguments.seed}, {arguments.keys} keys, {arguments.duration:g} s")
        self._start()
        self._started = time.monotonic()
        self._write_and_strike()
        self._say("all strikes are over")
        is_settled = self._settle()
        if self._tokens:
            is_settled &= self._use_all_credentials(self._tokens)
        is_settled &= self._finish_sweeps()
        if arguments.edits:
            self._note_unmended()
            self._say("all keys are announced once more, for the rules as they are now")
            self._writer.announce_all()
            is_settled &= self._settle()
        if self._weather:
            with self._sweeps_beside():
                self._observations = self._weather.run(self._service, self._settle)
            is_settled &= all(each.equal_after is not None for each in self._observations)
            is_settled &= self._finish_sweeps()
        return self._conclude(is_settled=is_settled)

    def _start(self) -> None:
        arguments = self._arguments
        directory = arguments.logs or Path(self._stack.enter_context(TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        self._sandbox = self._stack.enter_context(Sandbox(fsync=False))
        self._sqs = self._sandbox.aws.client("sqs")
        self._sqs.set_queue_attributes(
            QueueUrl=self._sandbox.queue_url,
            Attributes={"VisibilityTimeout": f"{VISIBILITY_SECONDS}"},
        )
        self._oss = OssControl(self._sandbox.oss.endpoint_url)
        self._oss.log_all_requests()
        self._buckets = {REPLICA: self._sandbox.destination_bucket, SECOND: SECOND_BUCKET}
        self._oss.create_bucket(SECOND_BUCKET)
        rules = BEFORE_EDITS if arguments.edits else WITHOUT_EDITS
        if arguments.tokens:
            rules = tokens.RULES
            self._tokens = self._stack.enter_context(
                Tokens(
                    self._sandbox,
                    self._oss,
                    life_seconds=arguments.token_seconds,
                    directory=directory,
                )
            )
        self._plan(rules)
        s3_url = self._tokens.server.s3_url if self._tokens else self._sandbox.aws.endpoint_url
        aws_port = urlsplit(s3_url).port or 0
        proxy = self._stack.enter_context(UnreliableProxy(aws_port, seed=arguments.seed))
        if arguments.weather:
            self._weather = Weather(
                self._stack,
                self._sandbox,
                self._oss,
                proxy,
                seed=arguments.seed,
                announces=arguments.sweep,
                say=self._say,
            )
        self._service = self._stack.enter_context(
            Service(
                self._sandbox,
                settings={
                    **sweeping.settings(self._second_look_seconds),
                    **(self._weather.settings if self._weather else {}),
                    **(self._tokens.settings if self._tokens else {}),
                },
                hosts=self._tokens.of_hosts(cluster_names(arguments.clusters))
                if self._tokens
                else {},
                profiles=tokens.PROFILES if self._tokens else {},
                beside=self._weather.beside if self._weather else {},
                queue_url=self._weather.queue_url if self._weather else self._sandbox.queue_url,
                source_port=proxy.port,
                clusters=arguments.clusters,
                pollers=arguments.pollers,
                directory=directory,
                # Claims of a destination with rate limits run other code: test both kinds.
                is_limited=arguments.seed % 2 == 0,
                say=self._say,
                rules=rules,
                buckets=self._buckets,
            )
        )
        if arguments.sweep:
            self._sweeping = self._stack.enter_context(Sweeping(self._service, self._say))
        self._strikes = Strikes(
            self._service,
            self._oss,
            proxy,
            self._say,
            {
                **(self._sweeping.strikes() if self._sweeping else {}),
                **(self._tokens.strikes() if self._tokens else {}),
            },
        )
        self._editor = Editor(self._service, self._edits, rules, self._say)
        self._judge = Judge(
            self._sandbox,
            self._oss,
            self._foreign,
            self._buckets,
            sorted({step.key for step in self._steps}),
        )

    def _plan(self, rules: Rules) -> None:
        """Plan the changes and the edits, and lay the foreign objects where no edit asks for."""
        arguments = self._arguments
        chance = random.Random(f"edits of {arguments.seed}")
        self._edits = plan_edits(chance, seconds=arguments.duration) if arguments.edits else []
        ghosts = ghost_keys()
        self._chance = random.Random(arguments.seed)
        self._steps = plan(
            self._chance, keys=arguments.keys, seconds=arguments.duration, ghosts=ghosts
        )
        self._unannounced = None
        if arguments.sweep:
            chance = random.Random(f"events that {arguments.seed} loses")
            self._unannounced = unannounced.choose(chance, self._steps)
            stop_notifications(self._sandbox)
        ghost_places = places([rules, *(edit.rules for edit in self._edits)], ghosts)
        self._foreign = Foreign(
            self._sandbox, foreign_places(ghost_places, self._buckets), buckets=self._buckets
        )
        self._foreign.lay()
        self._say(f"{len(self._foreign.places)} objects of other programs are in OSS")

    def _write_and_strike(self) -> None:
        """Make the changes and the strikes, side by side, until both are over."""
        arguments = self._arguments
        schedule = self._strikes.schedule(self._chance, seconds=arguments.duration)
        self._writer = Writer(
            self._sandbox, self._steps, seed=arguments.seed, unannounced=self._unannounced
        )
        self._say(
            f"{len(self._steps)} changes, {len(schedule)} strikes and {len(self._edits)} edits "
            "are planned"
        )
        with self._sweeps_beside(), ThreadPoolExecutor(3, "chaos") as pool:
            tasks = [
                pool.submit(self._writer.run, self._stop),
                pool.submit(self._strikes.run, schedule, self._stop),
                pool.submit(self._editor.run, self._stop),
            ]
            try:
                self._watch(lambda: not all(task.done() for task in tasks))
            finally:
                self._stop.set()
        for task in tasks:
            task.result()

    def _sweeps_beside(self) -> AbstractContextManager[None]:
        return self._sweeping.going_on() if self._sweeping else nullcontext()

    def _finish_sweeps(self) -> bool:
        """Compare and mend all once more; False if that takes too long."""
        if self._sweeping is None:
            return True
        self._say("both sides are compared for the last time")
        most_seconds = self._settle_seconds() + SWEEP_LOOKS * self._second_look_seconds
        return self._sweeping.finish(seconds=most_seconds, watch=self._watch)

    def _settle(self) -> bool:
        """Wait until no work is left; False if that takes too long."""
        deadline = time.monotonic() + self._settle_seconds()
        self._watch(lambda: not self._counts().is_settled and time.monotonic() < deadline)
        return self._counts().is_settled

    def _use_all_credentials(self, tokens: Tokens) -> bool:
        """Announce all keys again until each kind of credentials was renewed: on a slow machine,
        one cluster may have done all. False if the work takes too long."""
        deadline = time.monotonic() + self._settle_seconds() + 2 * self._arguments.token_seconds
        is_settled = True
        while is_settled and not tokens.are_renewed and time.monotonic() < deadline:
            self._writer.announce_all()
            is_settled = self._settle()
        return is_settled

    def _settle_seconds(self) -> float:
        return SETTLE_SECONDS + self._arguments.keys / SETTLE_JOBS_A_SECOND

    @property
    def _second_look_seconds(self) -> float:
        if self._weather:
            return sweeping.SETTLE_SECONDS_IN_WEATHER
        return sweeping.SETTLE_SECONDS

    def _watch(self, must_go_on: Callable[[], bool]) -> None:
        """Restart processes that exited and report the progress, while `must_go_on()` is true."""
        next_line = time.monotonic()
        while must_go_on():
            self._service.revive()
            if time.monotonic() >= next_line:
                next_line += PROGRESS_SECONDS
                made, repeated = self._writer.made, self._writer.repeated
                self._say(f"changes={made} repeats={repeated} {self._progress()}")
            time.sleep(LOOK_SECONDS)

    def _progress(self) -> Counts | str:
        try:
            return self._counts()
        except psycopg.OperationalError:
            return "the database is unreachable"

    def _counts(self) -> Counts:
        # Count messages first: a message that leaves the queue after that is counted as a job.
        urls = [
            self._sandbox.queue_url,
            *([self._weather.beside_queue_url] if self._weather else []),
        ]
        messages = sum(map(self._messages_in, urls))
        with psycopg.connect(self._sandbox.postgres.url, connect_timeout=5) as database:
            jobs = database.execute(
                "SELECT CASE delete_permit WHEN 'awaited' THEN 'held' ELSE state END, count(*) "
                "FROM replication_job GROUP BY 1"
            ).fetchall()
        return Counts(dict(jobs), messages)

    def _messages_in(self, queue_url: str) -> int:
        """The messages in the queue, visible or in flight."""
        found = self._sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(map(int, found["Attributes"].values()))

    def _note_unmended(self) -> None:
        """Judge what was settled after the last edits, before all keys are looked at once more."""
        rules = self._editor.rules
        only = {
            rule.name: self._editor.keys_settled_since_the_last_edit(rule.name) for rule in rules
        }
        self._unmended = self._judge.differences(rules, only=only)
        self._say(f"keys settled since the last edits: {sum(map(len, only.values()))}")

    def _conclude(self, *, is_settled: bool) -> int:
        keys = {*self._judge.keys, *(made.step.key for made in self._weather_log)}
        judge = replace(self._judge, keys=sorted(keys))
        verdict = judge.judge(self._editor.rules, self._editor.states)
        lost, stale = self._unmended
        verdict.lost.extend(lost)
        verdict.stale.extend(stale)
        counts = self._counts()
        self._say(f"changes={self._writer.made} repeats={self._writer.repeated} {counts}")
        self._say(f"replicas left at places that no rule asks for: {verdict.left}")
        for name in ("lost", "stale", "extra", "foreign_touched", "deleted_unowned"):
            for found in getattr(verdict, name)[:10]:
                self._say(f"{name}: {found!r}")
        for earlier, later in verdict.overlaps[:10]:
            self._say(f"overlap: {earlier} and {later}")
        self._report_failures()
        if self._tokens:
            self._say(self._tokens.counts())
            if not self._tokens.are_renewed:
                self._say("not all kinds of credentials were renewed: use a longer DURATION")
        if not is_settled:
            self._say("gave up waiting: messages or jobs are left")
        if self._service.unexpected_exits:
            self._say(f"processes that exited unexpectedly: {self._service.unexpected_exits}")
        reported = self._reported()
        failed = f" failed_jobs={counts.jobs.get('failed', 0)}" if self._tokens else ""
        _print(f"{verdict}{failed}{self._weather_verdict()}{f' {reported}' if reported else ''}")
        is_good = verdict.is_clean and is_settled and not counts.jobs.get("failed")
        is_good &= self._tokens is None or self._tokens.are_renewed
        is_good &= reported is None or reported.is_clean
        return 0 if is_good and self._is_weather_good() else 1

    def _reported(self) -> Reported | None:
        """What the sweeps said of the changes that no event told of."""
        if self._unannounced is None:
            return None
        with psycopg.connect(self._sandbox.postgres.url) as database:
            record = Record(
                [*self._writer.log, *self._weather_log],
                self._unannounced,
                self._editor.states,
                unannounced.read_findings(database),
                unannounced.read_jobs(database),
                unannounced.deletions(self._oss.writes()),
            )
        reported = record.report()
        for name in ("unreported", "false_alarms", "needless_deletes"):
            for found in getattr(reported, name)[:10]:
                self._say(f"{name}: {found}")
        self._say(f"lost events that sweeps reported: {len(reported.reported)}")
        return reported

    @property
    def _weather_log(self) -> list[Made]:
        return self._weather.log if self._weather else []

    def _weather_verdict(self) -> str:
        if not self._weather:
            return ""
        if self._arguments.report:
            self._arguments.report.write_text(table(self._observations))
        longest = max(each.equal_after or inf for each in self._observations)
        failed = self._weather.failed_transient(self._service)
        return f" failed_transient={failed} longest_to_equality={longest:.1f}s"

    def _is_weather_good(self) -> bool:
        return self._weather is None or (
            self._weather.is_beside_equal()
            and not self._weather.failed_transient(self._service)
            and all(
                (each.equal_after or inf) <= MAX_SECONDS_TO_EQUALITY for each in self._observations
            )
        )

    def _report_failures(self) -> None:
        with psycopg.connect(self._sandbox.postgres.url) as database:
            for row in database.execute(
                "SELECT code, count(*), max(number) FROM ("
                "SELECT code, number FROM replication_transferattempt UNION ALL "
                "SELECT one.* FROM replication_endedjob, "
                "jsonb_to_recordset(tries) AS one (code text, number int)"
                ") AS tries GROUP BY code ORDER BY code"
            ):
                self._say("unsuccessful tries: {}: {} in all, at most {} of one job".format(*row))
            for row in database.execute(
                "SELECT key, error_code, error_detail FROM replication_transferjob "
                "WHERE state = 'failed' LIMIT 10"
            ):
                self._say("failed: {!r} {} {}".format(*row))

    def _say(self, text: str) -> None:
        _print(f"{time.monotonic() - self._started:6.1f} s  {text}")


if __name__ == "__main__":
    sys.exit(main())
