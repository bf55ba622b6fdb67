"""What exists in AWS, and the steps that change it: data only.

`planning` makes the steps, `applying` does them. Each step describes itself in a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import DesiredBucket, DesiredQueue
from replication.tools.provisioning.queues import TAG


@dataclass(frozen=True)
class FoundQueue:
    """A queue as SQS describes it."""

    url: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        return all(self.tags.get(name) == value for name, value in TAG.items())

    @property
    def policy(self) -> str:
        return self.attributes.get("Policy", "")

    @property
    def message_count(self) -> int:
        """About how many messages the queue has, those in flight included."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(self.attributes.get(name, 0)) for name in names)


@dataclass(frozen=True)
class Found:
    """What exists of a desired queue.

    `notifications` has the notification configuration of each bucket, by the bucket's name.
    `former` are buckets that notify the queue and should not any more.
    """

    queue: FoundQueue | None
    dead_letters: FoundQueue | None
    notifications: Mapping[str, Mapping[str, Any]]
    former: tuple[DesiredBucket, ...] = ()


@dataclass(frozen=True)
class MakeQueue:
    address: QueueAddress
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class SetAttributes:
    url: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class RemoveQueue:
    url: str


@dataclass(frozen=True)
class PutNotifications:
    """Replace a bucket's notifications, if they are still as they were when this was planned."""

    bucket: DesiredBucket
    account: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True)
class PollQueue:
    """Enable or disable the queue's row in the database, or add it.

    `url` is empty if the queue does not exist yet.
    """

    enabled: bool
    url: str = ""


@dataclass(frozen=True)
class Step:
    """`sign` is `+` for what is made, `~` for what is changed, `-` for what is removed."""

    sign: str
    where: str
    sentence: str
    change: MakeQueue | SetAttributes | RemoveQueue | PutNotifications | PollQueue


@dataclass(frozen=True)
class Plan:
    """The steps for one queue, in order.

    `obstacles` say why S3 would refuse the plan; `notes` say what an operator should know. Each is
    a pair of where it is and what it says.
    """

    desired: DesiredQueue
    steps: tuple[Step, ...]
    obstacles: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
