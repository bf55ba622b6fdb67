"""MiniStack stands in for S3, SQS, SNS, EventBridge and IAM, in memory, until its context ends.

What to know of it (1.5.33), beyond what AWS's documentation says:

- It runs with AUTH=true: IAM, bucket, queue and topic policies decide, anonymous requests need a
  bucket policy, and S3 refuses to notify a queue whose policy does not let it. EventBridge and SNS
  deliver whatever the queue's policy says.
- The access key id below is the account's root, as is any id of 12 digits, for the account of that
  number: their signatures are not verified. Users made with IAM are held to their secret and to
  their policies.
- A client's region counts: a queue is found only by clients of the region it was made in.
- Path style works on any host name, virtual-host style on `<bucket>.localhost` (not on an IP
  address), which boto3 knows: it uses path style with an address for its endpoint.
- A missing key answers 404 even to those who may not list the bucket; S3 answers 403.
- An event reaches its queue within 10 ms of the request. Tagging sends none, nor does the delete
  marker of a key that never was.
"""

import http.client
import sys
from typing import TYPE_CHECKING, Any, Literal, overload

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

_VENV = REPOSITORY / ".venv-ministack"
_REQUIREMENTS = REPOSITORY / "requirements" / "ministack.txt"


class MiniStack(Server):
    """An AWS of one's own on a loopback port.

        with MiniStack() as aws:
            aws.client("s3").create_bucket(Bucket="photos")

    The first start installs MiniStack into `.venv-ministack`: it pins a botocore of its own.
    """

    region = "us-east-1"
    account_id = "123456789012"
    access_key_id = "sandbox"
    secret_access_key = "sandbox"

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
    def client(self, service: Literal["iam", "sts"]) -> Any: ...

    def client(self, service: Any) -> Any:
        """A boto3 client with all rights, which does not retry: tests look at the first answer."""
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

    def _start(self) -> None:
        build_once(_VENV, requirements=_REQUIREMENTS, build=_install)
        on_a_free_port(self._listen_on)

    def _listen_on(self, port: int) -> None:
        self._port = port
        self._child = Child(
            [_VENV / "bin" / "python", "-m", "ministack"],
            log=self.directory / "ministack.log",
            cwd=self.directory,
            env={
                "BIND_HOST": "127.0.0.1",  # all interfaces otherwise
                "GATEWAY_PORT": str(port),
                "AUTH": "true",
                "AWS_ACCESS_KEY_ID": self.access_key_id,
                "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
                "MINISTACK_ACCOUNT_ID": self.account_id,
                "MINISTACK_REGION": self.region,
                "SERVICES": "s3,sqs,sns,events,iam,sts",
                "IOT_MTLS_ENABLED": "0",  # it would listen on a fixed port
                "LOG_LEVEL": "WARNING",
                # It writes its pid, and makes a folder for each bucket, even with all in memory.
                "TMPDIR": str(self.directory),
                "HOME": str(self.directory),
                "S3_DATA_DIR": str(self.directory / "s3"),
            },
        )
        self.child.await_ready(
            self._answers, advice=f"If its installation is broken, remove {_VENV} and start again."
        )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/_ministack/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _install() -> None:
    advice = "Let pip reach its package index, then start again."
    run(sys.executable, "-m", "venv", "--without-pip", _VENV, otherwise=advice)
    run(
        *(sys.executable, "-m", "pip", "--python", _VENV / "bin" / "python"),
        *("install", "--quiet", "--require-hashes", "--requirement", _REQUIREMENTS),
        otherwise=advice,
    )
