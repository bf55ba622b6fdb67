"""Real qcluster and pollsqs processes with PostgreSQL, MiniStack and the OSS stand-in."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from replication.models import EventQueue, Heartbeat, Job, JobState, LoopKind
from sandbox.oss import Fault
from tests.support.paths import DATA
from tests.support.processes import eventually, manage
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)

S3_PUT = (DATA / "s3-put.json").read_text()
BODIES = {
    "a b+c%.txt": b"1",
    "图片/日本.txt": b"2",
    "a//b": b"3",
    "a/./b": b"4",
    "emoji-😀": b"5",
    "quote'\"<&>": b"6",
    "folder/": b"",
    "empty": b"",
}


def completed() -> int:
    return Job.objects.filter(state=JobState.COMPLETED).count()


def test_a_cluster_alone_polls_and_copies(road: Road, tmp_path: Path) -> None:
    with manage("qcluster", directory=tmp_path) as cluster:
        for key, body in BODIES.items():
            road.put(key, body)
        eventually(lambda: completed() == len(BODIES), unless_ended=cluster)
        assert {key: road.replica(key) for key in BODIES} == BODIES
        road.put("empty", b"not any more")
        eventually(lambda: road.replica("empty") == b"not any more", unless_ended=cluster)


def test_pollsqs_in_the_foreground_feeds_a_cluster_that_does_not_poll(
    road: Road, tmp_path: Path
) -> None:
    with (
        manage("qcluster", directory=tmp_path, S3SYNC_POLL_IN_CLUSTER="false") as cluster,
        manage("pollsqs", directory=tmp_path),
    ):
        road.put("aa.txt", b"content")
        eventually(lambda: road.replica("aa.txt") == b"content", unless_ended=cluster)
        assert Heartbeat.objects.filter(kind=LoopKind.POLLER, started_at__isnull=False).count() == 1
    assert not Heartbeat.objects.filter(started_at__isnull=False).exists()


def send_native(road: Road, url: str, times: int) -> None:
    for _ in range(times):
        road.aws.client("sqs").send_message(QueueUrl=url, MessageBody=S3_PUT)


def send_through_sns(road: Road, url: str, times: int) -> None:
    sns = road.aws.client("sns")
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}}
    policy = {"Statement": [{**allow, "Action": "sqs:SendMessage", "Resource": "*"}]}
    road.aws.client("sqs").set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps(policy)}
    )
    topic = sns.create_topic(Name=road.queue.name)["TopicArn"]
    queue_arn = f"arn:aws:sqs:{road.aws.region}:{road.aws.account_id}:{url.rsplit('/', 1)[1]}"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    for _ in range(times):
        sns.publish(TopicArn=topic, Message=S3_PUT)


def send_as_eventbridge(road: Road, url: str, times: int) -> None:
    event = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "detail": {
            "version": "0",
            "bucket": {"name": road.source.bucket},
            "object": {"key": "aa.txt", "size": 6, "sequencer": "005F5F00497AE2D491"},
            "reason": "PutObject",
        },
    }
    for _ in range(times):
        road.aws.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(event))


@pytest.mark.parametrize("send", [send_native, send_through_sns, send_as_eventbridge])
def test_an_event_in_any_form_sent_20_times_is_replicated_with_one_transfer_at_a_time(
    make_road: Callable[..., Road], tmp_path: Path, send: Callable[[Road, str, int], None]
) -> None:
    road = make_road(source_bucket="hk-bucket-huachun")
    EventQueue.objects.update(enabled=False)  # ignore the events that S3 itself sends
    road.put("aa.txt", b"hello\n")
    url = road.aws.client("sqs").create_queue(QueueName=f"{road.queue.name}-sent")["QueueUrl"]
    sent = EventQueue.objects.create(name="sent", url=url, region=road.aws.region)
    # Slow enough that transfers would overlap if two could run at once.
    road.oss.add_fault(Fault(method="PUT", times=None, delay_seconds=0.2))
    with manage("qcluster", directory=tmp_path) as cluster:
        send(road, url, 20)

        def settled() -> bool:
            sent.refresh_from_db()
            return sent.messages_received == 20 and not unsettled.exists()

        unsettled = Job.objects.exclude(state=JobState.COMPLETED)
        eventually(settled, unless_ended=cluster)
    assert road.replica("aa.txt") == b"hello\n"
    writes = sorted(
        (request.started_monotonic, request.ended_monotonic)
        for request in road.oss.requests()
        if request.method == "PUT"
    )
    assert 1 <= len(writes) < 20
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(writes))
