"""Messages as a queue may hold them, each with what it says, known from how it was made.

Nothing here asks the product's parser: a message is built from records that are known, and left
whole, or broken in a way that no parser can mend.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from hypothesis import strategies as st

BUCKET = "photos"

# Which rules ask for a key, by how it begins and ends; `RULES` says so to the product.
RULES: dict[str, dict[str, Any]] = {
    "in": {"source_prefix": "in/"},
    "both": {"source_prefix": "in/both/"},
    "jpg": {"source_prefix": "out/", "source_suffix": ".jpg"},
    "off": {"enabled": False},
}
_PLACES = [
    ("in/{}", {"in"}),
    ("in/both/{}", {"in", "both"}),
    ("out/{}.jpg", {"jpg"}),
    ("out/{}.png", set()),
    ("elsewhere/in/{}", set()),
]
_CHANGES = [
    *["ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload", "ObjectRemoved:Delete"],
    *["LifecycleExpiration:DeleteMarkerCreated", "ObjectRestore:Completed"],
]
_NO_CHANGES = ["ObjectTagging:Put", "s3:ObjectAcl:Put", "ObjectRestore:Post", "Something:New"]
_EVENTBRIDGE_CHANGES = {
    "Object Created": "ObjectCreated",
    "Object Deleted": "ObjectRemoved",
    "Object Restore Completed": "ObjectRestore:Completed",
}
_EVENTBRIDGE_NO_CHANGES = {
    "Object Tags Added": "ObjectTagging:Put",
    "Object Something New": "Object Something New",
}


@dataclass(frozen=True)
class Told:
    """What one record says, and the rules that ask for it."""

    bucket: str
    key: str
    name: str
    rules: frozenset[str]


@dataclass(frozen=True)
class Sent:
    """A message's body, and what it tells of; None where nobody can understand it."""

    body: str
    told: tuple[Told, ...] | None
    kind: str


# Valid in JSON as Python reads it, wherever nobody looks.
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
# Where a native notification is hurt beyond understanding, and by what.
_NATIVE_WOUNDS: list[tuple[tuple[str, ...], list[Any]]] = [
    ((), [None, 0, True, "text", [], {}]),
    (("eventVersion",), [*_WRONG, [], 2.1, "3.0", "1.9", "20.1", "two", "²"]),
    (("eventName",), [*_WRONG, []]),
    (("s3",), _BAD_MAPPINGS),
    (("s3", "bucket"), _BAD_MAPPINGS),
    (("s3", "bucket", "name"), _BAD_NAMES),
    (("s3", "object"), _BAD_MAPPINGS),
    (("s3", "object", "key"), [*_BAD_KEYS, "%FF%FE", "%ED%A0%80", "a%00b", "+" * 1025]),
]
_EVENTBRIDGE_WOUNDS: list[tuple[tuple[str, ...], list[Any]]] = [
    (("source",), [*_WRONG, "aws.ec2"]),
    (("detail-type",), [*_WRONG, []]),
    (("detail",), _BAD_MAPPINGS),
    (("detail", "bucket"), _BAD_MAPPINGS),
    (("detail", "bucket", "name"), _BAD_NAMES),
    (("detail", "object"), _BAD_MAPPINGS),
    (("detail", "object", "key"), _BAD_KEYS),
]
_NO_MESSAGES = [
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
_BREAKS = ["truncated", "more behind", "mark before", "other encoding", "huge integer", "too deep"]
WOUNDS = ["wrong field", *_BREAKS]


@st.composite
def sent_messages(draw: st.DrawFn) -> Sent:
    """A message of any kind; about half of them are understood."""
    kind = draw(st.sampled_from(["native", "native", "eventbridge", "test event", "none of these"]))
    if kind == "none of these":
        body = draw(st.sampled_from(_NO_MESSAGES) | _texts.map("~{}".format))
        return Sent(body, None, kind)
    if kind == "native":
        told, message = draw(_native())
    elif kind == "eventbridge":
        told, message = draw(_eventbridge())
    else:
        told, message = (), {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}
    wound = draw(st.sampled_from([None] * 9 + WOUNDS[:1] * 5 + _BREAKS))
    if wound == "wrong field":
        if told and kind == "native":
            _hurt(draw, draw(st.sampled_from(message["Records"])), message, _NATIVE_WOUNDS)
        elif kind == "eventbridge":
            _hurt(draw, message, message, _EVENTBRIDGE_WOUNDS)
        else:
            message = {"Records": draw(st.sampled_from([None, 0, True, 1.5, "text", {}]))}
    body = _json(draw, message)
    if draw(st.integers(0, 3)) == 0:
        kind += " by SNS"
        if wound in _BREAKS and draw(st.booleans()):
            body = _broken(draw, body, wound)  # inside, or else as a whole below
            wound = f"{wound} within"
        notification = {"Type": "Notification", "TopicArn": "arn", "Message": body}
        if wound is None and draw(st.integers(0, 9)) == 0:
            wound = "twice wrapped"
            notification |= {"Message": json.dumps(notification)}
        body = _json(draw, notification)
    if wound in _BREAKS:
        body = _broken(draw, body, wound)
    return Sent(body, None if wound else told, f"{kind}, {wound or 'whole'}")


@st.composite
def _native(draw: st.DrawFn) -> tuple[tuple[Told, ...], dict[str, Any]]:
    encoders: list[Callable[[str], str]] = [quote_plus, quote, _encoded_whole]
    told, records = [], []
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        name = draw(st.sampled_from(_CHANGES * 2 + _NO_CHANGES))
        bucket, key, rules = _place(draw)
        encode = draw(st.sampled_from(encoders))
        told.append(
            Told(bucket, key, name.removeprefix("s3:"), rules if name in _CHANGES else frozenset())
        )
        records.append(
            {
                "eventVersion": draw(st.sampled_from(["2.0", "2.1", "2.6", "2"])),
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": encode(key), "size": 1}},
            }
        )
    return tuple(told), {"Records": records, **draw(st.sampled_from(_UNKNOWN_FIELDS))}


@st.composite
def _eventbridge(draw: st.DrawFn) -> tuple[tuple[Told, ...], dict[str, Any]]:
    names = _EVENTBRIDGE_CHANGES | _EVENTBRIDGE_NO_CHANGES
    detail_type = draw(st.sampled_from(sorted(names)))
    bucket, key, rules = _place(draw)
    asking = rules if detail_type in _EVENTBRIDGE_CHANGES else frozenset()
    return (Told(bucket, key, names[detail_type], asking),), {
        "source": "aws.s3",
        "detail-type": detail_type,
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "0A"}},
        **draw(st.sampled_from(_UNKNOWN_FIELDS)),
    }


def _place(draw: st.DrawFn) -> tuple[str, str, frozenset[str]]:
    pattern, rules = draw(st.sampled_from(_PLACES))
    bucket = draw(st.sampled_from([BUCKET] * 4 + ["another", "фото 图"]))
    filling = draw(_texts) + draw(st.sampled_from(["", "", "", "x" * 900, "图" * 300]))
    return bucket, pattern.format(filling), frozenset(rules if bucket == BUCKET else ())


def _encoded_whole(key: str) -> str:
    """Every byte as %xx, in small letters."""
    return "".join(f"%{byte:02x}" for byte in key.encode())


def _hurt(
    draw: st.DrawFn,
    within: dict[str, Any],
    message: dict[str, Any],
    wounds: list[tuple[tuple[str, ...], list[Any]]],
) -> None:
    """Put something wrong in a place where the sender must be understood."""
    path, wrongs = draw(st.sampled_from(wounds))
    wrong = draw(st.sampled_from(wrongs))
    if not path:  # the record itself
        records = message["Records"]
        records[next(n for n, record in enumerate(records) if record is within)] = wrong
        return
    place = within
    for step in path[:-1]:
        place = place[step]
    if wrong is None and draw(st.booleans()):
        del place[path[-1]]
    else:
        place[path[-1]] = wrong


def _json(draw: st.DrawFn, message: dict[str, Any]) -> str:
    """As one of many writers would put it; of a name that comes twice, the last one counts."""
    style = draw(st.sampled_from([0, 1, 2, 3]))
    body = json.dumps(message, ensure_ascii=style % 2 == 0, indent=1 if style == 2 else None)
    if style == 3 and message:
        body = f"{{{json.dumps(next(iter(message)))}: [0], {body[1:]}"
    return body


def _broken(draw: st.DrawFn, body: str, wound: str) -> str:
    """The text of an object, such that it is the text of none any more."""
    match wound:
        case "truncated":
            return body[: draw(st.integers(0, len(body) - 1))]
        case "more behind":
            return body + draw(st.sampled_from(["}", "x", ",", "\0", body]))
        case "mark before":
            return draw(st.sampled_from(["\ufeff", "\0", "\ud800", ")]}',\n"])) + body
        case "other encoding":
            encoding = draw(st.sampled_from(["utf-16", "utf-32"]))
            return body.encode(encoding, "surrogatepass").decode("latin-1")
        case "huge integer":
            return f'{{"huge": -{"9" * 5000}, {body[1:]}'
        case "too deep":
            return f'{{"deep": {"[" * 5_000}{"]" * 5_000}, {body[1:]}'
    raise AssertionError(wound)
