"""The stand-ins, and a rule that goes from one to the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import oss2
import pytest
import structlog
from django.db.models.functions import Now
from pytest_django import Settings

from replication.cluster import loops
from replication.intake.messages import poll_once
from replication.models import (
    DeletePermit,
    Destination,
    EventQueue,
    JobState,
    LoopKind,
    ReplicationRule,
    Source,
    TransferJob,
)
from replication.worker.lane import Lane
from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from sandbox.moto import Moto
from sandbox.oss import OssServer
from tests.environment import OSS_KEY_ID, OSS_KEY_SECRET

OSS_REGION = "cn-hangzhou"


class Log:
    """What our own code has logged in this process."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def keep(self, _logger: Any, _method: str, line: str) -> str:
        """A processor of structlog."""
        self.lines.append(line)
        return line


@pytest.fixture
def logged() -> Iterator[Log]:
    """The log as it grows; pytest's caplog sees only what goes through the standard library."""
    log = Log()
    processors = structlog.get_config()["processors"]
    processors.append(log.keep)
    yield log
    processors.remove(log.keep)


@pytest.fixture(scope="session")
def aws() -> Iterator[MiniStack]:
    """S3, SQS, SNS and EventBridge."""
    with MiniStack() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """S3 once more, by other authors."""
    with Moto() as server:
        yield server


@pytest.fixture
def limits(settings: Settings) -> Callable[..., None]:
    """Sets the service's settings for one test."""

    def limit(**values: Any) -> None:
        settings.S3SYNC = settings.S3SYNC.model_copy(update=values)

    return limit


@pytest.fixture
def oss() -> Iterator[OssServer]:
    """An OSS with one bucket, `replica`."""
    keys = {OSS_KEY_ID: OSS_KEY_SECRET}
    with OssServer(keys=keys, buckets=["replica"], region=OSS_REGION) as server:
        yield server


@dataclass(frozen=True)
class Road:
    """A bucket whose events arrive in a queue, and a rule that copies it into OSS."""

    aws: MiniStack
    oss: OssServer
    source: Source
    destination: Destination
    rule: ReplicationRule
    queue: EventQueue

    @property
    def s3(self) -> Any:
        return self.aws.client("s3")

    def put(self, key: str, body: bytes = b"content", **arguments: Any) -> None:
        """Put an object into the source bucket."""
        self.s3.put_object(Bucket=self.source.bucket, Key=key, Body=body, **arguments)

    @property
    def replicas(self) -> oss2.Bucket:
        """The destination bucket, by OSS's own SDK."""
        auth = oss2.AuthV4(OSS_KEY_ID, OSS_KEY_SECRET)
        return oss2.Bucket(auth, self.oss.endpoint, "replica", region=OSS_REGION, enable_crc=False)

    def replica(self, key: str) -> bytes | None:
        """The content of the replica; None if there is none."""
        try:
            return self.replicas.get_object(key).read()
        except oss2.exceptions.NoSuchKey:
            return None


@pytest.fixture
def make_road(db: None, aws: MiniStack, oss: OssServer) -> Callable[..., Road]:
    """Makes a road with a queue and, by default, a bucket of its own.

    Arguments are the fields of the rule.
    """

    def make(*, source_bucket: str = "", **fields: Any) -> Road:
        name = f"t{uuid4().hex[:12]}"
        bucket = source_bucket or name
        url = connect_bucket_to_queue(aws, bucket=bucket, queue=name)
        source = Source.objects.create(
            name=name, bucket=bucket, region=aws.region, endpoint_url=aws.endpoint_url
        )
        destination = Destination.objects.create(
            name=name, bucket="replica", endpoint=oss.endpoint, region=OSS_REGION
        )
        rule = ReplicationRule.objects.create(
            name=name, source=source, destination=destination, **fields
        )
        queue = EventQueue.objects.create(name=name, url=url, region=aws.region)
        return Road(aws, oss, source, destination, rule, queue)

    return make


def work(*, seconds: float = 0.4) -> None:
    """Poll every queue until it is empty, then run lanes in this process until nothing is due."""
    for queue in EventQueue.objects.filter(enabled=True):
        while poll_once(queue, wait_seconds=0):
            pass
    due = TransferJob.objects.filter(
        state=JobState.PENDING, available_at__lte=Now(), rule__parked_at__isnull=True
    ).exclude(delete_permit=DeletePermit.AWAITED)
    while due.exists():
        with loops.running(LoopKind.LANE) as loop:
            assert loop is not None
            Lane(loop, seconds=seconds).run()


@pytest.fixture
def road(make_road: Callable[..., Road]) -> Road:
    return make_road()
