"""A queue's leg: whether it may be polled, and what it would lose. No message is received, hidden
or deleted."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replication.errors import ReplicationError
from replication.models import EventQueue
from replication.monitoring.status.problems import SILENT_SECONDS, in_words
from replication.tools.doctor import aws
from replication.tools.doctor.aws import Refusal, Why
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

# poll_loop hides messages in hand, first 10 s after their receipt (docs/guides/operations.md).
_LEAST_VISIBILITY_SECONDS = 10
# A message comes back where a poller died with it or PostgreSQL is away: not its own fault.
_LEAST_RECEIVES = 10


@dataclass(frozen=True)
class Polled:
    """What the pollers left in the database about a queue; None if it was never polled."""

    seconds_ago: float | None
    last_error: str


def examine_queue(row: EventQueue, polled: Polled, *, administrator: str) -> Findings:
    """Whether the queue's own profile may poll it, and how it is made.

    Args:
        administrator: the credential profile that reads the queue's attributes; empty: its own.
    """
    try:
        denied: list[str] = []
        for action, attempt in _ATTEMPTS.items():
            refusal = _refusal(attempt, row)
            if refusal is None or refusal.why is Why.INVALID:
                continue
            if refusal.why is not Why.DENIED:
                yield _not_there(row, refusal)
                return
            denied.append(action)
        yield _permissions(row, denied)
        yield from _received(polled, may_receive="sqs:ReceiveMessage" not in denied)
        yield from _attributes(row, administrator or row.credential_profile)
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


def _not_there(row: EventQueue, refusal: Refusal) -> Finding:
    if refusal.why is Why.MISSING:
        return failed(
            Check.QUEUE_PERMISSIONS,
            f"there is no such queue in {row.region}: {row.url}",
            fix="Correct the queue's URL and region, as the SQS console shows them; or have "
            "`manage.py provision --apply` make it.",
        )
    return failed(
        Check.QUEUE_PERMISSIONS,
        f"the queue can't be asked: {refusal}",
        fix="Check the queue's URL, region and credential profile; then what the text says.",
    )


def _permissions(row: EventQueue, denied: list[str]) -> Finding:
    if not denied:
        return passed(
            Check.QUEUE_PERMISSIONS, "SQS refuses neither receiving nor hiding nor deleting"
        )
    return failed(
        Check.QUEUE_PERMISSIONS,
        f"{' and '.join(denied)} may not be done: messages can't be taken in as they should",
        fix=f"Grant {' and '.join(denied)} on the queue to the credential profile "
        f"{row.credential_profile!r} (`manage.py provision --write DIR` writes the policy), and "
        "look for a Deny in the queue's own policy.",
    )


def _received(polled: Polled, *, may_receive: bool) -> Findings:
    if not may_receive:
        return
    if polled.last_error:
        yield warned(
            Check.QUEUE_RECEIVE,
            f"the last poll was refused: {polled.last_error}",
            fix="If all else is green here, wait 20 s and run it again: polling goes on by itself. "
            "If not, the pollers have other credentials, or another network, than this shell.",
        )
    elif polled.seconds_ago is not None and polled.seconds_ago <= SILENT_SECONDS:
        ago = in_words(polled.seconds_ago)
        yield passed(Check.QUEUE_RECEIVE, f"it was polled {ago} ago")
    else:
        when = "never" if polled.seconds_ago is None else f"{in_words(polled.seconds_ago)} ago"
        yield unknown(
            Check.QUEUE_RECEIVE,
            f"it was polled {when}; whether messages can be received is not to be told without "
            "taking one",
            fix="Start `manage.py qcluster`, or `manage.py pollsqs`, and run it again.",
        )


def _attributes(row: EventQueue, profile: str) -> Findings:
    try:
        attributes = aws.queue_attributes(row, profile=profile)
    except Refusal as refusal:
        fix = (
            "The service does not need sqs:GetQueueAttributes. To have size, redrive policy and "
            "dead-letter queue looked at, name a credential profile that has it with --profile."
            if refusal.why is Why.DENIED
            else "Mend what it says, or look at the queue in the AWS console."
        )
        yield unknown(
            Check.QUEUE_ATTRIBUTES, f"it can't be seen how it is made: {refusal}", fix=fix
        )
        return
    yield _size(attributes)
    yield from _settings(attributes)
    yield from _dead_letters(row, attributes, profile)


def _size(attributes: Mapping[str, str]) -> Finding:
    size = int(attributes.get("MaximumMessageSize", LARGEST_EVENT_BYTES))
    if size >= LARGEST_EVENT_BYTES:
        return passed(Check.QUEUE_SIZE, f"it takes messages of up to {size:,} bytes")
    return failed(
        Check.QUEUE_SIZE,
        f"it takes messages of up to {size:,} bytes, and S3's events have up to "
        f"{LARGEST_EVENT_BYTES:,}: larger ones are lost",
        fix=f"Set its MaximumMessageSize to {LARGEST_EVENT_BYTES:,} or more; `manage.py provision "
        "--apply` does so for a queue that it has made.",
    )


def _settings(attributes: Mapping[str, str]) -> Findings:
    wrong = []
    visibility = int(attributes.get("VisibilityTimeout", _LEAST_VISIBILITY_SECONDS))
    if visibility < _LEAST_VISIBILITY_SECONDS:
        wrong.append(
            (
                f"messages in hand are delivered again after {visibility} s",
                f"Set its visibility timeout to {_LEAST_VISIBILITY_SECONDS} s or more.",
            )
        )
    if key := attributes.get("KmsMasterKeyId"):
        wrong.append(
            (
                f"it is encrypted with the KMS key {key}, whose policy can't be seen from here",
                "Let s3.amazonaws.com use kms:GenerateDataKey and kms:Decrypt in the key's policy, "
                "and grant kms:Decrypt to the service; or encrypt the queue with SSE-SQS.",
            )
        )
    for found, fix in wrong:
        yield warned(Check.QUEUE_ATTRIBUTES, found, fix=fix)
    if not wrong:
        yield passed(Check.QUEUE_ATTRIBUTES, f"messages in hand are hidden for {visibility} s")


def _dead_letters(row: EventQueue, attributes: Mapping[str, str], profile: str) -> Findings:
    """The queue for what was received in vain too often."""
    if "RedrivePolicy" not in attributes:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            "it has no dead-letter queue: what is never taken in is gone after its retention",
            fix="Set a redrive policy; `manage.py provision --apply` does so for a queue that it "
            "has made.",
        )
        return
    receives = int(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"])
    if receives < _LEAST_RECEIVES:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            f"messages are given up after {receives} receipts: an hour without PostgreSQL takes "
            "more",
            fix="Raise maxReceiveCount in its redrive policy, to 100 for example.",
        )
    try:
        dead = aws.dead_letter_attributes(row, attributes, profile=profile)
    except Refusal as refusal:
        missing = refusal.why is Why.MISSING
        yield (warned if missing else unknown)(
            Check.QUEUE_DEAD_LETTERS,
            f"its dead-letter queue {'is not there' if missing else 'can not be read'}: {refusal}",
            fix="Make it, or correct the redrive policy: SQS drops what it can't move there."
            if missing
            else "Look at its depth in the AWS console.",
        )
        return
    waiting = int(dead.get("ApproximateNumberOfMessages", 0))
    if waiting:
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            f"{waiting:,} messages are in its dead-letter queue: their changes were not followed",
            fix="Look at one; once the cause is mended, use “Start DLQ redrive” in the SQS "
            "console. Taking a message in twice is harmless.",
        )
    elif int(dead["MessageRetentionPeriod"]) <= int(attributes["MessageRetentionPeriod"]):
        yield warned(
            Check.QUEUE_DEAD_LETTERS,
            "its dead-letter queue keeps messages no longer than it does itself: their age counts "
            "from the first queue on, so they are gone soon after they were moved",
            fix="Set the dead-letter queue's retention to 14 days.",
        )
    elif receives >= _LEAST_RECEIVES:
        yield passed(Check.QUEUE_DEAD_LETTERS, "its dead-letter queue is empty")
