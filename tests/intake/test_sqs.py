"""Calls to SQS on the wire. Other tests run the operations against a queue of the stand-in."""

import json

import pytest
from pytest import MonkeyPatch
from pytest_django import Settings

from replication.intake import sqs_client
from replication.intake.sqs import Queue, QueueError
from replication.models import EventQueue
from tests.support.http_origin import http_origin


def a_queue(url: str) -> Queue:
    return Queue(EventQueue(name="q", url=url, region="ap-east-1"))


def test_a_call_is_signed_for_the_queues_region_and_names_the_queue() -> None:
    with http_origin() as sqs:
        sqs.answers(b"{}", Content_Type="application/x-amz-json-1.0")
        url = f"{sqs.url}/123456789012/events"
        assert a_queue(url).receive(wait_seconds=3) == []
    head, _, body = sqs.request.partition(b"\r\n\r\n")
    assert sqs.targets == ["/"]
    assert b"/ap-east-1/sqs/aws4_request" in head
    assert b"AmazonSQS.ReceiveMessage" in head
    asked = json.loads(body)
    assert (asked["QueueUrl"], asked["WaitTimeSeconds"]) == (url, 3)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            "400 Bad Request",
            b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}',
            "QueueDoesNotExist: no such queue",
        ),
        ("403 Forbidden", b'{"__type": "AccessDenied", "Message": "no"}', "AccessDenied: no"),
        ("502 Bad Gateway", b"<html>a proxy's</html>", "502"),
        ("503 Service Unavailable", b"", "503"),
        ("200 OK", b"<html>a portal's</html>", "not JSON"),
    ],
)
def test_an_error_of_sqs_is_reported_in_its_own_words(status: str, body: bytes, words: str) -> None:
    with http_origin() as sqs:
        sqs.answers(body, status=status)
        with pytest.raises(QueueError, match=words):
            a_queue(f"{sqs.url}/queue").receive(wait_seconds=0)


def test_a_proxy_of_the_environment_is_used(monkeypatch: MonkeyPatch, settings: Settings) -> None:
    hosts = {"plain_http_hosts": ["sqs.example"]}
    settings.S3SYNC = settings.S3SYNC.model_copy(update=hosts)
    monkeypatch.setattr(sqs_client, "_pool", sqs_client._pool.__wrapped__)  # a pool of its own
    with http_origin() as proxy:
        proxy.answers(b"{}", Content_Type="application/x-amz-json-1.0")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert a_queue("http://sqs.example/queue").receive(wait_seconds=0) == []
        assert proxy.targets == ["http://sqs.example/"]
