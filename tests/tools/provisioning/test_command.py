"""`manage.py provision` against a stand-in of AWS: what it prints, makes, keeps and removes."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from replication.models import Destination, EventQueue, ReplicationRule, Source
from replication.stores import aws as clients
from sandbox.environment import connect_bucket_to_queue
from sandbox.ministack import MiniStack
from tests.support.policies import a_user_who_may

pytestmark = pytest.mark.django_db(transaction=True)

Provision = Callable[..., tuple[int, str]]


@pytest.fixture
def provision() -> Provision:
    """Run the command; returns its exit status and its output."""

    def run(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        try:
            call_command("provision", *arguments, stdout=out)
        except SystemExit as leaving:
            return int(str(leaving.code)), out.getvalue()
        except CommandError as error:
            return error.returncode, f"{out.getvalue()}{error}"
        return 0, out.getvalue()

    return run


@pytest.fixture
def bucket(aws: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, with a rule for it in the database."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    name = f"b{uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=name)
    make_rule("photos", bucket=name, region=aws.region, source_prefix="originals/")
    yield name
    aws.client("s3").delete_bucket(Bucket=name)


def make_rule(name: str, *, bucket: str, region: str, **fields: Any) -> ReplicationRule:
    source = Source.objects.create(name=f"{name}-s3", bucket=bucket, region=region)
    destination = Destination.objects.create(
        name=f"{name}-oss", bucket="replica", endpoint="https://o.example.com", region="cn-hangzhou"
    )
    return ReplicationRule.objects.create(
        name=name, source=source, destination=destination, **fields
    )


@pytest.fixture
def queue_name() -> str:
    return f"q-{uuid4().hex[:12]}"


def notifications(aws: MiniStack, bucket: str) -> dict[str, Any]:
    answer: Any = aws.client("s3").get_bucket_notification_configuration(Bucket=bucket)
    del answer["ResponseMetadata"]
    return dict(answer)


def queues(aws: MiniStack, queue_name: str) -> list[str]:
    found = aws.client("sqs").list_queues(QueueNamePrefix=queue_name).get("QueueUrls", [])
    return sorted(url.rpartition("/")[2] for url in found)


def let_others_listen(aws: MiniStack, bucket: str, *, prefix: str) -> dict[str, Any]:
    """Have the bucket notify a topic, and switch EventBridge on; returns its notifications."""
    connect_bucket_to_queue(aws, bucket=f"{bucket}-2", queue=f"{bucket}-theirs")
    allow = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}}
    topic = aws.client("sns").create_topic(Name=bucket)["TopicArn"]
    policy = {"Statement": [{**allow, "Action": "sns:Publish", "Resource": topic}]}
    aws.client("sns").set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy)
    )
    rules: Any = [{"Name": "prefix", "Value": prefix}]
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "TopicConfigurations": [
                {
                    "Id": "theirs",
                    "TopicArn": topic,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ],
            "EventBridgeConfiguration": {},
        },
    )
    return notifications(aws, bucket)


def test_a_plan_changes_nothing_and_apply_is_idempotent_and_destroy_undoes_it(
    provision: Provision, aws: MiniStack, bucket: str, queue_name: str
) -> None:
    before = let_others_listen(aws, bucket, prefix="logs/")

    status, said = provision("--queue", queue_name)
    assert status == 2
    assert "Plan: 4 changes." in said
    assert "stays as it is: theirs, EventBridge" in said
    assert "s3:ListBucket" in said
    assert (queues(aws, queue_name), notifications(aws, bucket)) == ([], before)
    assert not EventQueue.objects.exists()

    role = "arn:aws:iam::123456789012:role/s3sync"
    status, said = provision("--queue", queue_name, "--apply", "--receiver", role)
    row = EventQueue.objects.get()
    assert (status, row.name, row.enabled) == (0, queue_name, True)
    assert f"url: {row.url}" in said
    assert queues(aws, queue_name) == [queue_name, f"{queue_name}-dead"]
    there = notifications(aws, bucket)
    (ours,) = there.pop("QueueConfigurations")
    assert ours["Id"].startswith("s3sync-")
    assert there == before
    (test_event,) = aws.client("sqs").receive_message(QueueUrl=row.url)["Messages"]
    assert "s3:TestEvent" in test_event["Body"]

    for arguments in ([], ["--apply"]):
        status, said = provision(*arguments)
        assert (status, "nothing to change" in said) == (0, True)

    status, said = provision("--destroy")
    assert status == 2
    assert queues(aws, queue_name) == [queue_name, f"{queue_name}-dead"]
    assert provision("--destroy", "--apply")[0] == 0
    assert (queues(aws, queue_name), notifications(aws, bucket)) == ([], before)
    row.refresh_from_db()
    assert not row.enabled
    assert provision("--destroy", "--apply")[0] == 0


def test_a_queue_that_the_database_names_is_made_where_its_url_says(
    provision: Provision, aws: MiniStack, bucket: str, queue_name: str
) -> None:
    url = f"{aws.endpoint_url}/{aws.account_id}/{queue_name}"
    EventQueue.objects.create(name="photos-events", url=url, region=aws.region)
    status, said = provision("--apply", "--json")
    assert status == 0
    assert [step["sign"] for step in json.loads(said)["steps"]] == ["+", "+", "~"]
    assert queues(aws, queue_name) == [queue_name, f"{queue_name}-dead"]

    # Without its rule the bucket is still known: the queue's policy names it.
    ReplicationRule.objects.all().delete()
    status, said = provision("--apply")
    assert (status, "notify" in said, notifications(aws, bucket)) == (0, True, {})


def test_a_plan_that_s3_would_refuse_is_reported_and_nothing_is_changed(
    provision: Provision, aws: MiniStack, bucket: str, queue_name: str
) -> None:
    before = let_others_listen(aws, bucket, prefix="originals/2026/")
    for arguments in ([], ["--apply"], ["--apply", "--json"]):
        status, said = provision("--queue", queue_name, *arguments)
        assert status == 1
        assert "EventBridge on for the bucket" in said
    assert (queues(aws, queue_name), notifications(aws, bucket)) == ([], before)


def test_a_missing_receiver_of_others_is_reported_and_finished_steps_stay_done(
    provision: Provision,
    aws: MiniStack,
    bucket: str,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_others_listen(aws, bucket, prefix="logs/")
    aws.client("sns").delete_topic(TopicArn=f"arn:aws:sns:us-east-1:{aws.account_id}:{bucket}")
    monkeypatch.setattr("replication.tools.provisioning.applying.PROPAGATION_SECONDS", 0)
    status, said = provision("--queue", queue_name, "--apply")
    assert status == 1
    assert "if one is missing" in said
    assert f"make the queue {queue_name}" in said.rpartition("Done before that:")[2]
    assert provision("--destroy", "--apply")[0] == 0
    assert queues(aws, queue_name) == []


def test_a_run_uses_the_named_administrator_and_names_a_missing_right(
    provision: Provision,
    aws: MiniStack,
    bucket: str,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags"]
    reader = a_user_who_may(aws, [*reads, "s3:GetBucketNotification"], monkeypatch)
    assert provision("--queue", queue_name, "--profile", reader)[0] == 2
    status, said = provision("--queue", queue_name, "--profile", reader, "--apply")
    assert status == 1
    assert f"Grant sqs:CreateQueue and sqs:TagQueue to the credential profile '{reader}'" in said
    status, said = provision("--queue", queue_name, "--profile", "nobody")
    assert (status, "S3SYNC_PROFILE_NOBODY_ACCESS_KEY_ID" in said) == (1, True)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("AWS_PROFILE", "missing")
        forget_clients()
        status, said = provision("--queue", queue_name)
    forget_clients()
    assert (status, "Log in as an administrator" in said) == (1, True)


def test_several_queues_of_a_region_each_get_the_sources_that_are_named_for_them(
    provision: Provision, aws: MiniStack, bucket: str, queue_name: str
) -> None:
    assert provision("--queue", queue_name, "--source", "photos-s3", "--apply")[0] == 0
    aws.client("s3").create_bucket(Bucket=f"{bucket}-2")
    make_rule("films", bucket=f"{bucket}-2", region=aws.region)
    other = ["--queue", f"{queue_name}-2", "--source", "films-s3", "--apply"]
    assert provision(*other)[0] == 0
    for name in (bucket, f"{bucket}-2"):
        assert len(notifications(aws, name)["QueueConfigurations"]) == 1
    status, said = provision("--queue", queue_name)  # would take the other queue's bucket too
    assert (status, "another queue of s3sync's" in said) == (1, True)
    assert provision("--destroy", "--apply")[0] == 0
    assert queues(aws, queue_name) == []


def test_a_complete_set_up_by_hand_needs_no_steps(
    provision: Provision, aws: MiniStack, bucket: str, queue_name: str
) -> None:
    url = connect_bucket_to_queue(aws, bucket=bucket, queue=queue_name)
    EventQueue.objects.create(name="by-hand", url=url, region=aws.region)
    status, said = provision("--json")
    assert (status, json.loads(said)["steps"]) == (0, [])
    assert "by an entry that is not ours" in said
    assert provision("--destroy")[0] == 0


def forget_clients() -> None:
    clients._client.cache_clear()
    clients._session.cache_clear()


def missing_bucket(aws: MiniStack) -> list[str]:
    make_rule("gone", bucket=f"gone-{uuid4().hex[:8]}", region=aws.region)
    return ["--queue", "s3sync"]


def two_regions(aws: MiniStack) -> list[str]:
    make_rule("far", bucket="far", region="eu-west-1")
    return ["--queue", "s3sync"]


def two_queues(aws: MiniStack) -> list[str]:
    for name in ("one", "two"):
        url = f"{aws.endpoint_url}/123456789012/{name}"
        EventQueue.objects.create(name=name, url=url, region=aws.region)
    return []


def a_fifo_queue(aws: MiniStack) -> list[str]:
    url = f"{aws.endpoint_url}/123456789012/s3sync.fifo"
    EventQueue.objects.create(name="fifo", url=url, region=aws.region)
    return []


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda aws: [], "Make one with --queue NAME"),
        (lambda aws: ["--queue", "Not A Name"], "lower-case letters, digits and hyphens"),
        (lambda aws: ["--queue", "s3sync", "--source", "nothing"], "There are: photos-s3"),
        (missing_bucket, "correct the source's bucket name"),
        (two_regions, "eu-west-1, us-east-1"),
        (two_queues, "with --queue NAME, and the sources that it is for with --source NAME"),
        (a_fifo_queue, "FIFO"),
    ],
)
def test_a_set_up_that_can_not_be_planned_is_an_error_with_its_fix(
    provision: Provision,
    aws: MiniStack,
    bucket: str,
    prepare: Callable[[MiniStack], list[str]],
    expected: str,
) -> None:
    status, said = provision(*prepare(aws))
    assert status == 1
    assert expected in said


def test_one_policy_is_written_for_each_profile(
    provision: Provision, bucket: str, queue_name: str, tmp_path: Path
) -> None:
    Destination.objects.update(credential_profile="emea")
    assert provision("--queue", queue_name, "--write", str(tmp_path / "policies"))[0] == 2
    written = {file.name: json.loads(file.read_text()) for file in tmp_path.glob("policies/*")}
    assert written.keys() == {"iam-default.json", "ram-emea.json"}
    assert written["ram-emea.json"]["Version"] == "1"
    assert f"arn:aws:s3:::{bucket}/originals/*" in str(written["iam-default.json"])
