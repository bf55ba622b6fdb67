"""The service as it ships, between the stand-ins: a database, a rule and the processes."""

import json
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks.idle import cpu_seconds
from benchmarks.processes import Group, run_to_end
from benchmarks.processes import Run as CommandRun
from benchmarks.stand_ins import DESTINATION_BUCKET, SOURCE_BUCKET, Keys, Neutral
from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child
from sandbox.postgres import Postgres
from sandbox.service import manage

LANES = 2
PLACES = 32
LOOK_SECONDS = 0.2
_REGION = "us-east-1"


@dataclass(frozen=True)
class Run:
    """Figures from the first event in the queue to the last settled job.

    `lane_cpu_seconds` is the CPU time of the cluster's workers, except one that only polled.
    `cpu_seconds` is the CPU time of all processes of the cluster, without PostgreSQL.
    """

    seconds: float
    lane_cpu_seconds: float
    cpu_seconds: float
    postgres_cpu_seconds: float
    peak_bytes: int


@contextmanager
def prepared(source: Neutral, destination: Neutral, queue: Neutral) -> Iterator[Postgres]:
    """The database of a service with one rule from the source to the destination, and one queue; at
    rest, for installations to begin with."""
    with Postgres() as postgres:
        environment = _environment(postgres)
        manage("migrate", "--verbosity", "0", environment=environment)
        rules = json.dumps(_rules(source, destination, queue))
        manage("applyrules", "-", environment=environment, stdin=rules)
        postgres.rest()
        yield postgres


class Installation:
    """The service with a database of its own, which is as the `prepared` one at first.

    Completed jobs are never deleted. Counts and figures are about the jobs since `mark`.
    """

    def __init__(self, prepared: Postgres) -> None:
        self._prepared = prepared
        self._mark = 0

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.postgres = started.enter_context(Postgres(original=self._prepared))
            self.environment = _environment(self.postgres)
            self.database = started.enter_context(
                psycopg.connect(self.postgres.url, autocommit=True)
            )
            self._started = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._started.close()

    @contextmanager
    def cluster(
        self, *, lanes: int | None = LANES, places: int | None = PLACES
    ) -> Iterator["Cluster"]:
        """Run a `qcluster`; it is idle when the context begins, with one lane and one poller.

        Args:
            lanes: None leaves the setting to its default; so does it for `places`.
        """
        given = {"S3SYNC_LANES": lanes, "S3SYNC_LANE_CONCURRENCY": places}
        settings = {name: str(value) for name, value in given.items() if value is not None}
        # Otherwise the loops of a killed predecessor count as alive for some seconds.
        self.database.execute("TRUNCATE replication_heartbeat, django_q_ormq")
        process = self.start("qcluster", settings)
        try:
            process.await_ready(self._is_alive, advice="See its log.", timeout_seconds=60)
            yield Cluster(self, process)
        finally:
            # A stop waits for the long poll, up to 25 s. Nothing is in flight by now.
            process.stop(grace_seconds=1)

    @contextmanager
    def cluster_on(self, host: str) -> Iterator[None]:
        """Run one `qcluster` of several, as on a host of this name."""
        process = self.start("qcluster", {"S3SYNC_HOST": host})
        try:
            # It need not run a loop: another cluster may have the only lane that there is to do.
            process.await_ready(
                lambda: any(map(_children, _children(process.pid))),
                advice="See its log.",
                timeout_seconds=60,
            )
            yield
        finally:
            process.stop(grace_seconds=1)

    def start(self, command: str, settings: dict[str, str]) -> Child:
        """Start `manage.py COMMAND` as a process."""
        return Child(
            [sys.executable, REPOSITORY / "manage.py", command],
            log=self.postgres.directory / f"{command}.log",
            env={**self.environment, **settings},
            cwd=REPOSITORY,
        )

    def run(self, *arguments: str, timeout_seconds: float = 900) -> CommandRun:
        """Run `manage.py ARGUMENTS` to its end, which must be a success."""
        return run_to_end(
            [sys.executable, REPOSITORY / "manage.py", *arguments],
            name=arguments[0],
            environment=self.environment,
            log=self.postgres.directory / f"{arguments[0]}.log",
            timeout_seconds=timeout_seconds,
        )

    def mark(self) -> None:
        """Let counts and figures begin with the next job."""
        (self._mark,) = self._one("SELECT coalesce(max(id), 0) FROM replication_job")

    def count(self, condition: str = "true") -> int:
        """How many jobs since the mark meet this SQL condition."""
        (number,) = self._one(
            f"SELECT count(*) FROM replication_job WHERE id > {self._mark} AND {condition}"
        )
        assert isinstance(number, int)
        return number

    def figure(self, expression: str) -> float:
        """The value of an SQL aggregate over the jobs since the mark."""
        (value,) = self._one(
            f"SELECT ({expression})::float8 FROM replication_job WHERE id > {self._mark}"
        )
        assert isinstance(value, float), expression
        return value

    def await_jobs(
        self, count: int, condition: str, process: Child, *, timeout_seconds: float
    ) -> Iterator[None]:
        """Yield now and then until `count` jobs meet the condition.

        Raises RuntimeError if a try fails, the process exits or the time runs out.
        """
        deadline = time.monotonic() + timeout_seconds
        while self.count(condition) < count:
            yield
            if not process.is_running():
                raise RuntimeError(f"{process.name} exited:\n{process.log_tail()}")
            if time.monotonic() > deadline or self.count("attempt > 0"):
                states = self.database.execute(
                    "SELECT state, error_code, error_detail, count(*) FROM replication_job "
                    f"WHERE id > {self._mark} GROUP BY 1, 2, 3 LIMIT 20"
                ).fetchall()
                raise RuntimeError(f"expected {count} jobs with {condition}, found {states}")
            time.sleep(LOOK_SECONDS)

    def settled_in(self, seconds: float) -> int:
        """Wait; returns how many jobs were settled in that time."""
        (now,) = self._one("SELECT now()")
        time.sleep(seconds)
        return self.count(
            f"finalized_at > '{now}' AND finalized_at <= '{now}'::timestamptz + '{seconds} s'"
        )

    def delete_unfinished(self) -> None:
        """Delete the unfinished jobs, so that the next cluster does not get them.

        Call it while no cluster runs.
        """
        self.database.execute(
            "DELETE FROM replication_transferjob WHERE state = 'pending' OR state = 'running'"
        )

    def loops(self) -> list[tuple[int, str]]:
        """The process id and the kind of each loop that has started."""
        return self.database.execute(
            "SELECT pid, kind FROM replication_heartbeat WHERE pid IS NOT NULL"
        ).fetchall()

    def _is_alive(self) -> bool:
        return {"lane", "poller"} <= {kind for _, kind in self.loops()}

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self.database.execute(query).fetchone()
        assert row is not None
        return row


class Cluster:
    """A running cluster of an installation."""

    def __init__(self, installation: Installation, process: Child) -> None:
        self._installation = installation
        self.process = process

    def copy(
        self,
        keys: Keys,
        *,
        queue: Neutral,
        first: int = 0,
        per_second: float = 0,
        timeout_seconds: float = 280,
    ) -> Run:
        """Announce the keys from `first` on, and wait until all jobs are completed."""
        installation = self._installation
        roles: dict[int, set[str]] = defaultdict(set)
        group = Group(self.process.pid)
        group.start()
        postgres = installation.postgres.child.pid
        postgres_before = cpu_seconds([postgres])
        installation.mark()
        began_at = queue.announce(keys, first=first, per_second=per_second)
        for _ in installation.await_jobs(
            keys.count - first, "state = 'completed'", self.process, timeout_seconds=timeout_seconds
        ):
            group.sample()
            for pid, kind in installation.loops():
                roles[pid].add(kind)
        group.sample()
        processes = group.usage()
        lanes = [
            process.cpu_seconds
            for pid, process in processes.items()
            if process.name == "q-worker" and roles[pid] != {"poller"}
        ]
        return Run(
            installation.figure("extract(epoch FROM max(finalized_at))") - began_at,
            sum(lanes),
            sum(process.cpu_seconds for process in processes.values()),
            cpu_seconds([postgres]) - postgres_before,
            group.peak_bytes(),
        )


def _environment(postgres: Postgres) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": postgres.url,
        "S3SYNC_SECRET_KEY": secrets.token_urlsafe(48),
        "S3SYNC_PRIVATE_NETWORKS": "127.0.0.0/8",
        "S3SYNC_TRUSTED_ENDPOINTS": "http://127.0.0.1:*",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "OSS_ACCESS_KEY_ID": "id",
        "OSS_ACCESS_KEY_SECRET": "secret",
        "S3SYNC_SWEEP_GRACE_SECONDS": "1",  # what was not announced by then is lost
        "S3SYNC_SCRUB_DAYS": "0",  # only what a row asks for is measured
    }


def _children(pid: int) -> list[int]:
    """The processes that the process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _rules(source: Neutral, destination: Neutral, queue: Neutral) -> dict[str, Any]:
    """The rules file for `applyrules`: it reads YAML, and JSON is YAML."""
    return {
        "sources": [
            {
                "name": "source",
                "bucket": SOURCE_BUCKET,
                "region": _REGION,
                "endpoint_url": source.url,
            }
        ],
        "destinations": [
            {
                "name": "destination",
                "bucket": DESTINATION_BUCKET,
                "endpoint": destination.url,
                "region": "cn-hangzhou",
            }
        ],
        "rules": [
            {
                "name": "rule",
                "source": "source",
                "destination": "destination",
                "delete_policy": "mirror",
            }
        ],
        "queues": [{"name": "events", "url": queue.queue_url, "region": _REGION}],
    }
