"""Generates messages that a queue may hold, each together with the records in it.

The product's parser is not used: a message is built from known records, and then left whole or
damaged in a way that no parser can repair, in one record or as a whole.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st

BUCKET = "photos"

RULES: dict[str, dict[str, Any]] = {
    "in": {"source_prefix": "in/"},
    "both": {"source_prefix": "in/both/"},
    "jpg": {"source_prefix": "out/", "source_suffix": ".jpg"},
    "off": {"enabled": False},
}
# Patterns of keys, each with the rules of RULES that match it.
_KEY_PATTERNS = [
    ("in/{}", {"in"}),
    ("in/both/{}", {"in", "both"}),
    ("out/{}.jpg", {"jpg"}),
    ("out/{}.png", set()),
    ("elsewhere/in/{}", set()),
]
_CHANGES = [
    *["ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload", "ObjectRemoved:Delete"],
    *["LifecycleExpiration:DeleteMarkerCreated", "ObjectRestore:Completed", "ObjectTagging:Put"],
]
_NO_CHANGES = ["s3:ObjectAcl:Put", "ObjectRestore:Post", "Something:New"]
_EVENTBRIDGE_CHANGES = {
    "Object Created": "ObjectCreated",
    "Object Deleted": "ObjectRemoved",
    "Object Restore Completed": "ObjectRestore:Completed",
    "Object Tags Added": "ObjectTagging:Put",
}
_EVENTBRIDGE_NO_CHANGES = {
    "Object Something New": "Object Something New",
}


@dataclass(frozen=True)
class Record:
    """The event in one record, and the names of the rules that match it."""

    bucket: str
    key: str
    name: str
    rules: frozenset[str]


@dataclass(frozen=True)
class Sent:
    """A message's body and its records: None for a damaged record.

    `records` is None if the message as a whole can't be parsed.
    """

    body: str
    records: tuple[Record | None, ...] | None
    kind: str

    def alone(self, number: int) -> str:
        """The body of a message that has only this record of a native message with several."""
        message = json.loads(self.body)
        if message.get("Type") == "Notification":
            message = json.loads(message["Message"])
        return json.dumps({"Records": [message["Records"][number]]})


# Fields that the parser must ignore. All are JSON that Python reads.
_DEEP: Any = []
for _ in range(50):
    _DEEP = [_DEEP]
_UNKNOWN_FIELDS: list[dict[str, Any]] = [
    {},
    {"userIdentity": {"principalId": "A"}, "awsRegion": "ap-east-1"},
    {"number": float("nan"), "another": float("-inf")},
    {"number": int("9" * 4000)},
    {"deep": _DEEP, "": None},
    {"text": "\ud800\0\u202e"},
    {"long": "图" * 5_000},
]

_WRONG: list[Any] = [None, 0, True, 1.5, float("nan"), "", {}]
_BAD_NAMES = [*_WRONG, [], "a\0b", "a\ud800b"]
_BAD_KEYS = [*_BAD_NAMES, "x" * 1025, "图" * 342]
_BAD_MAPPINGS = [*_WRONG, [], "text"]
# Paths in a record of a native notification, and values that make the record invalid there.
_NATIVE_DAMAGE: list[tuple[tuple[str, ...], list[Any]]] = [
    ((), [None, 0, True, "text", [], {}]),
    (("eventVersion",), [*_WRONG, [], 2.1, "3.0", "1.9", "20.1", "two", "²"]),
    (("eventName",), [*_WRONG, []]),
    (("s3",), _BAD_MAPPINGS),
    (("s3", "bucket"), _BAD_MAPPINGS),
    (("s3", "bucket", "name"), _BAD_NAMES),
    (("s3", "object"), _BAD_MAPPINGS),
    (("s3", "object", "key"), [*_BAD_KEYS, "%FF%FE", "%ED%A0%80", "a%00b", "+" * 1025]),
]
_EVENTBRIDGE_DAMAGE: list[tuple[tuple[str, ...], list[Any]]] = [
    (("source",), [*_WRONG, "aws.ec2"]),
    (("detail-type",), [*_WRONG, []]),
    (("detail",), _BAD_MAPPINGS),
    (("detail", "bucket"), _BAD_MAPPINGS),
    (("detail", "bucket", "name"), _BAD_NAMES),
    (("detail", "object"), _BAD_MAPPINGS),
    (("detail", "object", "key"), _BAD_KEYS),
]
_NOT_MESSAGES = [
    *[
        "",
        " ",
        "text",
        "[]",
        "1",
        "null",
        '"text"',
        "{",
        "}",
        "\0",
        "{}",
        "nan",
        "NaN",
        "-Infinity",
    ],
    *['{"a": 1}', '{"Type": "Notification"}', '{"Type": "Other", "Message": "{}"}', "[" * 5_000],
    *["9" * 10_000, '{"Event": "s3:Other"}', "\ud800", "<html>", "a=1&b=2", "{'Records': []}"],
]

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_SYNTAX_DAMAGE = [
    *("truncated", "trailing text", "leading text", "other encoding"),
    *("huge integer", "too deep"),
]
DAMAGE = ["wrong field", "bad record", *_SYNTAX_DAMAGE]


@st.composite
def sent_messages(draw: st.DrawFn) -> Sent:
    """A message of any kind; about half of the messages are whole."""
    kind = draw(st.sampled_from(["native", "native", "eventbridge", "test event", "no message"]))
    if kind == "no message":
        body = draw(st.sampled_from(_NOT_MESSAGES) | _texts.map("~{}".format))
        return Sent(body, None, kind)
    if kind == "native":
        records, message = draw(_native())
    elif kind == "eventbridge":
        records, message = draw(_eventbridge())
    else:
        records, message = (), {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}
    damage = draw(st.sampled_from([None] * 9 + DAMAGE[:1] * 5 + _SYNTAX_DAMAGE))
    if damage == "wrong field":
        if records:
            records = _damage_record(draw, records, message, kind=kind)
            damage = "bad record" if records else damage
        else:
            message = {"Records": draw(st.sampled_from([None, 0, True, 1.5, "text", {}]))}
    body = _json(draw, message)
    if draw(st.integers(0, 3)) == 0:
        kind += " by SNS"
        if damage in _SYNTAX_DAMAGE and draw(st.booleans()):
            body = _damage_syntax(draw, body, damage)  # inside SNS's text, not the whole body
            damage = f"{damage} within"
        notification = {"Type": "Notification", "TopicArn": "arn", "Message": body}
        if damage in {None, "bad record"} and draw(st.integers(0, 9)) == 0:
            damage = "wrapped twice"
            notification |= {"Message": json.dumps(notification)}
        body = _json(draw, notification)
    if damage in _SYNTAX_DAMAGE:
        body = _damage_syntax(draw, body, damage)
    kind += f", {damage or 'whole'}"
    return Sent(body, records if damage in {None, "bad record"} else None, kind)


@st.composite
def _native(draw: st.DrawFn) -> tuple[tuple[Record | None, ...], dict[str, Any]]:
    encoders: list[Callable[[str], str]] = [quote_plus, quote, _percent_encoded]
    records: list[Record | None] = []
    encoded = []
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        name = draw(st.sampled_from(_CHANGES * 2 + _NO_CHANGES))
        bucket, key, rules = _bucket_and_key(draw)
        encode = draw(st.sampled_from(encoders))
        matching = rules if name in _CHANGES else frozenset()
        records.append(Record(bucket, key, name.removeprefix("s3:"), matching))
        encoded.append(
            {
                "eventVersion": draw(st.sampled_from(["2.0", "2.1", "2.6", "2"])),
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": encode(key), "size": 1}},
            }
        )
    return tuple(records), {"Records": encoded, **draw(st.sampled_from(_UNKNOWN_FIELDS))}


@st.composite
def _eventbridge(draw: st.DrawFn) -> tuple[tuple[Record | None, ...], dict[str, Any]]:
    names = _EVENTBRIDGE_CHANGES | _EVENTBRIDGE_NO_CHANGES
    detail_type = draw(st.sampled_from(sorted(names)))
    bucket, key, rules = _bucket_and_key(draw)
    matching = rules if detail_type in _EVENTBRIDGE_CHANGES else frozenset()
    return (Record(bucket, key, names[detail_type], matching),), {
        "source": "aws.s3",
        "detail-type": detail_type,
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "0A"}},
        **draw(st.sampled_from(_UNKNOWN_FIELDS)),
    }


def _bucket_and_key(draw: st.DrawFn) -> tuple[str, str, frozenset[str]]:
    """A bucket, a key in it, and the rules that match them."""
    pattern, rules = draw(st.sampled_from(_KEY_PATTERNS))
    bucket = draw(st.sampled_from([BUCKET] * 4 + ["another", "фото 图"]))
    filling = draw(_texts) + draw(st.sampled_from(["", "", "", "x" * 900, "图" * 300]))
    return bucket, pattern.format(filling), frozenset(rules if bucket == BUCKET else ())


def _percent_encoded(key: str) -> str:
    """Every byte as %xx, with lower-case digits."""
    return "".join(f"%{byte:02x}" for byte in key.encode())


def _damage_record(
    draw: st.DrawFn, records: tuple[Record | None, ...], message: dict[str, Any], *, kind: str
) -> tuple[Record | None, ...]:
    """Damage one record. Returns the records; none if the message is in no known format."""
    if kind == "eventbridge":
        _damage_field(draw, message, message, _EVENTBRIDGE_DAMAGE)
        return (None,) if "detail-type" in message else ()
    number = draw(st.integers(0, len(records) - 1))
    _damage_field(draw, message["Records"][number], message, _NATIVE_DAMAGE)
    return (*records[:number], None, *records[number + 1 :])


def _damage_field(
    draw: st.DrawFn,
    record: dict[str, Any],
    message: dict[str, Any],
    damage: list[tuple[tuple[str, ...], list[Any]]],
) -> None:
    """Give a field that the parser needs an invalid value, or remove it."""
    path, wrongs = draw(st.sampled_from(damage))
    wrong = draw(st.sampled_from(wrongs))
    if not path:  # the record itself
        records = message["Records"]
        records[next(n for n, each in enumerate(records) if each is record)] = wrong
        return
    parent = record
    for name in path[:-1]:
        parent = parent[name]
    if wrong is None and draw(st.booleans()):
        del parent[path[-1]]
    else:
        parent[path[-1]] = wrong


def _json(draw: st.DrawFn, message: dict[str, Any]) -> str:
    """The message in one of several styles of JSON; of a repeated name, the last value counts."""
    style = draw(st.sampled_from([0, 1, 2, 3]))
    body = json.dumps(message, ensure_ascii=style % 2 == 0, indent=1 if style == 2 else None)
    if style == 3 and message:
        body = f"{{{json.dumps(next(iter(message)))}: [0], {body[1:]}"
    return body


def _damage_syntax(draw: st.DrawFn, body: str, damage: str) -> str:
    """Change the JSON of an object so that it can't be read any more."""
    match damage:
        case "truncated":
            return body[: draw(st.integers(0, len(body) - 1))]
        case "trailing text":
            return body + draw(st.sampled_from(["}", "x", ",", "\0", body]))
        case "leading text":
            return draw(st.sampled_from(["\ufeff", "\0", "\ud800", ")]}',\n"])) + body
        case "other encoding":
            encoding = draw(st.sampled_from(["utf-16", "utf-32"]))
            return body.encode(encoding, "surrogatepass").decode("latin-1")
        case "huge integer":
            return f'{{"huge": -{"9" * 5000}, {body[1:]}'
        case "too deep":
            return f'{{"deep": {"[" * 5_000}{"]" * 5_000}, {body[1:]}'
    raise AssertionError(damage)
