"""A road that works: all is green, and what was looked at is as it was before."""

from tests.tools.doctor.conftest import Green, doctor


def test_all_is_green_and_nothing_is_left_or_taken(green: Green) -> None:
    green.put()
    report = doctor()
    assert report.bad == []
    assert report.status == 0
    keys = green.s3.list_objects_v2(Bucket=green.source.bucket)["Contents"]
    assert [entry["Key"] for entry in keys] == ["a.txt"]
    assert not green.oss.store.bucket("replica").objects
    depth = green.sqs.get_queue_attributes(QueueUrl=green.queue.url, AttributeNames=["All"])
    assert depth["Attributes"]["ApproximateNumberOfMessages"] == "2"  # the put's, and S3's test
    assert depth["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    for message in green.sqs.receive_message(
        QueueUrl=green.queue.url, MaxNumberOfMessages=10, AttributeNames=["All"]
    )["Messages"]:
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
