"""What there is, and the steps that change it: data, planned in one place and done in another.

Each step says in a sentence what it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replication.tools.provisioning.arns import QueueAddress
from replication.tools.provisioning.desired import BucketNeeds, QueueNeeds
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
    def messages(self) -> int:
        """How many it holds, about: those that are in somebody's hands, too."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(self.attributes.get(name, 0)) for name in names)


@dataclass(frozen=True)
class Found:
    """What there is of a queue's needs. `heard` has each bucket's notifications by its name.

    `former` are buckets that the queue was made to hear, and is to hear no longer.
    """

    queue: FoundQueue | None
    dead_letters: FoundQueue | None
    heard: Mapping[str, Mapping[str, Any]]
    former: tuple[BucketNeeds, ...] = ()


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
    """Only if there is still what was there when it was planned."""

    bucket: BucketNeeds
    account: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True)
class PollQueue:
    """Have the database's row, and have it enabled or not; `url` if the queue is there already."""

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
    """What to do for one queue, in this order.

    `obstacles` are why S3 would refuse it, `notes` what a person should know; each with its place.
    """

    needs: QueueNeeds
    steps: tuple[Step, ...]
    obstacles: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
