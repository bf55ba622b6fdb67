"""What a queue and its dead-letter queue are like, and what another queue would lose. Pure."""

import json
from collections.abc import Iterator, Mapping

from replication.tools.provisioning.arns import QueueAddress

TAG = {
    "s3sync": "provisioned"
}  # what has it was made by us, is changed by us, and is removed by us

VISIBILITY_SECONDS = 30  # as long as the messages of a poller that was killed are nobody's
WAIT_SECONDS = 20
DAY_SECONDS = 24 * 3600
RETENTION_DAYS = 4
# A message's age is counted from the first queue on: it shall have time left in the second.
DEAD_LETTER_RETENTION_DAYS = 14
# What no parser understands is kept as a dead letter, and deleted here. A message comes back only
# where a poller died with it or PostgreSQL is away, and neither is the message's fault.
MAX_RECEIVE_COUNT = 100
# S3 sends up to 64 KB, and what a queue does not take is lost. A new queue takes as much as its
# region allows, 256 KiB or 1 MiB, and is not told otherwise.
LEAST_MESSAGE_BYTES = 256 * 1024
LARGEST_EVENT_BYTES = 64 * 1024


def queue_attributes(address: QueueAddress) -> dict[str, str]:
    """Of a queue of ours, but for its policy."""
    redrive = {
        "deadLetterTargetArn": address.dead_letters.arn,
        "maxReceiveCount": MAX_RECEIVE_COUNT,
    }
    return {
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "ReceiveMessageWaitTimeSeconds": str(WAIT_SECONDS),
        "MessageRetentionPeriod": str(RETENTION_DAYS * DAY_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
        # With a key of KMS's, that key's policy would have to let S3 use it.
        "SqsManagedSseEnabled": "true",
    }


def dead_letter_attributes() -> dict[str, str]:
    """Of a dead-letter queue of ours."""
    return {
        "MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_DAYS * DAY_SECONDS),
        "SqsManagedSseEnabled": "true",
    }


def differences(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The attributes to set, so that a queue of ours is what it should be."""
    changed = {
        name: value
        for name, value in wanted.items()
        if _meaning(name, present.get(name, "")) != _meaning(name, value)
    }
    if present.get("KmsMasterKeyId"):  # somebody's own key: they can't have both
        changed.pop("SqsManagedSseEnabled", None)
    if _largest_message_bytes(present) < LEAST_MESSAGE_BYTES:
        changed["MaximumMessageSize"] = str(LEAST_MESSAGE_BYTES)
    return changed


def doubts(present: Mapping[str, str]) -> Iterator[str]:
    """What we don't change, and what may be lost by it."""
    if (size := _largest_message_bytes(present)) < LARGEST_EVENT_BYTES:
        yield (
            f"it takes messages of up to {size:,} bytes, and S3's events have up to "
            f"{LARGEST_EVENT_BYTES:,}: larger ones are lost. Raise its maximum message size."
        )
    if key := present.get("KmsMasterKeyId"):
        yield (
            f"it is encrypted with the KMS key {key}: the key's policy must let s3.amazonaws.com "
            "use kms:GenerateDataKey and kms:Decrypt, and the service's role kms:Decrypt."
        )
    if "RedrivePolicy" not in present:
        yield "it has no dead-letter queue."


def _largest_message_bytes(present: Mapping[str, str]) -> int:
    return int(present.get("MaximumMessageSize", LEAST_MESSAGE_BYTES))


def _meaning(name: str, value: str) -> object:
    if name != "RedrivePolicy" or not value:
        return value
    # SQS answers the count as a number, or as text where it was given as text.
    return {field: str(each) for field, each in json.loads(value).items()}
