"""The neutral stand-in answers the SDKs as S3, OSS and SQS do, and counts their requests."""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import boto3
import oss2
import pytest
from botocore.exceptions import ClientError

from benchmarks.stand_ins import DESTINATION_BUCKET, SOURCE_BUCKET, Keys, Neutral
from replication.stores.checksums import CRC64

SMALL = Keys("small/", 2500, (4096, 4096))
LARGE = Keys("large/", 1, (12_000_000, 12_000_000))


@pytest.fixture(scope="module")
def running() -> Iterator[Neutral]:
    with Neutral() as server:
        yield server


@pytest.fixture
def neutral(running: Neutral) -> Neutral:
    """The stand-in, with SMALL and LARGE and nothing else."""
    for bucket in (SOURCE_BUCKET, DESTINATION_BUCKET):
        running.empty(bucket)
    running.fill(SMALL)
    running.fill(LARGE)
    running.purge()
    running.delay(0)
    running.reset_counts()
    return running


def aws(neutral: Neutral, service: Literal["s3", "sqs"]) -> Any:
    return boto3.client(service, endpoint_url=neutral.url, region_name="us-east-1")


@pytest.fixture
def s3(neutral: Neutral) -> Any:
    return aws(neutral, "s3")


@pytest.fixture
def sqs(neutral: Neutral) -> Any:
    return aws(neutral, "sqs")


@pytest.fixture
def bucket(neutral: Neutral) -> oss2.Bucket:
    key = oss2.AuthV4("id", "secret")
    return oss2.Bucket(
        key, neutral.url, DESTINATION_BUCKET, region="cn-hangzhou", is_path_style=True
    )


def content(s3: Any, key: str, **arguments: str) -> bytes:
    body: bytes = s3.get_object(Bucket=SOURCE_BUCKET, Key=key, **arguments)["Body"].read()
    return body


def test_a_computed_object_has_an_md5_and_ranges_and_can_be_pinned(s3: Any) -> None:
    whole = content(s3, SMALL.key(7))
    etag = s3.head_object(Bucket=SOURCE_BUCKET, Key=SMALL.key(7))["ETag"]
    assert etag.strip('"') == hashlib.md5(whole).hexdigest()
    assert content(s3, SMALL.key(7), Range="bytes=10-19", IfMatch=etag) == whole[10:20]
    assert content(s3, SMALL.key(7), Range="bytes=-5") == whole[-5:]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        content(s3, SMALL.key(7), IfMatch='"another"')
    with pytest.raises(ClientError, match="InvalidRange"):
        content(s3, SMALL.key(7), Range="bytes=4096-")
    with pytest.raises(ClientError, match="NoSuchKey"):
        content(s3, SMALL.key(SMALL.count))


def test_a_large_object_is_the_same_whole_and_in_ranges_and_has_its_crc(s3: Any) -> None:
    whole = content(s3, LARGE.key(0))
    halves = [content(s3, LARGE.key(0), Range=r) for r in ("bytes=0-6999999", "bytes=7000000-")]
    assert b"".join(halves) == whole
    answer = s3.head_object(Bucket=SOURCE_BUCKET, Key=LARGE.key(0))["ResponseMetadata"]
    assert answer["HTTPHeaders"]["x-oss-hash-crc64ecma"] == str(CRC64.calc(whole))


def test_listings_in_both_versions_have_pages_prefixes_and_delimiters(s3: Any) -> None:
    for operation in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(operation).paginate(Bucket=SOURCE_BUCKET)
        keys = [one["Key"] for page in pages for one in page["Contents"]]
        assert keys == sorted(keys)
        assert len(keys) == SMALL.count + LARGE.count
    s3.put_object(Bucket=SOURCE_BUCKET, Key="top & <äöü>")
    answer = s3.list_objects_v2(Bucket=SOURCE_BUCKET, Delimiter="/")
    assert [one["Prefix"] for one in answer["CommonPrefixes"]] == ["large/", "small/"]
    assert [one["Key"] for one in answer["Contents"]] == ["top & <äöü>"]


def test_the_digest_reflects_puts_in_one_piece_and_in_parts_and_deletes(
    neutral: Neutral, s3: Any, bucket: oss2.Bucket
) -> None:
    for number in range(3):
        put = bucket.put_object(SMALL.key(number), content(s3, SMALL.key(number)))
        assert put.crc == CRC64.calc(content(s3, SMALL.key(number)))
    whole = content(s3, LARGE.key(0))
    s3.upload_fileobj(io.BytesIO(whole), DESTINATION_BUCKET, LARGE.key(0))
    upload = bucket.init_multipart_upload("parts").upload_id
    for number, part in enumerate((whole[:7_000_000], whole[7_000_000:]), 1):
        bucket.upload_part("parts", upload, number, part)
    parts = bucket.list_parts("parts", upload).parts
    assert [(part.part_number, part.size) for part in parts] == [(1, 7_000_000), (2, 5_000_000)]
    assert next(iter(oss2.MultipartUploadIterator(bucket))).upload_id == upload
    assert bucket.complete_multipart_upload("parts", upload, parts).crc == CRC64.calc(whole)
    bucket.delete_object("parts")
    bucket.batch_delete_objects([SMALL.key(1)])

    neutral.empty(SOURCE_BUCKET)
    neutral.fill(Keys(SMALL.prefix, 3, SMALL.sizes))
    neutral.fill(LARGE)
    s3.delete_object(Bucket=SOURCE_BUCKET, Key=SMALL.key(1))
    assert neutral.digest(DESTINATION_BUCKET) == neutral.digest(SOURCE_BUCKET)
    assert neutral.digest(SOURCE_BUCKET)["objects"] == 3
    s3.put_object(Bucket=SOURCE_BUCKET, Key=SMALL.key(0), Body=b"x" * 4096)
    assert neutral.digest(DESTINATION_BUCKET) != neutral.digest(SOURCE_BUCKET)


def test_metadata_and_a_small_body_are_kept_and_chunks_are_decoded(
    s3: Any, bucket: oss2.Bucket
) -> None:
    bucket.put_object("key", iter([b"hel", b"lo"]), headers={"x-oss-meta-name": "Value"})
    assert bucket.get_object("key").read() == b"hello"
    assert bucket.head_object("key").headers["x-oss-meta-name"] == "Value"
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.head_object("none")
    body = io.BytesIO(b"hello again")
    s3.put_object(Bucket=DESTINATION_BUCKET, Key="key", Body=body, ChecksumAlgorithm="CRC32")
    assert bucket.get_object("key").read() == b"hello again"


def test_a_queue_hides_deletes_and_shows_messages_again_and_a_poll_waits(
    neutral: Neutral, sqs: Any
) -> None:
    queue = {"QueueUrl": neutral.queue_url}
    neutral.announce(SMALL, first=SMALL.count - 12)
    answer = sqs.receive_message(**queue, MaxNumberOfMessages=10, AttributeNames=["All"])
    first, *others = answer["Messages"]
    assert len(others) == 9
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(first["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    (record,) = json.loads(first["Body"])["Records"]
    assert record["s3"]["object"]["key"] == SMALL.key(SMALL.count - 12)

    entries = [
        {"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(others)
    ]
    assert len(sqs.delete_message_batch(**queue, Entries=entries)["Successful"]) == 9
    assert len(sqs.receive_message(**queue, MaxNumberOfMessages=10)["Messages"]) == 2
    hidden = {"Id": "0", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 1}
    sqs.change_message_visibility_batch(**queue, Entries=[hidden])
    again = sqs.receive_message(**queue, WaitTimeSeconds=10)["Messages"]
    assert [one["MessageId"] for one in again] == [first["MessageId"]]
    sqs.send_message_batch(**queue, Entries=[{"Id": "a", "MessageBody": 'ä "quote"'}])
    assert sqs.receive_message(**queue)["Messages"][0]["Body"] == 'ä "quote"'
    attributes = sqs.get_queue_attributes(**queue, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "4"
    assert neutral.messages() == {"visible": 0, "in_flight": 4, "deleted": 9}


def test_a_request_takes_one_delay_and_the_first_of_a_connection_takes_two(
    neutral: Neutral,
) -> None:
    neutral.delay(150)
    s3 = aws(neutral, "s3")
    times = []
    for _ in range(2):
        began = time.monotonic()
        content(s3, SMALL.key(0))
        times.append(time.monotonic() - began)
    assert times[0] >= 0.3
    assert 0.15 <= times[1] < times[0]
    assert neutral.requests() == {"GetObject": 2}
