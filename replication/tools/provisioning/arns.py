"""The ARNs of buckets and queues, and provisioning's error. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_QUEUE_PATH = re.compile(r"/([0-9]{12})/([A-Za-z0-9_-]{1,80}(?:\.fifo)?)")


class ProvisioningError(Exception):
    """The text says what is wrong and, on a line of its own, what to do about it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}\n{hint}")
        self.what = what
        self.hint = hint


def partition(region: str) -> str:
    """The AWS partition of a region. Each partition has its own ARNs and accounts."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def bucket_arn(bucket: str, *, region: str) -> str:
    """The ARN of a bucket. The ARN of an object is this, a slash and the key."""
    return f"arn:{partition(region)}:s3:::{bucket}"


@dataclass(frozen=True)
class QueueAddress:
    """Where a queue is, or will be."""

    region: str
    account: str
    name: str

    @property
    def arn(self) -> str:
        return f"arn:{partition(self.region)}:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def owner_arn(self) -> str:
        """The ARN that stands for the whole account in policies."""
        return f"arn:{partition(self.region)}:iam::{self.account}:root"

    @property
    def dead_letters(self) -> "QueueAddress":
        """The dead-letter queue of this queue."""
        return QueueAddress(self.region, self.account, f"{self.name}-dead")


def queue_address(url: str, *, region: str, name: str) -> QueueAddress:
    """The address that a queue's URL names. `name` is the queue's name in the database, for errors.

    Raises:
        ProvisioningError: the URL has no account and queue, or S3 can't notify this kind of queue.
    """
    found = _QUEUE_PATH.fullmatch(urlsplit(url).path)
    if found is None:
        raise ProvisioningError(
            f"queue {name}: {url} does not end in /<account>/<queue>",
            hint="Correct the queue's URL in the admin or in the rules file, as the SQS console "
            "shows it.",
        )
    if found[2].endswith(".fifo"):
        raise ProvisioningError(
            f"queue {name}: S3 can't notify a FIFO queue",
            hint="Name a standard queue. s3sync does not need the order of events: a job copies "
            "the object as it is then.",
        )
    return QueueAddress(region, found[1], found[2])
