"""An installation between the stand-ins, whose processes can be of either version of the code."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from sandbox.child import Child, on_a_free_port
from sandbox.environment import Sandbox
from tests.upgrade.rows import CARRIED

LIVE = "live/"
ALBUMS = "albums/"
LEASE_SECONDS = 8
_API_TOKEN = "a-token-of-an-upgrade-that-guards-nothing"
_SETTINGS = {
    "S3SYNC_SECRET_KEY": "a key of an upgrade that guards nothing at all",
    "S3SYNC_API_TOKENS": _API_TOKEN,
    "S3SYNC_API_CALLS_PER_SECOND": "0",
    "S3SYNC_LANES": "2",
    "S3SYNC_LANE_SECONDS": "10",
    "S3SYNC_LEASE_SECONDS": f"{LEASE_SECONDS}",
    "S3SYNC_SCRUB_DAYS": "0",
    # Nothing that is compared may be past its retention.
    "S3SYNC_KEEP_JOBS_DAYS": "400",
    "S3SYNC_KEEP_FAILURES_DAYS": "400",
}


@dataclass
class Installation:
    """The processes of one version: the code in `root`, on the sandbox's database."""

    name: str
    root: Path
    sandbox: Sandbox
    directory: Path
    environment: dict[str, str] = field(init=False)
    _started: int = 0

    def __post_init__(self) -> None:
        self.environment = {
            **os.environ,
            **self.sandbox.environment(),
            **_SETTINGS,
            "S3SYNC_HOST": self.name,
        }

    def manage(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `manage.py ARGUMENTS`; returns what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.root,
            env=self.environment,
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} {arguments}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *arguments: str) -> Child:
        """Start `manage.py ARGUMENTS` as a process."""
        self._started += 1
        return Child(
            [sys.executable, "manage.py", *arguments],
            log=self.directory / f"{self.name}-{self._started}-{arguments[0]}.log",
            env=self.environment,
            cwd=self.root,
        )

    def start_cluster(self) -> Child:
        """Start a cluster, and wait until it has a lane and a poller."""
        before = self._loops()
        cluster = self.start("qcluster")
        cluster.await_ready(
            lambda: {kind for kind, _ in self._loops() - before} >= {"lane", "poller"},
            advice="See its log.",
            timeout_seconds=120,
        )
        return cluster

    def _loops(self) -> set[tuple[str, int]]:
        with psycopg.connect(self.sandbox.postgres.url) as database:
            rows = database.execute(
                "SELECT kind, pid FROM replication_heartbeat WHERE pid IS NOT NULL"
            )
            return set(rows.fetchall())

    @contextmanager
    def api(self) -> Iterator["Api"]:
        """The web server, until the context ends."""
        started: list[tuple[int, Child]] = []
        on_a_free_port(lambda port: started.append((port, self._serve(port))))
        port, server = started[-1]
        try:
            yield Api(port)
        finally:
            server.stop()

    def _serve(self, port: int) -> Child:
        # Versions before `manage.py web` were started by gunicorn itself, which can start any.
        server = Child(
            [
                *(sys.executable, "-m", "gunicorn", "s3sync.wsgi", f"--bind=127.0.0.1:{port}"),
                *("--threads=4", "--no-control-socket"),
            ],
            log=self.directory / f"{self.name}-web.log",
            env=self.environment,
            cwd=self.root,
        )
        server.await_ready(lambda: Api(port).answers(), advice="See its log.", timeout_seconds=60)
        return server


@dataclass(frozen=True)
class Api:
    """A client of the HTTP API on a port of this host."""

    port: int

    def answers(self) -> bool:
        try:
            self.ask("GET", "/api/v1/rules")
        except OSError:
            return False
        return True

    def ask(self, method: str, path: str) -> Any:
        """The answer's JSON.

        Raises:
            RuntimeError: the answer is no success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {_API_TOKEN}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {body.decode()}")
        return json.loads(body)


def kill(process: Child) -> None:
    """Kill the whole process group with SIGKILL, as when its container dies."""
    if process.is_running():
        os.killpg(process.pid, signal.SIGKILL)
        process.stop(signal.SIGKILL)


def rules_file(sandbox: Sandbox, prefixes: list[str]) -> str:
    """The rules file for `applyrules`: a rule for each prefix, named after it. JSON is YAML."""
    aws, oss = sandbox.aws, sandbox.oss
    source = {
        "name": "source",
        "bucket": sandbox.source_bucket,
        "region": aws.region,
        "endpoint_url": aws.endpoint_url,
    }
    destination = {
        "name": "destination",
        "bucket": sandbox.destination_bucket,
        "endpoint": oss.endpoint_url,
        "region": oss.region,
    }
    rules = [
        {
            "name": prefix.rstrip("/"),
            "source": "source",
            "source_prefix": prefix,
            "destination": "destination",
            "destination_prefix": "moved/" if prefix == ALBUMS else "",
            "delete_policy": "mirror",
        }
        for prefix in prefixes
    ]
    queues = [{"name": "events", "url": sandbox.queue_url, "region": aws.region}]
    return json.dumps(
        {"sources": [source], "destinations": [destination], "rules": rules, "queues": queues}
    )


ALL_PREFIXES = [LIVE, ALBUMS, CARRIED]
