"""The queue of a road in SQS: what a test sends into it, and what is left in it."""

import json
from typing import TYPE_CHECKING, Any

from tests.support.road import Road

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef


def put_event(bucket: str, key: str, name: str = "ObjectCreated:Put") -> str:
    """The body of a notification by S3 about one object; `key` is form-encoded."""
    return put_events(bucket, key, name=name)


def put_events(bucket: str, *keys: str, name: str = "ObjectCreated:Put") -> str:
    """The body of a notification with a record for each key; pass the keys form-encoded."""
    records = [
        {
            "eventVersion": "2.1",
            "eventName": name,
            "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
        for key in keys
    ]
    return json.dumps({"Records": records}, ensure_ascii=False)


def by_sns(body: str) -> str:
    """The body as SNS delivers it to a queue without raw message delivery."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": body})


def send(road: Road, *bodies: str) -> None:
    """Send messages with these bodies, up to ten in a request."""
    for start in range(0, len(bodies), 10):
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": body}
            for number, body in enumerate(bodies[start : start + 10])
        ]
        answer = road.aws.client("sqs").send_message_batch(QueueUrl=road.queue.url, Entries=entries)
        assert not answer.get("Failed")


def empty(road: Road, *, visibility_timeout_seconds: int) -> None:
    """Delete all messages, and set the queue's visibility timeout."""
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    set_visibility_timeout(road, seconds=visibility_timeout_seconds)


def set_visibility_timeout(road: Road, *, seconds: int) -> None:
    """Set for how long the queue hides a received message from other receivers."""
    road.aws.client("sqs").set_queue_attributes(
        QueueUrl=road.queue.url, Attributes={"VisibilityTimeout": f"{seconds}"}
    )


def messages_left(road: Road) -> int:
    """How many messages are in the queue, hidden ones included."""
    answer: Any = road.aws.client("sqs").get_queue_attributes(
        QueueUrl=road.queue.url, AttributeNames=["All"]
    )
    counts = [
        int(answer["Attributes"][f"ApproximateNumberOfMessages{state}"])
        for state in ("", "NotVisible", "Delayed")
    ]
    return sum(counts)
