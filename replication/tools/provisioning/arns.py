"""The names by which AWS knows buckets and queues. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_PATH = re.compile(r"/([0-9]{12})/([A-Za-z0-9_-]{1,80}(?:\.fifo)?)")


def partition(region: str) -> str:
    """The part of AWS that a region is in: each has names, accounts and policies of its own."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def bucket_arn(bucket: str, *, region: str) -> str:
    """S3's name of a bucket; objects are behind a slash."""
    return f"arn:{partition(region)}:s3:::{bucket}"


class ProvisioningError(Exception):
    """The text says what is wrong and, on a line of its own, what to do about it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}\n{hint}")
        self.what = what
        self.hint = hint


@dataclass(frozen=True)
class QueueAddress:
    """Where a queue is, whether it exists or not."""

    region: str
    account: str
    name: str

    @property
    def arn(self) -> str:
        return f"arn:{partition(self.region)}:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def owner_arn(self) -> str:
        """Stands in policies for the account as a whole."""
        return f"arn:{partition(self.region)}:iam::{self.account}:root"

    @property
    def dead_letters(self) -> "QueueAddress":
        """The queue for what could not be taken in, whatever was tried."""
        return QueueAddress(self.region, self.account, f"{self.name}-dead")


def queue_address(url: str, *, region: str, name: str) -> QueueAddress:
    """What a queue's URL says; `name` is what the database calls it.

    Raises:
        ProvisioningError: it does not name account and queue, or S3 can't notify such a queue.
    """
    found = _PATH.fullmatch(urlsplit(url).path)
    if found is None:
        raise ProvisioningError(
            f"queue {name}: {url} does not end in /<account>/<queue>",
            hint="Correct the queue's URL in the admin or in the rules file: as the SQS console "
            "shows it.",
        )
    if found[2].endswith(".fifo"):
        raise ProvisioningError(
            f"queue {name}: S3 can't notify a FIFO queue",
            hint="Name a standard queue. Order is not needed: a job looks at what is there now.",
        )
    return QueueAddress(region, found[1], found[2])
