"""The service's own processes, each in a process group that can be killed and restarted."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child
from sandbox.environment import Sandbox
from sandbox.service import manage
from tests.chaos.rules import Rules

LEASE_SECONDS = 6
READ_TIMEOUT_SECONDS = 5
SETTINGS = {
    "S3SYNC_POLL_IN_CLUSTER": "false",
    "S3SYNC_LANES": "2",
    "S3SYNC_LANE_SECONDS": "5",
    "S3SYNC_LEASE_SECONDS": f"{LEASE_SECONDS}",
    "S3SYNC_RETRY_CAP_SECONDS": "5",
    "S3SYNC_READ_TIMEOUT_SECONDS": f"{READ_TIMEOUT_SECONDS}",
    "S3SYNC_MULTIPART_THRESHOLD_BYTES": "1048576",
    "S3SYNC_MULTIPART_CHUNKSIZE_BYTES": "1048576",
    # So many that no job uses up its tries, however many of its requests fail.
    "S3SYNC_MAX_ATTEMPTS": "100",
    "S3SYNC_SECRET_KEY": "a key for chaos that guards nothing at all",
}
# Far above what is sent: the code of rate limits runs, but delays nothing.
LIMITS = {"max_requests_per_second": 1000, "max_bytes_per_second": 1_000_000_000}


def cluster_names(count: int) -> list[str]:
    """The names of that many clusters."""
    return [f"qcluster-{number}" for number in range(1, count + 1)]


@dataclass
class Service:
    """Clusters and pollers on a sandbox, until the context ends.

    `source_port` is the port of S3 for them. `revive` restarts a process that exited unexpectedly,
    as an orchestrator does, and reports it to `say`. `settings` are further variables of their
    environment, `hosts` are those of single processes, by name, and `profiles` are the credential
    profiles of the source and of destinations, by name. `beside` is what the rules file has beside
    the rules of the run.
    """

    sandbox: Sandbox
    source_port: int
    clusters: int
    pollers: int
    directory: Path
    is_limited: bool
    say: Callable[[str], None]
    rules: Rules
    buckets: Mapping[str, str]  # by the name of the destination
    settings: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, list[dict[str, object]]] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)
    queue_url: str = ""
    unexpected_exits: int = 0
    _processes: dict[str, Child] = field(default_factory=dict)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self.environment = {
            **os.environ,
            **self.sandbox.environment(),
            **SETTINGS,
            **self.settings,
        }
        manage("migrate", "--verbosity=0", environment=self.environment)
        self.apply(self.rules)
        try:
            for name in self.cluster_names + self.poller_names:
                self._start(name)
        except BaseException:
            self._kill_all()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill_all()

    def apply(self, rules: Rules) -> None:
        """Write the rules as an operator does, by the rules file.

        Raises:
            StartError: the command failed; it has changed nothing, unless its answer was lost.
        """
        file = json.dumps(self._rules_file(rules))
        manage("applyrules", "-", environment=self.environment, stdin=file)

    @property
    def cluster_names(self) -> list[str]:
        return cluster_names(self.clusters)

    @property
    def poller_names(self) -> list[str]:
        return [f"pollsqs-{number}" for number in range(1, self.pollers + 1)]

    def kill(self, name: str, **environment: str) -> None:
        """Kill the whole process group with SIGKILL, as when its container dies; restart it, with
        these variables changed."""
        with self._changing:
            self._kill(self._processes[name])
            self._start(name, **environment)

    def ask(self, code: str) -> str:
        """Run Python code in the service's environment; returns what it prints.

        Raises:
            StartError: it failed.
        """
        return manage("shell", "--no-imports", "-c", code, environment=self.environment)

    def kill_first_process(self, name: str) -> None:
        """Kill the group's first process alone with SIGKILL; then start a new group.

        The group's other processes must exit by themselves.
        """
        with self._changing:
            self._processes[name].stop(signal.SIGKILL)
            self._start(name)

    def pids_of(self, role: str) -> list[int]:
        """The ids of this service's processes with that name in `ps -o comm`."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if (entry / "comm").read_text() == f"{role}\n" and self._is_ours(int(entry.name)):
                    found.append(int(entry.name))
        return sorted(found)

    def loop_pids(self, kind: str) -> list[int]:
        """The ids of the processes that run a lane or a sweeper now."""
        with psycopg.connect(self.sandbox.postgres.url, connect_timeout=5) as database:
            pids = database.execute(
                "SELECT DISTINCT pid FROM replication_heartbeat WHERE kind = %s "
                "AND started_at IS NOT NULL AND beat_at > now() - interval '7 seconds' "
                "ORDER BY pid",
                [kind],
            ).fetchall()
        return [pid for (pid,) in pids if self._is_ours(pid)]

    def revive(self) -> None:
        """Restart the processes that exited unexpectedly, and report them."""
        with self._changing:
            ended = {name for name in self._processes if not self._processes[name].is_running()}
            for name in ended:
                self.unexpected_exits += 1
                self.say(f"{name} exited unexpectedly:\n{self._processes[name].log_tail()}")
                self._kill(self._processes[name])
                self._start(name)

    def _is_ours(self, pid: int) -> bool:
        """Whether it is a process of this service; a dead one's id may belong to another by now."""
        with suppress(ProcessLookupError):
            return os.getpgid(pid) in {process.pid for process in self._processes.values()}
        return False

    def _start(self, name: str, **environment: str) -> None:
        self._processes[name] = Child(
            [sys.executable, REPOSITORY / "manage.py", name.partition("-")[0]],
            log=self.directory / f"{name}.log",
            # As if each ran on a host of its own: credentials are a host's.
            env={
                **self.environment,
                "S3SYNC_HOST": name,
                **self.hosts.get(name, {}),
                **environment,
            },
            cwd=REPOSITORY,
        )

    def _kill(self, process: Child) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stop(signal.SIGKILL)

    def _kill_all(self) -> None:
        for process in self._processes.values():
            self._kill(process)

    def _profile(self, place: str) -> dict[str, object]:
        profile = self.profiles.get(place)
        return {"credential_profile": profile} if profile else {}

    def _rules_file(self, rules: Rules) -> dict[str, object]:
        """The rules file for `applyrules`: it reads YAML, and JSON is YAML."""
        aws, oss = self.sandbox.aws, self.sandbox.oss
        source: dict[str, object] = {
            "name": "source",
            "bucket": self.sandbox.source_bucket,
            "region": aws.region,
            "endpoint_url": f"http://127.0.0.1:{self.source_port}",
            **self._profile("source"),
        }
        destination = {
            "endpoint": oss.endpoint_url,
            "region": oss.region,
            **(LIMITS if self.is_limited else {}),
        }
        queue_url = self.queue_url or self.sandbox.queue_url
        file: dict[str, list[dict[str, object]]] = {
            "sources": [source],
            "destinations": [
                {"name": name, "bucket": bucket, **destination, **self._profile(name)}
                for name, bucket in self.buckets.items()
            ],
            "rules": [{"source": "source", **rule.fields} for rule in rules],
            "queues": [{"name": "events", "url": queue_url, "region": aws.region}],
        }
        return {name: [*entries, *self.beside.get(name, [])] for name, entries in file.items()}
