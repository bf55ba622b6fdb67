"""One running stand-in for these tests, reset before each test."""

from collections.abc import Callable, Iterator

import oss2
import pytest

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, KEY_ID, OPEN_BUCKET, REGION, SECRET, SPILL_BYTES, make_auth
from tests.sandbox.oss.raw import RawClient


@pytest.fixture(scope="session")
def running_server() -> Iterator[OssServer]:
    with OssServer(
        keys={KEY_ID: SECRET}, buckets=[BUCKET], region=REGION, spill_bytes=SPILL_BYTES
    ) as server:
        yield server


@pytest.fixture
def server(running_server: OssServer) -> OssServer:
    running_server.reset()
    running_server.create_bucket(OPEN_BUCKET, acl="public-read-write")
    return running_server


@pytest.fixture(scope="session")
def session() -> oss2.Session:
    shared = oss2.Session()
    shared.session.trust_env = False
    return shared


@pytest.fixture(params=["v1", "v4"])
def auth(request: pytest.FixtureRequest) -> object:
    return make_auth(request.param)


@pytest.fixture
def open_bucket(server: OssServer, session: oss2.Session) -> Callable[..., oss2.Bucket]:
    """A function that makes clients of the server: `open_bucket(auth, name=…, enable_crc=…)`."""

    def make(
        auth: object, *, name: str = BUCKET, enable_crc: bool = False, region: str = REGION
    ) -> oss2.Bucket:
        return oss2.Bucket(
            auth, server.endpoint, name, region=region, session=session, enable_crc=enable_crc
        )

    return make


@pytest.fixture
def bucket(open_bucket: Callable[..., oss2.Bucket], auth: object) -> oss2.Bucket:
    return open_bucket(auth)


@pytest.fixture
def v4_bucket(open_bucket: Callable[..., oss2.Bucket]) -> oss2.Bucket:
    """For tests that don't depend on the signature version: they run once."""
    return open_bucket(make_auth("v4"))


@pytest.fixture
def raw(server: OssServer) -> Iterator[RawClient]:
    with RawClient(server.port) as client:
        yield client
