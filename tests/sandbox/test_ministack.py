import json
import shutil
import socket
import sys
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from tests.sandbox.launcher import launcher, wait_until


@pytest.fixture(scope="module")
def aws():
    with MiniStack() as server:
        yield server


def bodies(aws, queue_url):
    """The JSON bodies of the next messages; the messages are deleted."""
    sqs = aws.client("sqs")
    messages = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10, MaxNumberOfMessages=10)
    for message in messages["Messages"]:
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages["Messages"]]


def refuses_connections(endpoint_url):
    try:
        socket.create_connection(("127.0.0.1", urlsplit(endpoint_url).port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_put_object_becomes_a_message(aws):
    queue_url = connect_bucket_to_queue(aws, bucket="photos", queue="photo-events")
    assert [body["Event"] for body in bodies(aws, queue_url)] == ["s3:TestEvent"]

    aws.client("s3").put_object(Bucket="photos", Key="red flower+1.jpg", Body=b"petals")
    ((record,),) = [body["Records"] for body in bodies(aws, queue_url)]

    assert record["eventName"] == "ObjectCreated:Put"
    assert record["s3"]["bucket"]["name"] == "photos"
    assert record["s3"]["object"]["key"] == "red+flower%2B1.jpg"
    assert record["s3"]["object"]["size"] == len(b"petals")


def test_a_delete_in_a_versioned_bucket_reports_its_delete_marker(aws):
    queue_url = connect_bucket_to_queue(aws, bucket="versioned", queue="versioned-events")
    s3 = aws.client("s3")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="versioned", Key="gone", Body=b"")
    marker = s3.delete_object(Bucket="versioned", Key="gone")["VersionId"]

    records: list[dict] = []
    while len(records) < 2:
        for body in bodies(aws, queue_url):
            records += body.get("Records", [])

    removed = next(r for r in records if r["eventName"] == "ObjectRemoved:DeleteMarkerCreated")
    assert removed["s3"]["object"]["versionId"] == marker


def test_a_queue_whose_policy_does_not_allow_s3_gets_no_notifications(aws):
    aws.client("s3").create_bucket(Bucket="unheard")
    aws.client("sqs").create_queue(QueueName="closed")
    target = {
        "QueueArn": f"arn:aws:sqs:{aws.region}:{aws.account_id}:closed",
        "Events": ["s3:ObjectCreated:*"],
    }
    with pytest.raises(ClientError, match="Unable to validate"):
        aws.client("s3").put_bucket_notification_configuration(
            Bucket="unheard", NotificationConfiguration={"QueueConfigurations": [target]}
        )


def test_another_account_is_refused(aws, monkeypatch):
    aws.client("s3").create_bucket(Bucket="private")
    aws.client("s3").put_object(Bucket="private", Key="k", Body=b"")
    monkeypatch.setattr(aws, "access_key_id", "000000000001", raising=False)
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("s3").get_object(Bucket="private", Key="k")


def test_it_listens_on_loopback_only(aws):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as elsewhere:
        # This would fail if MiniStack were bound to all interfaces.
        elsewhere.bind(("127.0.0.2", urlsplit(aws.endpoint_url).port))


def test_stopping_it_leaves_no_process_and_no_folder():
    with MiniStack() as server:
        pass
    assert not server.child.is_running()
    assert refuses_connections(server.endpoint_url)
    assert not server.directory.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can signal a parent's death")
def test_it_ends_when_its_parent_is_killed():
    program = """if True:
        from sandbox.ministack import MiniStack
        with MiniStack() as server:
            print(server.endpoint_url, server.directory, flush=True)
            input()
    """
    with launcher(program) as (process, line):
        endpoint_url, directory = line.split()
        assert not refuses_connections(endpoint_url)
        process.kill()
        wait_until(lambda: refuses_connections(endpoint_url))
        shutil.rmtree(directory)
