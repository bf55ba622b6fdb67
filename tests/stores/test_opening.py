"""A store is opened once in a process, however many threads ask for it first."""

import pytest

from replication.models import Destination, Source
from replication.stores.opening import destination_store, source_store
from tests.threads import at_once

THREADS = 16


def test_threads_that_begin_together_share_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "secret")
    source = Source(bucket="opened-at-once", region="eu-west-3")
    destination = Destination(
        bucket="opened-at-once", endpoint="https://oss-cn-beijing.aliyuncs.com", region="cn-beijing"
    )
    assert len(set(map(id, at_once(*[lambda: source_store(source)] * THREADS)))) == 1
    assert len(set(map(id, at_once(*[lambda: destination_store(destination)] * THREADS)))) == 1
