"""Checks of a queue: whether it may be polled, and which messages it would lose.

No message is received, hidden or deleted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replication.errors import ReplicationError
from replication.models import EventQueue
from replication.monitoring.status.problems import SILENT_SECONDS
from replication.monitoring.status.wording import in_words
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Refusal, RefusalReason
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    failed,
    from_error,
    passed,
    unknown,
    warned,
)
from replication.tools.provisioning.queues import LARGEST_EVENT_BYTES

# A poller first extends a message's visibility timeout 10 s after its receipt
# (docs/guides/operations.md).
_LEAST_VISIBILITY_SECONDS = 10
# A message is received again where a poller died or PostgreSQL is down, so a few receipts do not
# show that something is wrong with the message.
_LEAST_RECEIVES = 10


@dataclass(frozen=True)
class LastPoll:
    """What the pollers recorded about a queue; `seconds_ago` is None if it was never polled."""

    seconds_ago: float | None
    last_error: str


def check_queue(row: EventQueue, last_poll: LastPoll, *, administrator: str) -> Findings:
    """Check that the queue's own profile may poll it, and that its attributes are right.

    Args:
        administrator: the credential profile that reads the queue's attributes; empty: the
            queue's own.
    """
    try:
        denied: list[str] = []
        for action, attempt in _ATTEMPTS.items():
            refusal = _refusal(attempt, row)
            if refusal is None or refusal.reason is RefusalReason.INVALID:
                continue
            if refusal.reason is not RefusalReason.DENIED:
                yield _unusable(row, refusal)
                return
            denied.append(action)
        yield _permissions(row, denied)
        yield from _check_last_poll(last_poll, may_receive="sqs:ReceiveMessage" not in denied)
        yield from _check_attributes(row, administrator or row.credential_profile)
    except ReplicationError as error:
        yield from_error(Check.QUEUE_PERMISSIONS, error)


_ATTEMPTS: dict[str, Callable[[EventQueue], None]] = {
    "sqs:DeleteMessage": aws.try_to_delete,
    "sqs:ChangeMessageVisibility": aws.try_to_hide,
    "sqs:ReceiveMessage": aws.try_to_receive,
}


def _refusal(attempt: Callable[[EventQueue], None], row: EventQueue) -> Refusal | None:
    try:
        attempt(row)
    except Refusal as refusal:
        return refusal
    return None


def _unusable(row: EventQueue, refusal: Refusal) -> Finding:
    if refusal.reason is RefusalReason.MISSING:
        return failed(
            Check.QUEUE_PERMISSIONS,
            f"there is no such queue in {row.region}, so no event is received: {row.url}",
            fix="Correct the queue's URL and region, as the SQS console shows them; or make the "
            "queue by `manage.py provision --apply`.",
        )
    return failed(
        Check.QUEUE_PERMISSIONS,
        f"the queue can't be used: {refusal}",
        fix="Check the queue's URL, region and credential profile; then fix what the message says.",
    )


def _permissions(row: EventQueue, denied: list[str]) -> Finding:
    if not denied:
        return passed(
            Check.QUEUE_PERMISSIONS, "SQS does not deny receiving, hiding or deleting messages"
        )
    return failed(
        Check.QUEUE_PERMISSIONS,
        f"SQS denies {' and '.join(denied)}: messages can't be processed as they should",
        fix=f"Grant {' and '.join(denied)} on the queue to the credential profile "
        f"{row.credential_profile!r} (`manage.py provision --write DIR` writes the policy), and "
        "look for a Deny in the queue's own policy.",
    )


def _check_last_poll(last_poll: LastPoll, *, may_receive: bool) -> Findings:
    if not may_receive:
        return
    if last_poll.last_error:
        yield warned(
            Check.QUEUE_RECEIVE,
            f"the last poll failed: {last_poll.last_error}",
            fix="If the queue's other checks pass, wait 20 s and run doctor again: polling goes on "
            "by itself. If the error stays, the pollers have other credentials or another network "
            "than this shell.",
        )
    elif last_poll.seconds_ago is not None and last_poll.seconds_ago <= SILENT_SECONDS:
        ago = in_words(last_poll.seconds_ago)
        yield passed(Check.QUEUE_RECEIVE, f"the queue was polled {ago} ago")
    else:
        when = (
            "has never been polled"
            if last_poll.seconds_ago is None
            else f"was last polled {in_words(last_poll.seconds_ago)} ago"
        )
        yield unknown(
            Check.QUEUE_RECEIVE,
            f"the queue {when}; doctor can't tell whether messages can be received, as it receives "
            "none",
            fix="Start `manage.py qcluster` or `manage.py pollsqs`, and run doctor again.",
        )


def _check_attributes(row: EventQueue, profile: str) -> Findings:
    try:
        attributes = aws.queue_attributes(row, profile=profile)
    except Refusal as refusal:
        fix = (
            "The service does not need sqs:GetQueueAttributes. To have size, redrive policy and "
            "dead-letter queue checked, name a credential profile that has it with --profile."
            if refusal.reason is RefusalReason.DENIED
            else "Fix what the message says, or look at the queue in the AWS console."
        )
        yield unknown(
            Check.QUEUE_ATTRIBUTES, f"the queue's attributes can't be read: {refusal}", fix=fix
        )
        return
    yield _check_size(attributes)
    yield from _check_visibility_and_encryption(attributes)
    yield from _check_dead_letter_queue(row, attributes, profile)


def _check_size(attributes: Mapping[str, str]) -> Finding:
    size = int(attributes.get("MaximumMessageSize", LARGEST_EVENT_BYTES))
    if size >= LARGEST_EVENT_BYTES:
        return passed(Check.QUEUE_SIZE, f"the queue takes messages of up to {size:,} bytes")
    return failed(
        Check.QUEUE_SIZE,
        f"the queue takes messages of up to {size:,} bytes, but S3's events have up to "
        f"{LARGEST_EVENT_BYTES:,}: larger events are lost",
        fix=f"Set the queue's MaximumMessageSize to {LARGEST_EVENT_BYTES:,} or more; `manage.py "
        "provision --apply` does so for a queue that it made.",
    )


def _check_visibility_and_encryption(attributes: Mapping[str, str]) -> Findings:
    wrong = []
    visibility = int(attributes.get("VisibilityTimeout", _LEAST_VISIBILITY_SECONDS))
    if visibility < _LEAST_VISIBILITY_SECONDS:
        wrong.append(
            (
                f"messages are delivered again after {visibility} s, before a poller extends their "
                "visibility timeout",
                f"Set the queue's visibility timeout to {_LEAST_VISIBILITY_SECONDS} s or more.",
            )
        )
    if key := attributes.get("KmsMasterKeyId"):
        wrong.append(
            (
                f"the queue is encrypted with the KMS key {key}, whose policy doctor can't see: if "
                "it does not let S3 in, events are lost",
                "In the key's policy, allow s3.amazonaws.com to use kms:GenerateDataKey and "
                "kms:Decrypt, and grant kms:Decrypt to the service; or encrypt the queue with "
                "SSE-SQS.",
            )
        )
    for found, fix in wrong:
        yield warned(Check.QUEUE_ATTRIBUTES, found, fix=fix)
    if not wrong:
        yield passed(Check.QUEUE_ATTRIBUTES, f"received messages are hidden for {visibility} s")


def _check_dead_letter_queue(
    row: EventQueue, attributes: Mapping[str, str], profile: str
) -> Findings:
    if "RedrivePolicy" not in attributes:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            "the queue has no dead-letter queue: a message that is never processed is lost after "
            "the queue's retention",
            fix="Set a redrive policy; `manage.py provision --apply` does so for a queue that it "
            "made.",
        )
        return
    receives = int(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"])
    if receives < _LEAST_RECEIVES:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            f"messages move to the dead-letter queue after {receives} receipts: an hour without "
            "PostgreSQL takes more",
            fix="Raise maxReceiveCount in the queue's redrive policy, to 100 for example.",
        )
    try:
        dead = aws.dead_letter_attributes(row, attributes, profile=profile)
    except Refusal as refusal:
        missing = refusal.reason is RefusalReason.MISSING
        yield (warned if missing else unknown)(
            Check.QUEUE_DEAD_LETTERS,
            f"the dead-letter queue {'does not exist' if missing else 'is unreadable'}: {refusal}",
            fix="Make it, or correct the redrive policy: SQS drops messages that it can't move "
            "there."
            if missing
            else "Look in the AWS console how many messages it has.",
        )
        return
    waiting = int(dead.get("ApproximateNumberOfMessages", 0))
    if waiting:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            f"{waiting:,} messages are in the dead-letter queue: their changes were not followed",
            fix="Look at one and fix the cause; then use “Start DLQ redrive” in the SQS console. "
            "Processing a message twice is harmless.",
        )
    elif int(dead["MessageRetentionPeriod"]) <= int(attributes["MessageRetentionPeriod"]):
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            "the dead-letter queue keeps messages no longer than the queue does: their age counts "
            "from the first queue, so they are lost soon after they are moved",
            fix="Set the dead-letter queue's retention to 14 days.",
        )
    elif receives >= _LEAST_RECEIVES:
        yield passed(Check.QUEUE_DEAD_LETTERS, "the dead-letter queue is empty")
