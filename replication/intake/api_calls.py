"""Reads S3's API calls, which CloudTrail tells to EventBridge, as events of objects. Pure.

CloudTrail tells of calls as it can, without expirations by lifecycle rules. S3's own events are
better; but where these calls are what arrives, they tell as well where to look.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from replication.intake.message_fields import (
    UnparseableMessage,
    key_of_event,
    mapping,
    storable,
    text,
    text_or_empty,
)
from replication.intake.object_events import ObjectEvent

DETAIL_TYPE_ENDING = "API Call via CloudTrail"  # after AWS or, in China, Amazon

# The calls that change an object → S3's names of events.
_NAMES = {
    "PutObject": "ObjectCreated:Put",
    "PostObject": "ObjectCreated:Post",
    "CopyObject": "ObjectCreated:Copy",
    "CompleteMultipartUpload": "ObjectCreated:CompleteMultipartUpload",
    "DeleteObject": "ObjectRemoved:Delete",
    "DeleteObjects": "ObjectRemoved:Delete",
    "PutObjectTagging": "ObjectTagging:Put",
    "DeleteObjectTagging": "ObjectTagging:Delete",
}

_ARN = "arn:"
_OBJECT, _BUCKET = "AWS::S3::Object", "AWS::S3::Bucket"

# One event to parse, and a message that has no other.
Part = tuple[Callable[[], ObjectEvent], dict[str, Any]]


def parts(message: dict[str, Any]) -> list[Part]:
    """The events in the message of a call; none for a call that changed no object.

    Raises:
        UnparseableMessage: the message has no call.
    """
    detail = mapping(message, "detail", where="the event")
    call = text(detail, "eventName", where="detail")
    if call not in _NAMES or text_or_empty(detail, "errorCode"):
        return []
    named = [] if _key(detail) else _resources(detail, of_type=_OBJECT)
    if not named:
        return [(partial(_event, detail, call), message)]
    bucket = _resources(detail, of_type=_BUCKET)
    return [
        (
            partial(_event_of_resource, resource, call),
            {**message, "detail": {**detail, "resources": [resource, *bucket]}},
        )
        for resource in named
    ]


def _event(detail: dict[str, Any], call: str) -> ObjectEvent:
    bucket, key = _bucket(detail), _key(detail)
    if not (bucket and key):
        what = "key" if bucket else "bucket"
        raise UnparseableMessage(
            f"a call of {call} that CloudTrail tells without its {what}: switch to S3's own events "
            "(EventBridge's “Object Created” and “Object Deleted”, or notifications to SQS or SNS)"
        )
    return ObjectEvent(
        storable(bucket, where="detail.requestParameters.bucketName"),
        key_of_event(key, where="detail.requestParameters.key"),
        _NAMES[call],
    )


def _event_of_resource(resource: dict[str, Any], call: str) -> ObjectEvent:
    bucket, _, key = _name_in(resource).partition("/")
    where = "detail.resources.ARN"
    return ObjectEvent(storable(bucket, where=where), key_of_event(key, where=where), _NAMES[call])


def _bucket(detail: dict[str, Any]) -> str:
    """The bucket; behind an access point, whose ARN the call has, the resources name it."""
    bucket = text_or_empty(detail.get("requestParameters"), "bucketName")
    if not bucket.startswith(_ARN):
        return bucket
    return next(map(_name_in, _resources(detail, of_type=_BUCKET)), "")


def _key(detail: dict[str, Any]) -> str:
    return text_or_empty(detail.get("requestParameters"), "key")


def _resources(detail: dict[str, Any], *, of_type: str) -> list[dict[str, Any]]:
    listed = detail.get("resources")
    return [
        each
        for each in (listed if isinstance(listed, list) else [])
        if text_or_empty(each, "type") == of_type and _name_in(each)
    ]


def _name_in(resource: dict[str, Any]) -> str:
    """What follows `arn:aws:s3:::`: the bucket, and for an object a slash and the key."""
    return text_or_empty(resource, "ARN").partition(":::")[2]
