"""Each store is opened once in a process, and opening it blocks no fiber."""

import threading
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from replication.errors import ErrorCode
from replication.models import Destination, Source
from replication.stores import factory
from replication.stores.aws import aws_client
from replication.stores.factory import destination_store, source_store
from replication.stores.s3.store import S3Store
from replication.stores.transport.fibers import Fibers
from tests.support.failing import failing
from tests.support.threads import at_once

THREADS = 16


def test_threads_that_start_together_share_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "secret")
    source = Source(bucket="shared-store", region="eu-west-3")
    destination = Destination(
        bucket="shared-store", endpoint="https://oss-cn-beijing.aliyuncs.com", region="cn-beijing"
    )
    assert len(set(map(id, at_once(*[lambda: source_store(source)] * THREADS)))) == 1
    assert len(set(map(id, at_once(*[lambda: destination_store(destination)] * THREADS)))) == 1


def test_a_store_for_a_fiber_is_opened_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK may look for credentials for seconds; other transfers must go on meanwhile."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    opened_on: SimpleQueue[int] = SimpleQueue()

    class Store(S3Store):
        def __init__(self, **configuration: Any) -> None:
            opened_on.put(threading.get_ident())
            super().__init__(**configuration)

    monkeypatch.setattr(factory, "S3Store", Store)
    asked_on: SimpleQueue[int] = SimpleQueue()

    def ask() -> None:
        asked_on.put(threading.get_ident())
        assert isinstance(source_store(Source(bucket="blocking", region="eu-west-3")), Store)

    with Fibers(1, "transfers") as some:
        some.start(ask)
    assert opened_on.get_nowait() != asked_on.get_nowait()


def test_a_source_without_credentials_is_opened_again_once_they_appear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the metadata service missed its second at the first use."""
    source = Source(bucket="late-credentials", region="eu-south-2")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for _ in range(2):
        with failing(ErrorCode.SOURCE_CREDENTIALS):
            source_store(source)
    client = partial(
        aws_client, "s3", region=source.region, endpoint_url="", profile=source.credential_profile
    )
    assert client() is not client()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert source_store(source) is source_store(source)
    assert client() is client()
    assert client().generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})


def test_a_destination_without_credentials_is_opened_again_once_they_appear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    destination = Destination(
        bucket="late-credentials",
        endpoint="https://oss-cn-beijing.aliyuncs.com",
        region="cn-beijing",
    )
    monkeypatch.delenv("OSS_ACCESS_KEY_ID", raising=False)
    for _ in range(2):
        with failing(ErrorCode.CREDENTIAL_PROFILE):
            destination_store(destination)
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "secret")
    assert destination_store(destination) is destination_store(destination)
