"""A source that pays for its requests says so in each read; any other source never does."""

from collections.abc import Callable, Iterator

import pytest

from replication.errors import ErrorCode
from replication.stores.s3.store import S3Store
from tests.stores.conftest import read_all
from tests.support.failing import failing
from tests.support.small_s3 import SmallS3, StoredObject, small_s3

KEY = "a.txt"


@pytest.fixture
def server() -> Iterator[SmallS3]:
    with small_s3() as server:
        server.objects[KEY] = StoredObject(tags={"team": "a"})
        server.objects["cold"] = StoredObject(archive="GLACIER")
        yield server


def store(server: SmallS3, *, requester_pays: bool) -> S3Store:
    return S3Store(
        bucket="photos",
        region="us-east-1",
        endpoint_url=server.url,
        profile="default",
        requester_pays=requester_pays,
    )


def read(source: S3Store) -> None:
    with source.open(KEY) as found:
        assert read_all(found) == b"content"


READS: list[Callable[[S3Store], object]] = [
    read,
    lambda source: source.head(KEY),
    lambda source: source.tags(KEY, version_id=""),
    lambda source: source.request_restore("cold", days=1, tier="Bulk"),
]


@pytest.mark.parametrize("ask", READS, ids=["get", "head", "tags", "restore"])
def test_each_read_of_a_bucket_where_the_requester_pays_says_who_pays(
    server: SmallS3, ask: Callable[[S3Store], object]
) -> None:
    server.requester_pays = True
    with failing(ErrorCode.SOURCE_ACCESS_DENIED):
        ask(store(server, requester_pays=False))
    assert {request.payer for request in server.requests} == {""}
    server.requests.clear()
    ask(store(server, requester_pays=True))
    assert {request.payer for request in server.requests} == {"requester"}


def test_a_read_by_boto3_says_who_pays_too(
    server: SmallS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.requester_pays = True
    source = store(server, requester_pays=True)
    monkeypatch.setattr(source, "_uses_boto3", True)  # as after an answer from another region
    read(source)
    assert {request.payer for request in server.requests} == {"requester"}


def test_a_bucket_whose_owner_pays_can_be_read_either_way(server: SmallS3) -> None:
    for requester_pays in (False, True):
        read(store(server, requester_pays=requester_pays))
