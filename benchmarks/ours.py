"""The service as it ships, between the stand-ins: its database, its rule, its processes."""

import json
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks.idle import cpu_seconds
from benchmarks.processes import Group
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
    """From the first event in the queue to the last settled job.

    `lane_cpu_seconds` is that of all workers of the cluster but the one that did nothing but poll;
    `cpu_seconds` that of all its processes, of PostgreSQL apart.
    """

    seconds: float
    lane_cpu_seconds: float
    cpu_seconds: float
    postgres_cpu_seconds: float
    peak_bytes: int


class Installation:
    """A database of its own, with one rule from the source to the destination, and one queue.

    Jobs are never deleted: what is counted are those that came after `mark`.
    """

    def __init__(self, source: Neutral, destination: Neutral, queue: Neutral) -> None:
        self._stand_ins = source, destination, queue
        self._mark = 0

    def __enter__(self) -> Self:
        source, destination, queue = self._stand_ins
        with ExitStack() as started:
            self.postgres = started.enter_context(Postgres())
            self.environment = {
                **os.environ,
                "DATABASE_URL": self.postgres.url,
                "S3SYNC_SECRET_KEY": secrets.token_urlsafe(48),
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_EC2_METADATA_DISABLED": "true",
                "OSS_ACCESS_KEY_ID": "id",
                "OSS_ACCESS_KEY_SECRET": "secret",
            }
            manage("migrate", "--verbosity", "0", environment=self.environment)
            rules = json.dumps(_rules(source, destination, queue))
            manage("applyrules", "-", environment=self.environment, stdin=rules)
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
    def cluster(self, *, lanes: int = LANES, places: int = PLACES) -> Iterator["Cluster"]:
        """A running `qcluster`, idle by now: one lane and one poller are alive."""
        settings = {"S3SYNC_LANES": str(lanes), "S3SYNC_LANE_CONCURRENCY": str(places)}
        # What a killed predecessor left would be taken for alive for some seconds.
        self.database.execute("TRUNCATE replication_heartbeat, django_q_ormq")
        process = self.start("qcluster", settings)
        try:
            process.await_ready(self._is_alive, advice="See its log.", timeout_seconds=60)
            yield Cluster(self, process)
        finally:
            # A stop waits for the long poll, up to 25 s. Nothing is in hand by now.
            process.stop(grace_seconds=1)

    def start(self, command: str, settings: dict[str, str]) -> Child:
        """`manage.py COMMAND` as a process that goes on."""
        return Child(
            [sys.executable, REPOSITORY / "manage.py", command],
            log=self.postgres.directory / f"{command}.log",
            env={**self.environment, **settings},
            cwd=REPOSITORY,
        )

    def mark(self) -> None:
        """Count the jobs that come from now on."""
        (self._mark,) = self._one("SELECT coalesce(max(id), 0) FROM replication_transferjob")

    def count(self, condition: str = "true") -> int:
        """Jobs since the mark, of which that is true."""
        (number,) = self._one(
            f"SELECT count(*) FROM replication_transferjob WHERE id > {self._mark} AND {condition}"
        )
        assert isinstance(number, int)
        return number

    def figure(self, expression: str) -> float:
        """An aggregate over the jobs since the mark."""
        (value,) = self._one(
            f"SELECT ({expression})::float8 FROM replication_transferjob WHERE id > {self._mark}"
        )
        assert isinstance(value, float), expression
        return value

    def await_jobs(
        self, count: int, condition: str, process: Child, *, timeout_seconds: float
    ) -> Iterator[None]:
        """Yields now and then until that is true of so many jobs; RuntimeError if one fails."""
        deadline = time.monotonic() + timeout_seconds
        while self.count(condition) < count:
            yield
            if not process.is_running():
                raise RuntimeError(f"{process.name} ended:\n{process.log_tail()}")
            if time.monotonic() > deadline or self.count("attempt > 0"):
                states = self.database.execute(
                    "SELECT state, error_code, error_detail, count(*) FROM replication_transferjob "
                    f"WHERE id > {self._mark} GROUP BY 1, 2, 3 LIMIT 20"
                ).fetchall()
                raise RuntimeError(f"{count} jobs were to be {condition}, and there are {states}")
            time.sleep(LOOK_SECONDS)

    def settled_in(self, seconds: float) -> int:
        """Wait so long; how many jobs were settled meanwhile."""
        (now,) = self._one("SELECT now()")
        time.sleep(seconds)
        return self.count(
            f"finalized_at > '{now}' AND finalized_at <= '{now}'::timestamptz + '{seconds} s'"
        )

    def forget_unfinished(self) -> None:
        """While no cluster runs: what it left undone is not for the next."""
        self.database.execute(
            "DELETE FROM replication_transferjob WHERE state = 'pending' OR state = 'running'"
        )

    def loops(self) -> list[tuple[int, str]]:
        """Process id and kind of the loops that have begun."""
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
        """Announce the keys from `first` on, and wait until all are settled."""
        installation = self._installation
        roles: dict[int, set[str]] = defaultdict(set)
        used = Group(self.process.pid)
        used.start()
        postgres = installation.postgres.child.pid
        postgres_before = cpu_seconds([postgres])
        installation.mark()
        began_at = queue.announce(keys, first=first, per_second=per_second)
        for _ in installation.await_jobs(
            keys.count - first, "state = 'completed'", self.process, timeout_seconds=timeout_seconds
        ):
            used.look()
            for pid, kind in installation.loops():
                roles[pid].add(kind)
        used.look()
        processes = used.used()
        lanes = [
            use.cpu_seconds
            for pid, use in processes.items()
            if use.name == "q-worker" and roles[pid] != {"poller"}
        ]
        return Run(
            installation.figure("extract(epoch FROM max(finalized_at))") - began_at,
            sum(lanes),
            sum(use.cpu_seconds for use in processes.values()),
            cpu_seconds([postgres]) - postgres_before,
            used.peak_bytes(),
        )


def _rules(source: Neutral, destination: Neutral, queue: Neutral) -> dict[str, Any]:
    """What `applyrules` reads; JSON is YAML, too."""
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
        "rules": [{"name": "rule", "source": "source", "destination": "destination"}],
        "queues": [{"name": "events", "url": queue.queue_url, "region": _REGION}],
    }
