"""Well-known messages that are no events of S3: the reason says which setting to change."""

import json
from typing import Any

import pytest

from replication.intake.message_fields import UnparseableMessage
from replication.intake.s3_events import parse_message
from tests.support.paths import DATA

CONFIRMATION = json.loads((DATA / "sns-subscription-confirmation.json").read_text())
SQS_RECORD = {
    "messageId": "m",
    "receiptHandle": "r",
    "body": "{}",
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:photos",
}
S3_RECORD = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "photos"}, "object": {"key": "a"}},
}


def reason_of(message: Any) -> str:
    """Why the message as a whole, or its only record, is no event."""
    try:
        [found] = parse_message(json.dumps(message))
    except UnparseableMessage as error:
        return str(error)
    assert found.event is None
    return found.reason


def by_lambda(payload: Any) -> dict[str, Any]:
    return {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": payload}


@pytest.mark.parametrize(
    "wrapped",
    [
        CONFIRMATION,
        {"Type": "Notification", "Message": json.dumps(CONFIRMATION)},
        by_lambda(CONFIRMATION),
    ],
    ids=["as it is", "by SNS", "by Lambda"],
)
def test_a_subscription_that_waits_for_its_confirmation_names_topic_and_remedy(
    wrapped: dict[str, Any],
) -> None:
    reason = reason_of(wrapped)
    assert "arn:aws:sns:us-east-1:123456789012:photos" in reason
    assert "confirm the subscription" in reason
    assert "SubscribeURL" in reason
    assert "Token=" not in reason  # the body has it


def test_a_confirmation_without_its_fields_is_still_told() -> None:
    assert "confirm the subscription" in reason_of({"Type": "SubscriptionConfirmation"})


def test_a_removed_subscription_is_told() -> None:
    reason = reason_of(CONFIRMATION | {"Type": "UnsubscribeConfirmation"})
    assert "was removed" in reason
    assert "arn:aws:sns:us-east-1:123456789012:photos" in reason


@pytest.mark.parametrize(
    "message",
    [{"Records": [SQS_RECORD]}, SQS_RECORD, by_lambda({"Records": [SQS_RECORD]})],
    ids=["in Records", "by a pipe", "by Lambda"],
)
def test_a_record_of_sqs_says_to_let_s3sync_poll_the_queue(message: dict[str, Any]) -> None:
    reason = reason_of(message)
    assert "arn:aws:sqs:us-east-1:123456789012:photos" in reason
    assert "let s3sync poll that queue" in reason


@pytest.mark.parametrize(
    "source", ["aws:ses", "aws:dynamodb", "aws:kinesis", "aws:codecommit", "aws:kafka"]
)
def test_a_record_of_another_service_names_it(source: str) -> None:
    record = {"eventVersion": "1.1", "eventSource": source, "eventName": "INSERT"}
    reason = reason_of({"Records": [record]})
    assert f"a record of {source}, not of S3" in reason
    assert "remove" in reason


@pytest.mark.parametrize("source", ["aws:s3", "ceph:s3", "minio:s3", None, 3])
def test_the_source_of_a_record_of_s3_does_not_matter(source: Any) -> None:
    [found] = parse_message(json.dumps({"Records": [S3_RECORD | {"eventSource": source}]}))
    assert found.event


def test_a_batch_of_several_services_loses_only_what_is_not_of_s3() -> None:
    ses = {"eventSource": "aws:ses", "eventVersion": "1.0", "ses": {}}
    records = parse_message(json.dumps({"Records": [S3_RECORD, ses, SQS_RECORD, S3_RECORD]}))
    assert [bool(each.event) for each in records] == [True, False, False, True]
    assert reason_of(json.loads(records[1].alone())) == records[1].reason


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ({"awslogs": {"data": "H4sI"}}, "CloudWatch Logs"),
        ({"s3Bucket": "trail", "s3ObjectKey": ["AWSLogs/x.json.gz"]}, "CloudTrail's log files"),
        ({"source": "aws.ec2", "detail-type": "EC2 Instance", "detail": {}}, "aws.ec2"),
    ],
)
def test_other_well_known_messages_say_where_they_come_from(
    message: dict[str, Any], remedy: str
) -> None:
    assert remedy in reason_of(message)


@pytest.mark.parametrize("wrong", [None, 3, [], {}, True])
def test_wrong_types_in_well_known_messages_are_refused(wrong: Any) -> None:
    for name in ("Type", "TopicArn", "eventSource", "eventSourceARN", "awslogs", "s3Bucket"):
        for message in (CONFIRMATION, SQS_RECORD, {"Records": [SQS_RECORD]}):
            assert reason_of(message | {name: wrong})


def test_a_function_that_was_invoked_with_a_list_has_a_record_for_each_item() -> None:
    good = {"Records": [S3_RECORD]}
    records = parse_message(json.dumps(by_lambda([good, SQS_RECORD, 3, good])))
    assert [bool(each.event) for each in records] == [True, False, False, True]
    assert "let s3sync poll that queue" in records[1].reason
    for each in records[1:3]:
        assert reason_of(json.loads(each.alone())) == each.reason
        assert "RetriesExhausted" in each.alone()
