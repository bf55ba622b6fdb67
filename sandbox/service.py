"""The service itself, started against the stand-ins as an operator does, by its commands alone."""

import http.client
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox.bootstrap import REPOSITORY
from sandbox.child import Child, StartError, on_a_free_port
from sandbox.environment import Sandbox
from sandbox.server import Server

ADMIN = "admin"


def manage(*arguments: str, environment: Mapping[str, str], stdin: str | None = None) -> str:
    """Run `manage.py ARGUMENTS` to its end, with the text `stdin` as its standard input.

    Returns what it prints. Raises StartError with the command's output if the command fails.
    """
    done = subprocess.run(
        [sys.executable, REPOSITORY / "manage.py", *arguments],
        env=environment,
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise StartError(f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Service(Server):
    """A web server and a cluster with one rule, from the sandbox's S3 bucket to its OSS bucket.

    `address` is the admin's URL, `password` that of the user `admin`, and `environment` what its
    processes have.
    """

    cluster: Child

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.password = secrets.token_urlsafe(9)
        self._api_token = secrets.token_urlsafe(24)
        self.environment = {
            **os.environ,
            **sandbox.environment(),
            "S3SYNC_SECRET_KEY": secrets.token_urlsafe(48),
            "S3SYNC_API_TOKENS": self._api_token,
            "DJANGO_SUPERUSER_PASSWORD": self.password,
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _start(self) -> None:
        self._manage("migrate", "--verbosity", "0")
        self._manage("createsuperuser", "--noinput", "--username", ADMIN, "--email", "")
        self._manage("applyrules", "-", stdin=json.dumps(self._rules()))
        self.cluster = self._run("cluster", sys.executable, REPOSITORY / "manage.py", "qcluster")
        on_a_free_port(self._serve_on)
        # Wait for the cluster, so that the lag does not include its start.
        self.cluster.await_ready(
            self._cluster_is_alive, advice="Run `make test` to see what is broken."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A cluster that stops waits up to 25 s for its loops. A demo has no work to finish.
        self.cluster.stop(grace_seconds=1)
        super().__exit__(kind, error, trace)

    def _serve_on(self, port: int) -> None:
        self._port = port
        self._child = self._run(
            "web",
            *(sys.executable, REPOSITORY / "manage.py", "web", "--bind", f"127.0.0.1:{port}"),
            *("--processes", "1"),
        )
        self._child.await_ready(self._is_ready, advice="Run `make test` to see what is broken.")

    def _run(self, name: str, *command: str | Path) -> Child:
        log = self.directory / f"{name}.log"
        return Child(command, log=log, env=self.environment, cwd=REPOSITORY)

    def _manage(self, *arguments: str, stdin: str | None = None) -> None:
        manage(*arguments, environment=self.environment, stdin=stdin)

    def _rules(self) -> dict[str, Any]:
        """The rules file for `applyrules`: it reads YAML, and JSON is YAML."""
        aws, oss = self._sandbox.aws, self._sandbox.oss
        return {
            "sources": [
                {
                    "name": "photos-s3",
                    "bucket": self._sandbox.source_bucket,
                    "region": aws.region,
                    "endpoint_url": aws.endpoint_url,
                    "domains": ["photos.example.com"],
                }
            ],
            "destinations": [
                {
                    "name": "photos-oss",
                    "bucket": self._sandbox.destination_bucket,
                    "endpoint": oss.endpoint_url,
                    "region": oss.region,
                }
            ],
            "rules": [
                {
                    "name": "photos",
                    "source": "photos-s3",
                    "destination": "photos-oss",
                    "delete_policy": "mirror",
                }
            ],
            "queues": [
                {"name": "photos-events", "url": self._sandbox.queue_url, "region": aws.region}
            ],
        }

    def _is_ready(self) -> bool:
        try:
            status, _ = self._get("/readyz")
        except OSError:
            return False
        return status == 200

    def _cluster_is_alive(self) -> bool:
        status = self.status()
        return bool(status["lanes_alive"] and status["pollers_alive"])

    def status(self) -> dict[str, Any]:
        """The answer of /api/v1/status."""
        status, body = self._get("/api/v1/status")
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self._api_token}"}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def check(self) -> None:
        """Raise StartError, with the end of its log, if a process has exited."""
        for process in (self.child, self.cluster):
            if not process.is_running():
                raise StartError(f"{process.name} exited unexpectedly:\n{process.log_tail()}")
