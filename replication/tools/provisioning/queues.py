"""The attributes of our queues, and the risks of a queue that is not ours. Pure."""

import json
from collections.abc import Iterator, Mapping

from replication.tools.provisioning.arns import QueueAddress

# A queue with this tag is ours: provisioning changes and removes it.
TAG = {"s3sync": "provisioned"}

VISIBILITY_SECONDS = 30  # for so long the messages of a poller that was killed stay hidden
WAIT_SECONDS = 20
DAY_SECONDS = 24 * 3600
RETENTION_DAYS = 4
# A message's age counts from the first queue, and the message needs time left in the second.
DEAD_LETTER_RETENTION_DAYS = 14
# A message that no parser understands is kept as a dead letter in the database and deleted here.
# A message is received again only where a poller died or PostgreSQL is down: neither is the
# message's fault.
MAX_RECEIVE_COUNT = 100
# S3 sends up to 64 KB, and loses what a queue does not take. A new queue gets its region's default,
# 256 KiB or 1 MiB.
LEAST_MESSAGE_BYTES = 256 * 1024
LARGEST_EVENT_BYTES = 64 * 1024


def queue_attributes(address: QueueAddress) -> dict[str, str]:
    """The attributes of a queue of ours, except its policy."""
    redrive = {
        "deadLetterTargetArn": address.dead_letters.arn,
        "maxReceiveCount": MAX_RECEIVE_COUNT,
    }
    return {
        "VisibilityTimeout": str(VISIBILITY_SECONDS),
        "ReceiveMessageWaitTimeSeconds": str(WAIT_SECONDS),
        "MessageRetentionPeriod": str(RETENTION_DAYS * DAY_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
        # With a KMS key, the key's policy would have to let S3 use the key.
        "SqsManagedSseEnabled": "true",
    }


def dead_letter_attributes() -> dict[str, str]:
    """The attributes of a dead-letter queue of ours."""
    return {
        "MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_DAYS * DAY_SECONDS),
        "SqsManagedSseEnabled": "true",
    }


def differences(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The attributes to set so that a queue of ours is as it should be."""
    changed = {
        name: value
        for name, value in wanted.items()
        if _meaning(name, present.get(name, "")) != _meaning(name, value)
    }
    if present.get("KmsMasterKeyId"):  # an operator's own key, which excludes SSE-SQS
        changed.pop("SqsManagedSseEnabled", None)
    if _largest_message_bytes(present) < LEAST_MESSAGE_BYTES:
        changed["MaximumMessageSize"] = str(LEAST_MESSAGE_BYTES)
    return changed


def risks(present: Mapping[str, str]) -> Iterator[str]:
    """What may be lost because of attributes that provisioning does not change."""
    if (size := _largest_message_bytes(present)) < LARGEST_EVENT_BYTES:
        yield (
            f"the queue takes messages of up to {size:,} bytes, but S3's events have up to "
            f"{LARGEST_EVENT_BYTES:,}: larger events are lost. Raise its maximum message size."
        )
    if key := present.get("KmsMasterKeyId"):
        yield (
            f"the queue is encrypted with the KMS key {key}: the key's policy must let "
            "s3.amazonaws.com use kms:GenerateDataKey and kms:Decrypt, and the service's role "
            "kms:Decrypt."
        )
    if "RedrivePolicy" not in present:
        yield "the queue has no dead-letter queue."


def _largest_message_bytes(present: Mapping[str, str]) -> int:
    return int(present.get("MaximumMessageSize", LEAST_MESSAGE_BYTES))


def _meaning(name: str, value: str) -> object:
    if name != "RedrivePolicy" or not value:
        return value
    # SQS returns the count as a number, or as text where it was set as text.
    return {field: str(each) for field, each in json.loads(value).items()}
