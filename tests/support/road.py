"""A road from S3 to OSS, and what has been logged along it."""

from dataclasses import dataclass
from typing import Any

import oss2
from django.db.models import Q
from django.db.models.functions import Now

from replication.models import (
    DeletePermit,
    Destination,
    EventQueue,
    Job,
    JobState,
    ReplicationRule,
    Source,
)
from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from tests.support.environment import OSS_KEY_ID, OSS_KEY_SECRET
from tests.support.lanes import lanes
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually

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


def work() -> None:
    """Poll every queue until it is empty, then run a lane until no job is due or running."""
    for queue in EventQueue.objects.filter(enabled=True):
        poll_until_empty(queue)
    due = Q(state=JobState.PENDING, available_at__lte=Now(), rule__parked_at__isnull=True)
    held = Q(delete_permit=DeletePermit.AWAITED)
    # One query, so that no job changes between the two states unseen.
    to_do = Job.objects.filter(Q(state=JobState.RUNNING) | due & ~held)
    if to_do.exists():
        with lanes():
            eventually(lambda: not to_do.exists())
