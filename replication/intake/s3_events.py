"""Pure parser: the text of a message → its records, each an event or the reason why it is none.

It touches no network and no database.

Understands S3's own notifications, also wrapped by SNS; EventBridge's events; S3's test message;
and Lambda's record of an invocation with any of these.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any
from urllib.parse import unquote_plus

MAX_KEY_BYTES = 1024  # S3's own limit
SUPPORTED_MAJOR_VERSION = "2"

# S3 sends one record in a message. The limit keeps a message of a million zeros from becoming a
# million dead letters; as many real records do not fit into a message of 1 MiB, SQS's limit.
MAX_RECORDS = 10_000

# No record that s3sync reads is nested as deeply.
_MAX_DEPTH = 20

_NEVER = "no retry and no replay can ever succeed"

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

_CHANGES = ("ObjectCreated", "ObjectRemoved", "LifecycleExpiration", "ObjectRestore:Completed")
_CHANGES_OF_TAGS = ("ObjectTagging:",)


class Change(Enum):
    """What of an object an event says may have changed."""

    NOTHING = "nothing"  # nothing that a replica has
    TAGS = "tags only"
    OBJECT = "object"  # a GET of the key may return something else than before


class UnparseableMessage(Exception):
    """The parser does not understand this message or this record; the text says why."""


@dataclass(frozen=True)
class ObjectEvent:
    """Something happened to this key of this bucket."""

    bucket: str
    key: str
    name: str  # S3's event name without "s3:", e.g. "ObjectCreated:Put"

    @property
    def change(self) -> Change:
        """What of the object may have changed."""
        if self.name.startswith(_CHANGES):
            return Change.OBJECT
        return Change.TAGS if self.name.startswith(_CHANGES_OF_TAGS) else Change.NOTHING


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
    message = _json_object(body, what="the message")
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
        inner = _json_object(message["Message"], what="the SNS message")
        if inner.get("Type") == "Notification":
            raise UnparseableMessage("an SNS notification inside an SNS notification")
        yield from _records(inner)
    elif "detail-type" in message:
        yield _record(_eventbridge, message, alone=message)
    elif "requestContext" in message and "requestPayload" in message:
        yield from _failed_invocation(message)
    else:
        raise UnparseableMessage(
            "neither an S3 notification (Records), an SNS notification (Type), "
            "an EventBridge event (detail-type), nor Lambda's record of one (requestPayload)"
        )


def _record(parse: Callable[[Any], ObjectEvent], value: Any, *, alone: dict[str, Any]) -> Record:
    try:
        return Record(parse(value), "", alone)
    except UnparseableMessage as error:
        return Record(None, str(error), alone)


def _failed_invocation(message: dict[str, Any]) -> Iterator[Record]:
    """Lambda's record of a failed invocation: it holds the event that the function was given.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    payload = _mapping(message, "requestPayload", where="the message")
    if "requestPayload" in payload:
        raise UnparseableMessage("Lambda's record of an invocation inside another one")
    records = payload.get("Records")
    if not (isinstance(records, list) and any(map(_is_of_sns, records))):
        yield from _records(payload)
        return
    for record in records:  # SNS invokes a function with its own format
        try:
            notification = _mapping(record, "Sns", where="the SNS record")
            yield from _records({"Type": "Notification", "Message": notification.get("Message")})
        except UnparseableMessage as error:
            alone = {**message, "requestPayload": {**payload, "Records": [record]}}
            yield Record(None, str(error), alone)


def _is_of_sns(record: Any) -> bool:
    return isinstance(record, dict) and "Sns" in record


def _native(records: Any) -> Iterator[Record]:
    if not isinstance(records, list):
        raise UnparseableMessage("Records is not a list")
    for record in records:
        yield _record(_native_event, record, alone={"Records": [record]})


def _native_event(record: Any) -> ObjectEvent:
    version = _text(record, "eventVersion", where="the record")
    if version.split(".")[0] != SUPPORTED_MAJOR_VERSION:
        raise UnparseableMessage(
            f"eventVersion is {version[:20]!r}; only {SUPPORTED_MAJOR_VERSION}.x is known"
        )
    s3 = _mapping(record, "s3", where="the record")
    encoded_key = _text(_mapping(s3, "object", where="s3"), "key", where="s3.object")
    try:
        key = unquote_plus(encoded_key, errors="strict")
    except UnicodeDecodeError as error:
        raise UnparseableMessage(
            f"s3.object.key is not UTF-8 when decoded, as every key in S3 is: {_NEVER}"
        ) from error
    return ObjectEvent(
        bucket=_bucket(s3, where="s3"),
        key=_key(key, where="s3.object.key"),
        name=_text(record, "eventName", where="the record").removeprefix("s3:"),
    )


def _eventbridge(message: dict[str, Any]) -> ObjectEvent:
    if message.get("source") != "aws.s3":
        raise UnparseableMessage("an EventBridge event whose source is not aws.s3")
    detail_type = _text(message, "detail-type", where="the event")
    detail = _mapping(message, "detail", where="the event")
    # Unlike in S3's own notifications, the key is not URL-encoded here.
    key = _text(_mapping(detail, "object", where="detail"), "key", where="detail.object")
    return ObjectEvent(
        bucket=_bucket(detail, where="detail"),
        key=_key(key, where="detail.object.key"),
        name=_EVENTBRIDGE_NAMES.get(detail_type, detail_type),
    )


def check_key(key: str, *, where: str) -> str:
    """Return the key if it is a valid S3 key that PostgreSQL can store.

    Raises:
        UnparseableMessage: the key is too long, empty, or not storable.
    """
    size = len(_storable(key, where=where).encode())
    if not 1 <= size <= MAX_KEY_BYTES:
        raise UnparseableMessage(f"{where} has {size} bytes; S3 keys have 1 to {MAX_KEY_BYTES}")
    return key


def _key(text: str, *, where: str) -> str:
    """The key of an event. What S3 can't have, or PostgreSQL can't store, no replay can change."""
    try:
        return check_key(text, where=where)
    except UnparseableMessage as error:
        raise UnparseableMessage(f"{error}: {_NEVER}") from error


def _bucket(container: dict[str, Any], *, where: str) -> str:
    name = _text(_mapping(container, "bucket", where=where), "name", where=f"{where}.bucket")
    return _storable(name, where=f"{where}.bucket.name")


def _storable(text: str, *, where: str) -> str:
    """Return the text if PostgreSQL accepts it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnparseableMessage(f"{where} is not valid Unicode, as every name in S3 is") from error
    if "\0" in text:
        raise UnparseableMessage(f"{where} contains a NUL character, which PostgreSQL can't store")
    return text


def _without_deep_values(value: Any, *, depth: int = _MAX_DEPTH) -> Any:
    """The JSON value with null for every list and object that is nested too deeply."""
    if isinstance(value, (dict, list)) and not depth:
        return None
    if isinstance(value, dict):
        return {name: _without_deep_values(each, depth=depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_deep_values(each, depth=depth - 1) for each in value]
    return value


def _json_object(text: Any, *, what: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise UnparseableMessage(f"{what} is not text")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnparseableMessage(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnparseableMessage(f"{what} is not a JSON object")
    return value


def _mapping(container: Any, name: str, *, where: str) -> dict[str, Any]:
    value = container.get(name) if isinstance(container, dict) else None
    if not isinstance(value, dict):
        raise UnparseableMessage(f"{where}.{name} is missing or not an object")
    return value


def _text(container: Any, name: str, *, where: str) -> str:
    value = container.get(name) if isinstance(container, dict) else None
    if not isinstance(value, str) or not value:
        raise UnparseableMessage(f"{where}.{name} is missing or not text")
    return value
