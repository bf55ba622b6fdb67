"""S3's API calls, as CloudTrail tells them to EventBridge."""

import json
from typing import Any

import pytest

from replication.intake.object_events import Change, ObjectEvent
from replication.intake.s3_events import Record, parse_message
from tests.support.paths import DATA

PUT = (DATA / "cloudtrail-put.json").read_text()


def call(name: str, **detail: Any) -> str:
    """The message of another call than the recorded one, with these fields changed."""
    message = json.loads(PUT)
    message["detail"] |= {"eventName": name, **detail}
    return json.dumps(message)


def only(body: str) -> Record:
    [found] = parse_message(body)
    return found


def test_the_call_of_a_report_from_the_field_is_an_event() -> None:
    assert only(PUT).event == ObjectEvent("photos", "2026/a b+c.jpg", "ObjectCreated:Put")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("PutObject", Change.OBJECT),
        ("PostObject", Change.OBJECT),
        ("CopyObject", Change.OBJECT),
        ("CompleteMultipartUpload", Change.OBJECT),
        ("DeleteObject", Change.OBJECT),
        ("PutObjectTagging", Change.TAGS),
        ("DeleteObjectTagging", Change.TAGS),
    ],
)
def test_a_call_that_changes_an_object_is_taken(name: str, change: Change) -> None:
    event = only(call(name)).event
    assert event is not None
    assert event.change is change


@pytest.mark.parametrize(
    "name",
    ["GetObject", "HeadObject", "ListObjects", "UploadPart", "PutBucketPolicy", "PutObjectAcl"],
)
def test_a_call_that_changes_no_object_is_no_record(name: str) -> None:
    assert parse_message(call(name, requestParameters={"bucketName": "photos"})) == []


def test_a_call_that_s3_refused_is_no_record() -> None:
    assert parse_message(call("DeleteObject", errorCode="AccessDenied")) == []


def test_an_event_of_china_has_another_name_for_the_same() -> None:
    message = json.loads(PUT) | {"detail-type": "Amazon API Call via CloudTrail"}
    assert only(json.dumps(message)).event


def deleted(*keys: str) -> str:
    resources = [{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::photos/{key}"} for key in keys]
    bucket = {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::photos"}
    parameters = {"bucketName": "photos", "delete": ""}
    return call("DeleteObjects", requestParameters=parameters, resources=[*resources, bucket])


def test_a_delete_of_several_objects_has_a_record_for_each_that_it_names() -> None:
    records = parse_message(deleted("a", "b/c d", "a\0b"))
    assert [each.event and each.event.key for each in records] == ["a", "b/c d", None]
    assert [only(each.alone()).event for each in records] == [each.event for each in records]


@pytest.mark.parametrize("resources", [None, [], 3, [3], [{"type": "AWS::S3::Bucket"}]])
def test_a_delete_that_names_no_object_says_which_events_to_use_instead(resources: Any) -> None:
    found = only(
        call(
            "DeleteObjects",
            requestParameters={"bucketName": "photos", "delete": ""},
            resources=resources,
        )
    )
    assert found.event is None
    assert "CloudTrail" in found.reason
    assert "switch to S3's own events" in found.reason


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        {"key": "a"},
        {"bucketName": "photos"},
        {"bucketName": "photos", "key": ""},
        {"bucketName": 3, "key": "a"},
    ],
)
def test_a_call_without_bucket_or_key_says_which_events_to_use_instead(parameters: Any) -> None:
    found = only(call("PutObject", requestParameters=parameters, resources=[]))
    assert found.event is None
    assert "switch to S3's own events" in found.reason


def test_a_call_through_an_access_point_is_of_the_bucket_behind_it() -> None:
    access_point = "arn:aws:s3:us-east-1:123456789012:accesspoint/p"
    found = only(call("PutObject", requestParameters={"bucketName": access_point, "key": "a"}))
    assert found.event == ObjectEvent("photos", "a", "ObjectCreated:Put")
    unnamed = call(
        "PutObject", requestParameters={"bucketName": access_point, "key": "a"}, resources=[]
    )
    assert "switch to S3's own events" in only(unnamed).reason


def test_a_call_of_another_service_is_refused() -> None:
    found = only(json.dumps(json.loads(PUT) | {"source": "aws.ec2"}))
    assert "aws.ec2" in found.reason
