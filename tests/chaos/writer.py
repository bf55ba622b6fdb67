"""Changes the source bucket in random order, and sends old notifications again, out of order.

S3 announces the changes. Where some must go unannounced, the bucket has no notifications, and the
writer sends S3's messages in its place, but none for those changes.
"""

import json
import random
import threading
import time
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote_plus

from sandbox.environment import Sandbox

THREADS = 4
HOT_KEYS = 10  # keys that are changed many times
HOT_CHANGES = 20
GHOST_EVENTS = 4
MOST_BYTES = 40_000
LARGE_BYTES = 2_600_000  # copied in three parts
REPEATS = 0.25  # the share of changes after which an old notification is sent
REMEMBERED = 500  # how many notifications an old one is chosen from
ODD_NAMES = ("red flower+1", "图片/中文 (1)", "a//b", "a/./b", "100%25", "emoji-😀", "q'\"<&>")


class Change(Enum):
    PUT = "ObjectCreated:Put"
    DELETE = "ObjectRemoved:Delete"
    GHOST = "ObjectRemoved:DeleteMarkerCreated"  # announced of a key that the source never had


@dataclass(frozen=True)
class Step:
    """One change of one key, at a time counted from the start."""

    at_seconds: float
    key: str
    change: Change
    size_bytes: int = 0


def plan(
    chance: random.Random, *, keys: int, seconds: float, ghosts: Sequence[str] = ()
) -> list[Step]:
    """The changes of the bucket: every key is put, many are overwritten, some are deleted."""
    changes: list[tuple[str, Change]] = []
    for number in range(keys):
        odd = ODD_NAMES[number % 50] if number % 50 < len(ODD_NAMES) else "plain"
        key = f"{number % 17}/{odd}/{number}"
        overwrites = HOT_CHANGES if number < HOT_KEYS else chance.choice((0, 0, 0, 1, 2))
        changes += [(key, Change.PUT)] * (1 + overwrites)
        changes += [(key, Change.DELETE)] * (chance.random() < 0.25)
    changes += [(key, Change.GHOST) for key in ghosts] * GHOST_EVENTS
    # Any order is fine, even a delete first: only the buckets' final contents are compared.
    chance.shuffle(changes)
    return [
        Step(number * seconds / len(changes), key, change, _size(chance))
        for number, (key, change) in enumerate(changes)
    ]


def _size(chance: random.Random) -> int:
    if chance.random() < 0.02:
        return chance.choice((0, LARGE_BYTES))
    return chance.randrange(1, MOST_BYTES) if chance.random() < 0.3 else chance.randrange(1, 500)


@dataclass(frozen=True)
class Made:
    """A step that was made between two moments, in seconds of the system's clock."""

    step: Step
    began: float
    ended: float
    etag: str  # of the object that was put


class Writer:
    """Makes the changes at their times, on threads, until all are made or `stop` is set.

    `unannounced` are the steps that no message may tell of; None leaves all messages to S3.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        steps: list[Step],
        *,
        seed: int,
        unannounced: Set[Step] | None = None,
    ) -> None:
        self._bucket = sandbox.source_bucket
        self._queue_url = sandbox.queue_url
        self._s3 = sandbox.aws.client("s3")
        self._sqs = sandbox.aws.client("sqs")
        self._steps = steps
        self._seed = seed
        self._unannounced = unannounced
        # A repeated message would announce the change after all.
        self._never_repeated = {step.key for step in unannounced or ()}
        self._lock = threading.Lock()
        self._remembered: list[str] = []
        self.log: list[Made] = []
        self.repeated = 0

    @property
    def made(self) -> int:
        return len(self.log)

    def run(self, stop: threading.Event) -> None:
        """Make all changes; raises the error of a request that S3 or SQS refuses."""
        started = time.monotonic()
        with ThreadPoolExecutor(THREADS, "writer") as pool:
            parts = [pool.submit(self._run_part, part, started, stop) for part in range(THREADS)]
            for part in parts:
                part.result()

    def _run_part(self, part: int, started: float, stop: threading.Event) -> None:
        chance = random.Random(self._seed * THREADS + part)
        for step in self._steps[part::THREADS]:
            if stop.wait(max(0.0, started + step.at_seconds - time.monotonic())):
                return
            self._make(step, chance)
            if chance.random() < REPEATS and step.key not in self._never_repeated:
                self._repeat(step, chance)

    def _make(self, step: Step, chance: random.Random) -> None:
        began, etag = time.time(), ""
        if step.change is Change.PUT:
            body = chance.randbytes(step.size_bytes)
            answer = self._s3.put_object(Bucket=self._bucket, Key=step.key, Body=body)
            etag = answer["ETag"].strip('"')
        elif step.change is Change.DELETE:
            self._s3.delete_object(Bucket=self._bucket, Key=step.key)
        made = Made(step, began, time.time(), etag)
        if step.change is Change.GHOST or self._must_announce(step):
            self._send(notification(self._bucket, step))
        with self._lock:
            self.log.append(made)

    def _must_announce(self, step: Step) -> bool:
        """Whether S3 does not announce the change, and is to be stood in for."""
        return self._unannounced is not None and step not in self._unannounced

    def _repeat(self, step: Step, chance: random.Random) -> None:
        """Send one of the latest notifications again, and remember this step's for later."""
        with self._lock:
            self._remembered.append(notification(self._bucket, step))
            if len(self._remembered) > REMEMBERED:
                self._remembered.pop(0)
            old = chance.choice(self._remembered)
            self.repeated += 1
        self._send(old)

    def announce_all(self) -> None:
        """Announce each key once more, as an operator does whose rules have moved the replicas."""
        keys = sorted({step.key for step in self._steps})
        with ThreadPoolExecutor(THREADS, "writer") as pool:
            messages = (notification(self._bucket, Step(0, key, Change.PUT)) for key in keys)
            list(pool.map(self._send, messages))

    def _send(self, message: str) -> None:
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=message)


def stop_notifications(sandbox: Sandbox) -> None:
    """Have S3 announce nothing of the source bucket any more."""
    sandbox.aws.client("s3").put_bucket_notification_configuration(
        Bucket=sandbox.source_bucket, NotificationConfiguration={}
    )


def notification(bucket: str, step: Step) -> str:
    """S3's notification of a step, with only the fields that the service reads."""
    record: dict[str, Any] = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "eventName": step.change.value,
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(step.key)}},
    }
    return json.dumps({"Records": [record]})
