"""A server that speaks AWS's protocols, installed in a virtual environment of its own."""

import http.client
import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import boto3
from botocore.config import Config

from sandbox.bootstrap import REPOSITORY, build_once, run
from sandbox.child import Child, on_a_free_port
from sandbox.server import Server

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


class AwsServer(Server):
    """A private AWS on a loopback port.

    The first start installs it into `.venv-<package>`, from `requirements/<package>.txt`.
    """

    package: ClassVar[str]
    ready_path: ClassVar[str]  # answers 200 as soon as the server is ready

    region = "us-east-1"
    account_id = "123456789012"
    access_key_id = "sandbox"
    secret_access_key = "sandbox"

    @abstractmethod
    def _arguments(self, port: int) -> list[str]:
        """The arguments for the virtual environment's Python."""

    @abstractmethod
    def _environment(self, port: int) -> Mapping[str, str]:
        """The process's whole environment."""

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @overload
    def client(self, service: Literal["s3"]) -> "S3Client": ...
    @overload
    def client(self, service: Literal["sqs"]) -> "SQSClient": ...
    @overload
    def client(self, service: Literal["sns"]) -> "SNSClient": ...
    @overload
    def client(self, service: Literal["events"]) -> "EventBridgeClient": ...
    @overload
    def client(self, service: Literal["iam", "sts", "cloudformation"]) -> Any: ...

    def client(self, service: Any) -> Any:
        """A boto3 client with all rights and without retries: tests check the first answer."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                max_pool_connections=50,
            ),
        )

    @property
    def _venv(self) -> Path:
        return REPOSITORY / f".venv-{self.package}"

    def _start(self) -> None:
        requirements = REPOSITORY / "requirements" / f"{self.package}.txt"
        build_once(
            self._venv, requirements=requirements, build=lambda: _install(self._venv, requirements)
        )
        on_a_free_port(self._listen_on)

    def _listen_on(self, port: int) -> None:
        self._port = port
        self._child = Child(
            [self._venv / "bin" / "python", *self._arguments(port)],
            log=self.directory / f"{self.package}.log",
            cwd=self.directory,
            env=self._environment(port),
        )
        self.child.await_ready(
            self._answers,
            advice=f"If its installation is broken, remove {self._venv} and start again.",
        )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _install(venv: Path, requirements: Path) -> None:
    advice = "Let pip reach its package index, then start again."
    run(sys.executable, "-m", "venv", "--without-pip", venv, advice=advice)
    run(
        *(sys.executable, "-m", "pip", "--python", venv / "bin" / "python"),
        *("install", "--quiet", "--require-hashes", "--only-binary=:all:"),
        *("--requirement", requirements),
        advice=advice,
    )
