"""The sources and the destination of the contract tests, each over real HTTP."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from replication.stores.base import SourceStore
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from replication.stores.transport import fibers
from sandbox.aws import AwsServer
from sandbox.oss import OssServer
from tests.support.http_origin import HttpOrigin, http_origin
from tests.support.road import OSS_REGION


@pytest.fixture(params=["thread", "fiber"])
def thread_or_fiber(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test function twice: on a plain thread, and in a fiber."""
    monkeypatch.setattr(fibers, "TIMEOUT_CHECK_SECONDS", 0.05)
    where: str = request.param
    return where


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test in a fiber if its fixture `thread_or_fiber` says so."""
    if pyfuncitem.funcargs.get("thread_or_fiber") != "fiber":
        return None
    taken = pyfuncitem._fixtureinfo.argnames
    test = partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in taken})
    ended: Future[None] = Future()

    def run() -> None:
        try:
            ended.set_result(test())
        except BaseException as error:
            ended.set_exception(error)

    with fibers.Fibers(1, "test") as own:
        own.start(run)
    ended.result()
    return True


@dataclass(frozen=True)
class SourceCase:
    """A source store, and direct access to the bucket behind it."""

    store: SourceStore
    server: AwsServer
    bucket: str
    acl: str = "private"

    @property
    def s3(self) -> Any:
        return self.server.client("s3")

    def put(self, key: str, body: bytes = b"content", **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.s3.put_object(
            Bucket=self.bucket, Key=key, Body=body, ACL=self.acl, **arguments
        )
        return answer

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def enable_versioning(self) -> None:
        self.s3.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def read(self, key: str) -> bytes:
        with self.store.open(key) as found:
            return read_all(found)


def read_all(found: Any) -> bytes:
    return b"".join(iter(lambda: found.read(1000), b""))


def s3_store(server: AwsServer, bucket: str) -> S3Store:
    return S3Store(
        bucket=bucket, region=server.region, endpoint_url=server.endpoint_url, profile="default"
    )


def s3_case(server: AwsServer) -> SourceCase:
    """A new bucket."""
    bucket = f"t{uuid4().hex[:12]}"
    server.client("s3").create_bucket(Bucket=bucket)
    return SourceCase(s3_store(server, bucket), server, bucket)


@pytest.fixture(params=["aws", "moto"], ids=["MiniStack", "moto"])
def s3_source(request: pytest.FixtureRequest) -> SourceCase:
    """A new bucket, read by S3's protocol."""
    return s3_case(request.getfixturevalue(request.param))


@pytest.fixture(params=["s3:aws", "s3:moto", "http:moto"])
def source(request: pytest.FixtureRequest) -> SourceCase:
    """A new bucket, read by S3's protocol, or from moto as from a plain web server."""
    kind, _, name = request.param.partition(":")
    case = s3_case(request.getfixturevalue(name))
    if kind == "s3":
        return case
    store = HttpStore(endpoint_url=f"{case.server.endpoint_url}/{case.bucket}")
    return SourceCase(store, case.server, case.bucket, acl="public-read")


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    """A web server that answers exactly what the test tells it to."""
    with http_origin() as server:
        yield server


@pytest.fixture(params=["s3", "http"])
def scripted_source(request: pytest.FixtureRequest, origin: HttpOrigin) -> SourceStore:
    """A source of either kind that gets its answers from `origin`."""
    if request.param == "http":
        return HttpStore(endpoint_url=origin.url)
    return scripted_s3(origin)


def scripted_s3(origin: HttpOrigin) -> S3Store:
    return S3Store(bucket="photos", region="us-east-1", endpoint_url=origin.url, profile="default")


@pytest.fixture
def destination(oss: OssServer) -> OssStore:
    return oss_store(oss.endpoint)


def oss_store(endpoint: str, *, bucket: str = "replica", profile: str = "default") -> OssStore:
    return OssStore(
        bucket=bucket, endpoint=endpoint, region=OSS_REGION, addressing="path", profile=profile
    )
