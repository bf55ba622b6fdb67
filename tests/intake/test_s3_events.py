"""The parser yields an event or a reason for each record, and refuses what is no message at all."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.intake.message_fields import UnparseableMessage
from replication.intake.object_events import Change, ObjectEvent
from replication.intake.s3_events import MAX_RECORDS, Record, parse_message
from tests.support.messages import Sent, sent_messages
from tests.support.paths import DATA

S3_PUT = (DATA / "s3-put.json").read_text()


def record(key: str = "a.txt", *, bucket: str = "photos", **fields: Any) -> dict[str, Any]:
    """One record of a notification; `key` is form-encoded."""
    return {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
        **fields,
    }


def events_of(body: str) -> list[ObjectEvent]:
    """The events of a message that has no other records."""
    records = parse_message(body)
    assert [record.reason for record in records if not record.event] == []
    return [record.event for record in records if record.event]


def reasons_of(body: str) -> list[str]:
    """For each record of the message the reason why it is no event; "" for an event."""
    records = parse_message(body)
    assert all(bool(record.reason) == (record.event is None) for record in records)
    return [record.reason for record in records]


def notification(*records: Any) -> str:
    return json.dumps({"Records": list(records)})


def by_sns(message: str) -> str:
    return json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": message})


def by_eventbridge(detail_type: str = "Object Created", key: str = "a.txt", **fields: Any) -> str:
    return json.dumps(
        {
            "version": "0",
            "source": "aws.s3",
            "detail-type": detail_type,
            "detail": {"bucket": {"name": "photos"}, "object": {"key": key, "sequencer": "0A"}},
            **fields,
        }
    )


# -- formats -----------------------------------------------------------------------------------


def test_s3s_own_notification_is_parsed() -> None:
    assert events_of(S3_PUT) == [ObjectEvent("hk-bucket-huachun", "aa.txt", "ObjectCreated:Put")]


def test_a_notification_wrapped_by_sns_is_parsed() -> None:
    assert events_of(by_sns(S3_PUT)) == events_of(S3_PUT)


def test_a_notification_may_have_several_records_or_none() -> None:
    events = events_of(notification(record("a"), record("b"), record("a")))
    assert [event.key for event in events] == ["a", "b", "a"]
    assert events_of(notification()) == []


@pytest.mark.parametrize("wrapped", [False, True], ids=["direct", "by SNS"])
def test_s3s_test_message_has_no_events(wrapped: bool) -> None:
    body = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"})
    assert events_of(by_sns(body) if wrapped else body) == []


@pytest.mark.parametrize(
    ("detail_type", "name", "change"),
    [
        ("Object Created", "ObjectCreated", Change.OBJECT),
        ("Object Deleted", "ObjectRemoved", Change.OBJECT),
        ("Object Restore Completed", "ObjectRestore:Completed", Change.OBJECT),
        ("Object Restore Initiated", "ObjectRestore:Post", Change.NOTHING),
        ("Object Tags Added", "ObjectTagging:Put", Change.TAGS),
        ("Object Tags Deleted", "ObjectTagging:Delete", Change.TAGS),
        ("Object Something New", "Object Something New", Change.NOTHING),
    ],
)
def test_an_eventbridge_event_is_parsed(detail_type: str, name: str, change: Change) -> None:
    [event] = events_of(by_eventbridge(detail_type))
    assert event == ObjectEvent("photos", "a.txt", name)
    assert event.change == change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ObjectCreated:Put", Change.OBJECT),
        ("ObjectCreated:CompleteMultipartUpload", Change.OBJECT),
        ("s3:ObjectCreated:Copy", Change.OBJECT),
        ("ObjectRemoved:Delete", Change.OBJECT),
        ("ObjectRemoved:DeleteMarkerCreated", Change.OBJECT),
        ("LifecycleExpiration:Delete", Change.OBJECT),
        ("ObjectRestore:Completed", Change.OBJECT),
        ("ObjectRestore:Post", Change.NOTHING),
        ("ObjectTagging:Put", Change.TAGS),
        ("s3:ObjectTagging:Delete", Change.TAGS),
        ("ObjectAcl:Put", Change.NOTHING),
        ("ReducedRedundancyLostObject", Change.NOTHING),
    ],
)
def test_an_event_says_what_of_the_object_may_have_changed(name: str, change: Change) -> None:
    [event] = events_of(notification(record(eventName=name)))
    assert event.name == name.removeprefix("s3:")
    assert event.change == change


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.99", "2"])
def test_every_minor_version_is_parsed(version: str) -> None:
    assert len(events_of(notification(record(eventVersion=version)))) == 1


@pytest.mark.parametrize("version", ["1.0", "3.0", "20.1", "two"])
def test_another_major_version_is_refused_and_named(version: str) -> None:
    [reason] = reasons_of(notification(record(eventVersion=version)))
    assert reason == f"eventVersion is '{version}'; only 2.x is known"


# -- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("red+flower.jpg", "red flower.jpg"),
        ("1%2B1.txt", "1+1.txt"),
        ("50%25.txt", "50%.txt"),
        ("%E5%9B%BE%E7%89%87/a", "图片/a"),
        ("图片/a", "图片/a"),
        ("%F0%9F%98%80", "😀"),
        ("a%2Fb/c", "a/b/c"),
        ("a%3Fb%23c", "a?b#c"),
        ("..%2F", "../"),
        ("folder/", "folder/"),
        ("/leading", "/leading"),
        ("a//b", "a//b"),
        ("100%", "100%"),
        ("line%0Abreak", "line\nbreak"),
    ],
)
def test_a_key_is_form_decoded(encoded: str, key: str) -> None:
    assert events_of(notification(record(encoded)))[0].key == key


def test_an_eventbridge_key_is_not_decoded() -> None:
    assert events_of(by_eventbridge(key="a+b%2B c"))[0].key == "a+b%2B c"


@pytest.mark.parametrize("key", ["a" * 1024, "图" * 341 + "a"], ids=["ASCII", "UTF-8"])
def test_a_key_of_1024_bytes_is_accepted(key: str) -> None:
    assert events_of(notification(record(quote_plus(key))))[0].key == key
    assert events_of(by_eventbridge(key=key))[0].key == key


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("a" * 1025, "has 1025 bytes"),
        ("%E5%9B%BE" * 342, "has 1026 bytes"),
        ("%FF%FE", "not UTF-8"),
        ("%ED%A0%80", "not UTF-8"),
        ("a%00b", "NUL"),
        ("a\0b", "NUL"),
        ("a\ud800b", "not valid Unicode"),
    ],
)
def test_a_key_that_can_never_be_replicated_says_so(encoded: str, reason: str) -> None:
    [refusal] = reasons_of(notification(record(encoded)))
    assert refusal.startswith("s3.object.key ")
    assert reason in refusal
    assert "no retry and no replay can ever succeed" in refusal


@pytest.mark.parametrize("key", ["a" * 1025, "a\0b", "a\ud800b"])
def test_an_invalid_eventbridge_key_is_refused(key: str) -> None:
    [reason] = reasons_of(by_eventbridge(key=key))
    assert reason.startswith("detail.object.key ")
    assert "no retry and no replay can ever succeed" in reason


@pytest.mark.parametrize("bucket", ["a\0b", "a\ud800b"])
def test_a_bucket_name_that_postgresql_does_not_accept_is_refused(bucket: str) -> None:
    [reason] = reasons_of(notification(record(bucket=bucket)))
    assert reason.startswith("s3.bucket.name ")


# -- anything else -----------------------------------------------------------------------------

WRONG: list[Any] = [None, 0, 1.5, True, "", "text", [], ["a"], {}, {"a": 1}]


@pytest.mark.parametrize("body", ["", "text", "[]", "1", "null", '"text"', "{", "\0", "{}", "nan"])
def test_a_body_that_is_no_json_object_of_a_known_format_is_refused(body: str) -> None:
    with pytest.raises(UnparseableMessage):
        parse_message(body)


@pytest.mark.parametrize(
    "path",
    [
        ("Records",),
        ("Records", 0),
        ("Records", 0, "eventVersion"),
        ("Records", 0, "eventName"),
        ("Records", 0, "s3"),
        ("Records", 0, "s3", "bucket"),
        ("Records", 0, "s3", "bucket", "name"),
        ("Records", 0, "s3", "object"),
        ("Records", 0, "s3", "object", "key"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_wrong_type_anywhere_is_refused_and_named(path: tuple[Any, ...]) -> None:
    for wrong in WRONG:
        message: Any = json.loads(S3_PUT)
        container = message
        for step in path[:-1]:
            container = container[step]
        container[path[-1]] = wrong
        if path == ("Records",) and wrong == []:
            continue
        if isinstance(wrong, str) and wrong and path[-1] in {"eventName", "name", "key"}:
            continue
        if path == ("Records",) and not isinstance(wrong, list):
            with pytest.raises(UnparseableMessage, match="Records is not a list"):
                parse_message(json.dumps(message))
        else:
            [reason] = reasons_of(json.dumps(message))
            assert re.search("eventVersion|eventName|s3", reason)


@pytest.mark.parametrize("inner", WRONG)
def test_an_sns_notification_of_anything_else_is_refused(inner: Any) -> None:
    with pytest.raises(UnparseableMessage):
        parse_message(json.dumps({"Type": "Notification", "Message": inner}))


def test_sns_inside_sns_is_refused() -> None:
    with pytest.raises(UnparseableMessage, match="SNS"):
        parse_message(by_sns(by_sns(S3_PUT)))


def test_an_eventbridge_event_of_another_service_is_refused() -> None:
    [reason] = reasons_of(by_eventbridge(source="aws.ec2"))
    assert reason.startswith("an EventBridge event of aws.ec2, not of aws.s3")


# -- records beside a bad one ------------------------------------------------------------------


@pytest.mark.parametrize("bad", [record("a%00b"), {}, 3, None, record(eventVersion="3.0")])
@pytest.mark.parametrize("wrap", [str, by_sns], ids=["direct", "by SNS"])
def test_a_bad_record_leaves_its_neighbours_alone(bad: Any, wrap: Callable[[str], str]) -> None:
    records = parse_message(wrap(notification(record("a"), bad, record("c"))))
    assert [each.event.key if each.event else "" for each in records] == ["a", "", "c"]


def test_a_message_of_ten_records_with_a_nul_key_yields_nine_events() -> None:
    keys = [f"{number}.jpg" for number in range(10)]
    keys[6] = "a%00b"
    records = parse_message(notification(*map(record, keys)))
    assert [number for number, each in enumerate(records) if not each.event] == [6]


def test_the_record_beside_a_key_with_nul_of_a_report_from_the_field_is_an_event() -> None:
    good, bad = parse_message((DATA / "two-records-second-key-has-nul.json").read_text())
    assert good.event == ObjectEvent("photos", "good.jpg", "ObjectCreated:Put")
    assert "NUL" in bad.reason


def test_the_messages_of_a_report_from_the_field_are_all_events() -> None:
    bodies = (DATA / "events-of-six-foreign-keys-and-a-good-one.jsonl").read_text().splitlines()
    keys = [event.key for body in bodies for event in events_of(body)]
    assert keys == [*(f"foreign/{number}.jpg" for number in range(6)), "good/0.jpg"]


@pytest.mark.parametrize("wrap", [str, by_sns], ids=["direct", "by SNS"])
def test_a_record_alone_is_a_message_with_the_same_result(wrap: Callable[[str], str]) -> None:
    message = wrap(notification(record("图+片"), record("a\0b"), record("a\ud800b"), {}, 3))
    for each in parse_message(message):
        assert parse_message(each.alone()) == [each]


def test_a_record_that_is_nested_too_deeply_to_be_written_keeps_what_counts() -> None:
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    event = ObjectEvent("photos", "a.txt", "ObjectCreated:Put")
    alone = Record(event, "", {"Records": [record(deep=deep)]}).alone()
    assert events_of(alone) == [event]
    # A name that is nested too deeply does not become another name.
    refused = Record(None, "x", {"Records": [record(s3={"bucket": {"name": "b"}, "object": deep})]})
    assert reasons_of(refused.alone()) == ["s3.object is missing or not an object"]


def test_a_message_of_more_records_than_real_ones_fit_into_is_refused_as_a_whole() -> None:
    assert len(parse_message(notification(*[0] * MAX_RECORDS))) == MAX_RECORDS
    with pytest.raises(UnparseableMessage, match="more than 10,000 records"):
        parse_message(notification(*[0] * (MAX_RECORDS + 1)))


def test_a_message_with_deep_nesting_or_a_huge_number_is_refused() -> None:
    for body in ("[" * 100_000, '{"Records": ' + "9" * 10_000 + "}"):
        with pytest.raises(UnparseableMessage):
            parse_message(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
maybe_wrong = st.one_of(json_values, st.text(st.characters(), max_size=20))
almost_records = st.fixed_dictionaries(
    {
        "eventVersion": st.sampled_from(["2.1", "3.0", 2.1, ""]) | maybe_wrong,
        "eventName": st.just("ObjectCreated:Put") | maybe_wrong,
        "s3": st.fixed_dictionaries(
            {
                "bucket": st.fixed_dictionaries({"name": maybe_wrong}) | maybe_wrong,
                "object": st.fixed_dictionaries({"key": maybe_wrong}) | maybe_wrong,
            }
        )
        | maybe_wrong,
    }
)
almost_messages = st.one_of(
    json_values,
    st.fixed_dictionaries({"Records": st.lists(almost_records, max_size=2) | maybe_wrong}),
    st.fixed_dictionaries({"Type": st.just("Notification"), "Message": maybe_wrong}),
    st.fixed_dictionaries(
        {
            "source": st.just("aws.s3"),
            "detail-type": maybe_wrong,
            "detail": st.fixed_dictionaries({"bucket": maybe_wrong, "object": maybe_wrong}),
        }
    ),
)


def assert_parsed_or_refused(body: str) -> None:
    try:
        records = parse_message(body)
    except UnparseableMessage as refusal:
        assert str(refusal)
    else:
        for event in (record.event for record in records if record.event):
            (event.bucket + event.key).encode()
            assert "\0" not in event.bucket + event.key
        assert all(record.event or record.reason for record in records)


@settings(max_examples=1000, deadline=None, database=None)
@given(st.text(st.characters(), max_size=60))
def test_any_text_is_parsed_or_refused(body: str) -> None:
    assert_parsed_or_refused(body)


@settings(max_examples=750, deadline=None, database=None)
@given(almost_messages)
def test_anything_like_a_message_is_parsed_or_refused(message: Any) -> None:
    assert_parsed_or_refused(json.dumps(message))


@settings(max_examples=1000, deadline=None, database=None, derandomize=True)
@given(sent_messages())
def test_a_generated_message_yields_its_good_records_or_is_refused(sent: Sent) -> None:
    if sent.records is None:
        with pytest.raises(UnparseableMessage):
            parse_message(sent.body)
    else:
        assert [record.event for record in parse_message(sent.body)] == [
            record and ObjectEvent(record.bucket, record.key, record.name)
            for record in sent.records
        ]


def by_lambda(payload: Any) -> str:
    """Lambda's record of a failed invocation, as an on-failure destination gets it."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": "2026-11-23T06:02:45.123Z",
            "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
            "requestPayload": payload,
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorMessage": "gave up", "errorType": "NotForwarded"},
        }
    )


def test_lambdas_record_of_a_failed_invocation_yields_the_events_of_its_payload():
    put = ObjectEvent("photos", "a b.txt", "ObjectCreated:Put")
    native = notification(record("a+b.txt"))
    sns = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": native}}] * 2}
    assert events_of(by_lambda(json.loads(native))) == [put]
    assert events_of(by_lambda(sns)) == [put, put]
    assert len(events_of(by_lambda(json.loads(by_eventbridge())))) == 1
    assert events_of(by_lambda({"Event": "s3:TestEvent"})) == []


@pytest.mark.parametrize(
    "payload", [None, {}, {"Records": 3}, json.loads(by_lambda({"Event": "s3:TestEvent"}))]
)
def test_lambdas_record_with_an_invalid_payload_is_refused(payload):
    with pytest.raises(UnparseableMessage):
        parse_message(by_lambda(payload))


@pytest.mark.parametrize("bad", [{"Sns": 3}, {"Sns": {}}, {"Sns": {"Message": "x"}}, 3, {}])
def test_a_bad_sns_message_of_an_invocation_leaves_its_neighbours_alone(bad):
    good = {"Sns": {"Message": notification(record("a"), record("b"))}}
    records = parse_message(by_lambda({"Records": [good, bad, good]}))
    assert [each.event.key if each.event else "" for each in records] == ["a", "b", "", "a", "b"]
    [reason_alone] = reasons_of(records[2].alone())
    assert records[2].reason and reason_alone
    assert "RetriesExhausted" in records[2].alone()  # with what Lambda says of the failure
