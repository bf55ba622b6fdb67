"""A road from S3 to OSS, and what has been logged along it."""

from dataclasses import dataclass
from typing import Any

import oss2
from django.db.models.functions import Now

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
from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET

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
