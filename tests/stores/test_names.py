"""boto3 and oss2 take every name without a mistake; names with one fail with a clear error."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from replication.errors import Disposition, ErrorCode
from replication.mapping.oss_names import oss_mistakes
from replication.mapping.s3_names import s3_mistakes
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from tests.support.failing import failing

# Mostly letters that names may have, so that enough names have no mistake.
NAMES = st.text("az0.-_Z", min_size=1, max_size=9) | st.text("a0-/:@ é\n", min_size=1, max_size=9)
HOSTS = st.text("az0.-Z", min_size=1, max_size=9) | st.text("a0.-_:[]%", min_size=1, max_size=9)
REGIONS = st.text("az0-Z", min_size=1, max_size=6) | st.text("a0- _", min_size=1, max_size=6)
PORTS = st.sampled_from(["", ":9000", ":99999"])
# Not of a directory bucket: for its URL, boto3 asks AWS for a session.
ENDINGS = st.sampled_from(["", "-s3alias", "--x-s3", ".mrap", "--ol-s3"])
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


@pytest.fixture(scope="module")
def clients() -> Iterator[list[Any]]:
    """A client for AWS, and one for another provider."""
    session = boto3.Session("id", "secret", region_name="us-east-1")
    yield [session.client("s3"), session.client("s3", endpoint_url="http://127.0.0.1:9")]


def url_of(client: Any, bucket: str) -> str:
    """The URL of an object. The client checks all names, and sends nothing."""
    return str(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))


@quick
@given(bucket=NAMES, ending=ENDINGS)
def test_boto3_takes_every_bucket_without_a_mistake(
    clients: list[Any], bucket: str, ending: str
) -> None:
    name = bucket + ending
    assume(not s3_mistakes(bucket=name, region="us-east-1", endpoint_url=""))
    for client in clients:
        assert name in url_of(client, name)


@quick
@given(host=HOSTS, port=PORTS, region=REGIONS)
def test_boto3_takes_every_endpoint_and_region_without_a_mistake(
    host: str, port: str, region: str
) -> None:
    url = f"http://{host}{port}"
    assume(not s3_mistakes(bucket="photos", region=region, endpoint_url=url))
    S3Store(bucket="photos", region=region, endpoint_url=url, profile="default")


@quick
@given(bucket=st.text("az0-", min_size=3, max_size=9) | NAMES, host=HOSTS, port=PORTS)
def test_oss2_takes_every_name_without_a_mistake(bucket: str, host: str, port: str) -> None:
    endpoint = f"http://{host}{port}"
    assume(not oss_mistakes(bucket=bucket, region="r", endpoint=endpoint, is_virtual_host=False))
    OssStore(bucket=bucket, endpoint=endpoint, region="r", addressing="path", profile="default")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"bucket": "s3://photos"}, ErrorCode.SOURCE_BUCKET_MISSING),
        ({"bucket": "photos/2026"}, ErrorCode.SOURCE_BUCKET_MISSING),
        ({"bucket": "arn:aws:s3:::photos"}, ErrorCode.SOURCE_BUCKET_MISSING),
        ({"bucket": "photos--x-s3", "endpoint_url": ""}, ErrorCode.SOURCE_BUCKET_MISSING),
        ({"region": "us east 1"}, ErrorCode.SOURCE_WRONG_REGION),
        ({"endpoint_url": "http://my_host:9"}, ErrorCode.SOURCE_BUCKET_MISSING),
        ({"endpoint_url": "http://host:99999"}, ErrorCode.SOURCE_BUCKET_MISSING),
    ],
)
def test_a_source_with_a_mistake_needs_a_person(changed: dict[str, str], code: ErrorCode) -> None:
    """Such a source may be older than the check."""
    place: dict[str, Any] = {
        "bucket": "photos",
        "region": "us-east-1",
        "endpoint_url": "http://127.0.0.1:9",
        **changed,
    }
    with failing(code) as caught:
        S3Store(**place, profile="default").open("k")
    assert caught.value.disposition is Disposition.PERSON
    with failing(code):
        S3Store(**place, profile="default").head("k")


@pytest.mark.parametrize(
    "changed",
    [
        {"bucket": "oss://photos"},
        {"bucket": "Photos"},
        {"endpoint": "http://[::1]:9000"},
        {"endpoint": "http://host:99999"},
        {"endpoint": "http://ho+st"},
    ],
)
def test_a_destination_with_a_mistake_needs_a_person(changed: dict[str, str]) -> None:
    place = {"bucket": "photos", "endpoint": "http://127.0.0.1:9", "region": "r"}
    with failing(ErrorCode.DESTINATION_BUCKET_MISSING) as caught:
        OssStore(**(place | changed), addressing="path", profile="default").head("k")
    assert caught.value.disposition is Disposition.PERSON
