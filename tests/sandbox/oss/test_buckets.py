"""The service and its buckets, in path style and in virtual-host style."""

import socket
from collections.abc import Callable

import oss2
import pytest
import requests
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection

from sandbox.oss import OssServer
from tests.sandbox.oss import BUCKET, OPEN_BUCKET, REGION

OpenBucket = Callable[..., oss2.Bucket]


@pytest.fixture
def service(server: OssServer, auth: object, session: oss2.Session) -> oss2.Service:
    return oss2.Service(auth, server.endpoint, session=session, region=REGION)


def test_buckets_are_listed(service: oss2.Service) -> None:
    listed = service.list_buckets()
    assert [bucket.name for bucket in listed.buckets] == [BUCKET, OPEN_BUCKET]
    assert listed.buckets[0].location == f"oss-{REGION}"
    assert listed.owner.id
    assert [each.name for each in oss2.BucketIterator(service, max_keys=1)] == [BUCKET, OPEN_BUCKET]
    assert [each.name for each in service.list_buckets(prefix="open").buckets] == [OPEN_BUCKET]


def test_a_bucket_is_created_described_and_deleted(open_bucket: OpenBucket, auth: object) -> None:
    bucket = open_bucket(auth, name="new-bucket")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.put_object("key", b"x")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.get_bucket_info()
    config = oss2.models.BucketCreateConfig(oss2.BUCKET_STORAGE_CLASS_IA)
    bucket.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ, config)
    info = bucket.get_bucket_info()
    assert (info.name, info.location, info.acl.grant) == (
        "new-bucket",
        f"oss-{REGION}",
        "public-read",
    )
    assert info.storage_class == "IA"
    assert bucket.get_bucket_location().location == f"oss-{REGION}"
    bucket.put_object("key", b"12345")
    assert bucket.head_object("key").headers["x-oss-storage-class"] == "IA"
    stat = bucket.get_bucket_stat()
    assert (stat.object_count, stat.storage_size_in_bytes) == (1, 5)
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()
    bucket.delete_object("key")
    assert bucket.delete_bucket().status == 204


@pytest.mark.parametrize("body", [b"", iter([])])
def test_a_bucket_is_created_without_a_configuration(
    open_bucket: OpenBucket, auth: object, body: object
) -> None:
    bucket = open_bucket(auth, name="new-bucket")
    assert bucket._do("PUT", "new-bucket", "", data=body).status == 200
    assert bucket.get_bucket_info().storage_class == "Standard"


def test_a_missing_bucket_is_told_before_an_unknown_access_key(open_bucket: OpenBucket) -> None:
    bucket = open_bucket(oss2.AuthV4("unknown", "secret"), name="absent-bucket")
    for attempt in (bucket.get_bucket_info, lambda: bucket.put_object("key", b"x")):
        with pytest.raises(oss2.exceptions.NoSuchBucket):
            attempt()
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.create_bucket()
    assert refusal.value.code == "InvalidAccessKeyId"


def test_creating_a_bucket_again_keeps_it_and_changes_its_acl(bucket: oss2.Bucket) -> None:
    bucket.put_object("key", b"x")
    bucket.create_bucket("public-read")
    assert bucket.get_bucket_acl().acl == "public-read"
    assert bucket.object_exists("key")
    config = oss2.models.BucketCreateConfig(oss2.BUCKET_STORAGE_CLASS_ARCHIVE)
    with pytest.raises(oss2.exceptions.OssError) as refusal:
        bucket.create_bucket("private", config)
    assert (refusal.value.status, refusal.value.code) == (409, "BucketAlreadyExists")


def test_an_acl_can_be_set_and_read(bucket: oss2.Bucket) -> None:
    assert bucket.get_bucket_acl().acl == "private"
    bucket.put_bucket_acl("public-read-write")
    assert bucket.get_bucket_acl().acl == "public-read-write"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.put_bucket_acl("everybody")


class LoopbackConnection(HTTPConnection):
    """Connects to the stand-in for any host in the URL: *.localhost may not resolve."""

    def _new_conn(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


class LoopbackPool(HTTPConnectionPool):
    ConnectionCls = LoopbackConnection


class LoopbackAdapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        self.poolmanager = PoolManager()
        self.poolmanager.pool_classes_by_scheme = {"http": LoopbackPool}


@pytest.mark.parametrize("suffix", ["oss.localhost", "oss-cn-hangzhou.aliyuncs.com"])
def test_the_client_library_works_with_virtual_hosts(
    server: OssServer, auth: object, suffix: str
) -> None:
    session = oss2.Session(adapter=LoopbackAdapter())
    session.session.trust_env = False
    endpoint = f"http://{suffix}:{server.port}"
    bucket = oss2.Bucket(auth, endpoint, BUCKET, region=REGION, session=session, enable_crc=False)
    bucket.put_object("a b/ö+%", b"hello")
    assert bucket.get_object("a b/ö+%").read() == b"hello"
    assert [entry.key for entry in oss2.ObjectIterator(bucket)] == ["a b/ö+%"]
    service = oss2.Service(auth, endpoint, session=session, region=REGION)
    assert BUCKET in [each.name for each in service.list_buckets().buckets]
    absent = oss2.Bucket(auth, endpoint, "absent-bucket", region=REGION, session=session)
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        absent.get_object("key")


def test_path_style_can_be_requested(server: OssServer, auth: object) -> None:
    session = oss2.Session(adapter=LoopbackAdapter())
    endpoint = f"http://stand-in.example.com:{server.port}"
    bucket = oss2.Bucket(auth, endpoint, BUCKET, region=REGION, session=session, is_path_style=True)
    bucket.put_object("key", b"hello")
    assert server.requests()[-1].bucket == BUCKET
