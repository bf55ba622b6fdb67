"""Pure parser: the text of a message → its records, each an event or the reason why it is none.

It touches no network and no database.

Understands S3's own notifications, also wrapped by SNS; EventBridge's events, also CloudTrail's of
S3's API calls; S3's test message; and Lambda's record of an invocation with any of these.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import unquote_plus

from replication.intake import api_calls, foreign_messages
from replication.intake.message_fields import (
    UnparseableMessage,
    bucket_of,
    json_object,
    key_of_event,
    mapping,
    text,
    text_or_empty,
    undecodable,
)
from replication.intake.object_events import ObjectEvent

SUPPORTED_MAJOR_VERSION = "2"

# S3 sends one record in a message. The limit keeps a message of a million zeros from becoming a
# million dead letters; as many real records do not fit into a message of 1 MiB, SQS's limit.
MAX_RECORDS = 10_000

# No record that s3sync reads is nested as deeply.
_MAX_DEPTH = 20

# EventBridge's names → S3's names. All that matters is whether the object can have changed: a job
# looks at the source itself.
_EVENTBRIDGE_NAMES = {
    "Object Created": "ObjectCreated",
    "Object Deleted": "ObjectRemoved",
    "Object Restore Initiated": "ObjectRestore:Post",
    "Object Restore Completed": "ObjectRestore:Completed",
    "Object Restore Expired": "ObjectRestore:Delete",
    "Object Tags Added": "ObjectTagging:Put",
    "Object Tags Deleted": "ObjectTagging:Delete",
    "Object ACL Updated": "ObjectAcl:Put",
    "Object Storage Class Changed": "LifecycleTransition",
    "Object Access Tier Changed": "IntelligentTiering",
}


@dataclass(frozen=True)
class Record:
    """One record of a message: its event, or the reason why it is none."""

    event: ObjectEvent | None
    reason: str  # "" for an event
    message: dict[str, Any]  # a message that has no other record

    def alone(self) -> str:
        """The body of a message that has this record only, for `parse_message`."""
        try:
            return json.dumps(self.message, ensure_ascii=False)
        except RecursionError:  # JSON is read from less deep in the stack than it is written
            return json.dumps(_without_deep_values(self.message), ensure_ascii=False)


def parse_message(body: str) -> list[Record]:
    """Return the records of a message in order; S3's test message has none.

    A record's place in this list is its number, from 0, also where the records came in several SNS
    messages of one invocation of a Lambda function.

    Raises:
        UnparseableMessage: the message as a whole is in no known format.
    """
    message = json_object(body, what="the message")
    records = list(islice(_records(message), MAX_RECORDS + 1))
    if len(records) > MAX_RECORDS:
        raise UnparseableMessage(f"the message has more than {MAX_RECORDS:,} records")
    return records


def _records(message: dict[str, Any]) -> Iterator[Record]:
    if message.get("Event") == "s3:TestEvent":
        return
    if "Records" in message:
        yield from _native(message["Records"])
    elif message.get("Type") == "Notification" and "Message" in message:
        inner = json_object(message["Message"], what="the SNS message")
        if inner.get("Type") == "Notification":
            raise UnparseableMessage("an SNS notification inside an SNS notification")
        yield from _records(inner)
    elif text_or_empty(message, "detail-type").endswith(api_calls.DETAIL_TYPE_ENDING):
        yield from _api_calls(message)
    elif "detail-type" in message:
        yield _record(partial(_eventbridge, message), alone=message)
    elif "requestContext" in message and "requestPayload" in message:
        yield from _failed_invocation(message)
    else:
        raise UnparseableMessage(foreign_messages.reason_for_message(message))


def _record(parse: Callable[[], ObjectEvent], *, alone: dict[str, Any]) -> Record:
    try:
        return Record(parse(), "", alone)
    except UnparseableMessage as error:
        return Record(None, str(error), alone)


def _failed_invocation(message: dict[str, Any]) -> Iterator[Record]:
    """Lambda's record of a failed invocation: it holds the event that the function was given.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    payload = message["requestPayload"]
    if not isinstance(payload, list):
        yield from _payload(message, payload)
        return
    for item in payload:  # a pipe invokes a function with a list
        alone = {**message, "requestPayload": [item]}
        try:
            yield from _payload(alone, item)
        except UnparseableMessage as error:
            yield Record(None, str(error), alone)


def _payload(message: dict[str, Any], payload: Any) -> Iterator[Record]:
    """The records of what a function was given. `message` has nothing else to give."""
    if not isinstance(payload, dict):
        raise UnparseableMessage("the message.requestPayload is missing or not an object")
    if "requestPayload" in payload:
        raise UnparseableMessage("Lambda's record of an invocation inside another one")
    records = payload.get("Records")
    if not (isinstance(records, list) and any(map(_is_of_sns, records))):
        yield from _records(payload)
        return
    for record in records:  # SNS invokes a function with its own format
        try:
            notification = mapping(record, "Sns", where="the SNS record")
            yield from _records({"Type": "Notification", "Message": notification.get("Message")})
        except UnparseableMessage as error:
            alone = {**payload, "Records": [record]}
            in_list = isinstance(message["requestPayload"], list)
            yield Record(
                None, str(error), {**message, "requestPayload": [alone] if in_list else alone}
            )


def _is_of_sns(record: Any) -> bool:
    return isinstance(record, dict) and "Sns" in record


def _native(records: Any) -> Iterator[Record]:
    if not isinstance(records, list):
        raise UnparseableMessage("Records is not a list")
    for record in records:
        yield _record(partial(_native_event, record), alone={"Records": [record]})


def _native_event(record: Any) -> ObjectEvent:
    if reason := foreign_messages.reason_for_record(record):
        raise UnparseableMessage(reason)
    version = text(record, "eventVersion", where="the record")
    if version.split(".")[0] != SUPPORTED_MAJOR_VERSION:
        raise UnparseableMessage(
            f"eventVersion is {version[:20]!r}; only {SUPPORTED_MAJOR_VERSION}.x is known"
        )
    s3 = mapping(record, "s3", where="the record")
    encoded_key = text(mapping(s3, "object", where="s3"), "key", where="s3.object")
    try:
        key = unquote_plus(encoded_key, errors="strict")
    except UnicodeDecodeError as error:
        raise undecodable("s3.object.key") from error
    return ObjectEvent(
        bucket=bucket_of(s3, where="s3"),
        key=key_of_event(key, where="s3.object.key"),
        name=text(record, "eventName", where="the record").removeprefix("s3:"),
    )


def _api_calls(message: dict[str, Any]) -> Iterator[Record]:
    try:
        _check_source(message)
        parts = api_calls.parts(message)
    except UnparseableMessage as error:
        yield Record(None, str(error), message)
        return
    for parse, alone in parts:
        yield _record(parse, alone=alone)


def _eventbridge(message: dict[str, Any]) -> ObjectEvent:
    _check_source(message)
    detail_type = text(message, "detail-type", where="the event")
    detail = mapping(message, "detail", where="the event")
    # Unlike in S3's own notifications, the key is not URL-encoded here.
    key = text(mapping(detail, "object", where="detail"), "key", where="detail.object")
    return ObjectEvent(
        bucket=bucket_of(detail, where="detail"),
        key=key_of_event(key, where="detail.object.key"),
        name=_EVENTBRIDGE_NAMES.get(detail_type, detail_type),
    )


def _check_source(message: dict[str, Any]) -> None:
    if message.get("source") != "aws.s3":
        source = text_or_empty(message, "source")
        raise UnparseableMessage(foreign_messages.reason_for_eventbridge(source))


def _without_deep_values(value: Any, *, depth: int = _MAX_DEPTH) -> Any:
    """The JSON value with null for every list and object that is nested too deeply."""
    if isinstance(value, (dict, list)) and not depth:
        return None
    if isinstance(value, dict):
        return {name: _without_deep_values(each, depth=depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_deep_values(each, depth=depth - 1) for each in value]
    return value
