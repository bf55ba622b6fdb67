"""Recognises well-known messages that are no events of S3, and says which setting to change. Pure.

Somebody has pointed another sender at the queue or the function, or has not finished to set it up.
"""

from typing import Any

from replication.intake.message_fields import text_or_empty

_UNKNOWN = (
    "neither an S3 notification (Records), an SNS notification (Type), "
    "an EventBridge event (detail-type), nor Lambda's record of one (requestPayload)"
)
_REMOVE = "remove this queue or function from the targets of that service"


def reason_for_message(message: dict[str, Any]) -> str:
    """Why the message is no event of S3, and what to do about it."""
    kind = text_or_empty(message, "Type")
    topic = text_or_empty(message, "TopicArn") or "of SNS that the body names"
    if kind == "SubscriptionConfirmation":
        return (
            f"the topic {topic} waits for its subscription to be confirmed, and sends no events "
            "until then: confirm the subscription by opening the SubscribeURL in the body, within "
            "three days of the message; then delete this dead letter"
        )
    if kind == "UnsubscribeConfirmation":
        return (
            f"the subscription to the topic {topic} was removed, so its events do not arrive any "
            "more: subscribe again, unless this is intended"
        )
    if "awslogs" in message:
        return f"log lines of CloudWatch Logs, not of S3: {_REMOVE}"
    if "s3Bucket" in message and "s3ObjectKey" in message:
        return (
            "a notice of CloudTrail's log files, not of S3: subscribe to the topic of S3's events "
            "instead of CloudTrail's"
        )
    return reason_for_record(message) or _UNKNOWN


def reason_for_record(record: Any) -> str:
    """Why a record is none of S3, and what to do about it; empty if it may be one of S3."""
    source = text_or_empty(record, "eventSource")
    if not source or "s3" in record:
        return ""
    if source == "aws:sqs":
        queue = text_or_empty(record, "eventSourceARN") or "that its field eventSourceARN names"
        return (
            f"a message of the queue {queue} that a function or a pipe has read: let s3sync poll "
            "that queue itself (an event queue in the admin), or invoke the function by S3, SNS or "
            "EventBridge"
        )
    if source.endswith(":s3"):
        return ""
    return f"a record of {source[:60]}, not of S3: {_REMOVE}"


def reason_for_eventbridge(source: str) -> str:
    """Why an event of another service than S3 is none of S3, and what to do about it."""
    return (
        f"an EventBridge event of {source[:60] or 'no service'}, not of aws.s3: give the rule in "
        'EventBridge the pattern {"source": ["aws.s3"]}'
    )
