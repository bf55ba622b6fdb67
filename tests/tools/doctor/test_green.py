"""In a set-up that works every check passes, and doctor changes nothing."""

import pytest

from replication.models import Destination, Takes
from tests.tools.doctor.conftest import Green, doctor


def test_every_check_passes_and_nothing_is_left_behind_or_taken(green: Green) -> None:
    green.put()
    report = doctor()
    assert report.bad == []
    assert report.status == 0
    keys = green.s3.list_objects_v2(Bucket=green.source.bucket)["Contents"]
    assert [entry["Key"] for entry in keys] == ["a.txt"]
    assert not green.oss.store.bucket("replica").objects
    depth = green.sqs.get_queue_attributes(QueueUrl=green.queue.url, AttributeNames=["All"])
    assert (
        depth["Attributes"]["ApproximateNumberOfMessages"] == "2"
    )  # the put's and S3's test event
    assert depth["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    for message in green.sqs.receive_message(
        QueueUrl=green.queue.url, MaxNumberOfMessages=10, AttributeNames=["All"]
    )["Messages"]:
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize(("is_lenient", "takes"), [(False, Takes.NO), (True, Takes.YES)])
def test_what_the_bucket_takes_is_learned_and_kept(
    green: Green, is_lenient: bool, takes: Takes
) -> None:
    green.oss.set_lenient(is_lenient)
    report = doctor()
    assert report.bad == []
    told = f"pass: beyond ASCII, the bucket takes user metadata: {takes}; tags: {takes}"
    assert report.of("destination.charset") == [told]
    row = Destination.objects.get()
    assert (row.takes_non_ascii_metadata, row.takes_non_ascii_tags) == (takes, takes)
    assert row.learned_at is not None


def test_the_canary_of_a_rule_that_has_one_is_put(green: Green) -> None:
    green.change(green.rule, canary=True, source_suffix=".txt")
    report = doctor()
    assert report.bad == []
    assert report.of("source.canary") == [
        "pass: the rule's canary '.s3sync-canary.txt' can be written"
    ]
    keys = green.s3.list_objects_v2(Bucket=green.source.bucket)["Contents"]
    assert [entry["Key"] for entry in keys] == [".s3sync-canary.txt"]
