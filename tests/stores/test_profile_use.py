"""A credential profile is used with what stands beside its secret, and with nothing else."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.intake.sqs import Queue
from replication.models import Destination, EventQueue, Source
from replication.stores.factory import destination_store, source_store
from replication.stores.profile_use import Service, check_use
from tests.support.road import OSS_REGION

AWS_S3 = [
    "",
    "https://s3.amazonaws.com",
    "https://s3.ap-east-1.amazonaws.com",
    "https://s3-eu-west-1.amazonaws.com",
    "https://s3.dualstack.ap-east-1.amazonaws.com",
    "https://s3-fips.dualstack.us-gov-west-1.amazonaws.com",
    "https://s3-accelerate.dualstack.amazonaws.com",
    "https://s3express-use1-az4.us-east-1.amazonaws.com",
    "https://bucket.vpce-1a2b-3c.s3.ap-east-1.vpce.amazonaws.com",
    "https://s3.cn-north-1.amazonaws.com.cn",
    "https://S3.ap-east-1.amazonaws.com:443/",
]
AWS_SQS = [
    "https://sqs.ap-east-1.amazonaws.com",
    "https://ap-east-1.queue.amazonaws.com",
    "https://queue.amazonaws.com",
    "https://vpce-1a2b-3c.sqs.ap-east-1.vpce.amazonaws.com",
    "https://sqs.cn-northwest-1.amazonaws.com.cn",
]
ALIBABA_OSS = [
    "https://oss-cn-hangzhou.aliyuncs.com",
    "https://oss-cn-hangzhou-internal.aliyuncs.com",
    "https://oss-accelerate.aliyuncs.com",
    "https://cn-hangzhou.oss.aliyuncs.com",
    "https://vpc100-oss-cn-hangzhou.aliyuncs.com",
]
# Anybody can run a server behind the names of the last ones.
OTHERS = [
    "https://minio.example.com",
    "http://10.1.2.3:9000",
    "https://oss-cn-hangzhou.aliyuncs.com.example.com",
    "https://s3.amazonaws.com.example.com",
    "https://evil.s3.amazonaws.com.example.com",
    "https://s3.amazonaws.com:bad",
    "https://abc123.execute-api.us-east-1.amazonaws.com",
    "https://s3.execute-api.us-east-1.amazonaws.com",
    "https://ec2-203-0-113-1.compute-1.amazonaws.com",
    "https://s3-website-us-east-1.amazonaws.com.evil.example",
    "https://photos.elb.us-east-1.amazonaws.com",
    "https://123456789012.cn-hangzhou.fc.aliyuncs.com",
    "https://oss-evil.fc.aliyuncs.com",
]
ALLOWED = [
    *((Service.S3, endpoint) for endpoint in AWS_S3),
    *((Service.SQS, endpoint) for endpoint in AWS_SQS),
    *((Service.OSS, endpoint) for endpoint in ALIBABA_OSS),
]
REFUSED = [
    *((service, endpoint) for service in Service for endpoint in OTHERS),
    *((Service.OSS, endpoint) for endpoint in AWS_S3 if endpoint),
    *((Service.S3, endpoint) for endpoint in (*AWS_SQS, *ALIBABA_OSS)),
]


@pytest.fixture(autouse=True)
def _no_list(settings: Settings) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"trusted_endpoints": []})


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    """The folder of mounted secrets."""
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"secrets_dir": tmp_path})
    return tmp_path


def refusal(service: Service, endpoint: str, *, bucket: str = "", profile: str = "emea") -> str:
    """Why the profile may not be used so; empty if it may."""
    try:
        check_use(profile, service, endpoint=endpoint, bucket=bucket)
    except ReplicationError as error:
        assert error.code is service.refusal
        return error.detail
    return ""


# -- endpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "endpoint"), ALLOWED)
def test_without_a_list_a_profile_is_for_the_provider_s_own_endpoints(
    service: Service, endpoint: str
) -> None:
    assert not refusal(service, endpoint)


@pytest.mark.parametrize(("service", "endpoint"), REFUSED)
def test_without_a_list_a_profile_is_for_no_other_endpoint(service: Service, endpoint: str) -> None:
    assert "S3SYNC_PROFILE_EMEA_ENDPOINTS" in refusal(service, endpoint)
    assert "S3SYNC_TRUSTED_ENDPOINTS" in refusal(service, endpoint)


def test_trusted_endpoints_are_open_to_each_profile_without_a_list(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = ["https://minio.example.com:9000", "other.example.com", "http://[::1]:*"]
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"trusted_endpoints": trusted})
    assert not refusal(Service.S3, "https://minio.example.com:9000/")
    assert not refusal(Service.OSS, "https://OTHER.example.com", profile="default")
    assert not refusal(Service.OSS, "http://[::1]:8080")
    assert not refusal(Service.S3, "")
    assert refusal(Service.S3, "http://minio.example.com:9000")
    assert refusal(Service.S3, "https://minio.example.com")
    assert refusal(Service.S3, "http://other.example.com")
    monkeypatch.setenv("S3SYNC_PROFILE_EMEA_ENDPOINTS", "https://third.example.com")
    assert refusal(Service.OSS, "https://other.example.com")
    assert not refusal(Service.OSS, "https://other.example.com", profile="default")


@pytest.mark.parametrize(
    ("named", "endpoint", "may"),
    [
        ("https://*.example.com", "https://minio.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com.evil.test", False),
        ("https://*.example.com", "https://minio.example.com:9000", False),
        ("https://minio.example.com:*", "https://minio.example.com:9000", True),
        ("https://minio.example.com:443", "https://minio.example.com", True),
        ("*", "http://10.1.2.3:9000", True),
        ("provider", "https://s3.ap-east-1.amazonaws.com", True),
        ("provider", "", True),
        ("provider", "https://minio.example.com", False),
        ("https://minio.example.com", "https://s3.ap-east-1.amazonaws.com", False),
        ("https://minio.example.com", "", False),
        ("", "https://s3.ap-east-1.amazonaws.com", False),
        ("a.example.com, provider\nb.example.com", "https://b.example.com", True),
        ("a.example.com, provider\nb.example.com", "", True),
        ("https://minioXexample.com", "https://minio.example.com", False),
        ("https://minio.example.com", "https://minioXexample.com", False),
    ],
)
def test_the_profile_s_own_list_decides_alone(
    monkeypatch: pytest.MonkeyPatch, named: str, endpoint: str, may: bool
) -> None:
    monkeypatch.setenv("S3SYNC_PROFILE_EMEA_ENDPOINTS", named)
    assert (not refusal(Service.S3, endpoint)) is may


def test_a_list_is_read_beside_the_secret_and_again_when_it_changes(folder: Path) -> None:
    (folder / "emea").mkdir()
    names = folder / "emea" / "endpoints"
    names.write_text("https://minio.example.com\n")
    assert not refusal(Service.S3, "https://minio.example.com")
    assert str(names) in refusal(Service.S3, "https://other.example.com")
    names.write_text("https://other.example.com  # no comment\n")
    assert refusal(Service.S3, "https://minio.example.com")
    assert not refusal(Service.S3, "https://other.example.com")


@pytest.mark.parametrize("named", ["*", "provider", "https://s3.ap-east-1.amazonaws.com"])
@pytest.mark.parametrize("rest", ["/secret-bucket", "/a/", "?a=b", "#a", "\\a"])
def test_an_endpoint_with_a_path_would_be_another_bucket(
    monkeypatch: pytest.MonkeyPatch, named: str, rest: str
) -> None:
    monkeypatch.setenv("S3SYNC_PROFILE_EMEA_ENDPOINTS", named)
    assert not refusal(Service.S3, "https://s3.ap-east-1.amazonaws.com")
    assert refusal(Service.S3, f"https://s3.ap-east-1.amazonaws.com{rest}")
    assert refusal(Service.S3, "https://user@s3.ap-east-1.amazonaws.com")


def test_a_star_in_the_last_part_of_a_name_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3SYNC_PROFILE_EMEA_ENDPOINTS", "http://10.0.0.*:9000 https://minio*")
    assert not refusal(Service.S3, "http://10.0.0.7:9000")
    assert not refusal(Service.S3, "https://minio2")
    assert refusal(Service.S3, "http://10.0.0.7.example.com:9000")
    assert refusal(Service.S3, "https://minio.example.com")


# -- buckets -----------------------------------------------------------------------------------


def test_a_profile_is_for_the_buckets_that_its_list_names(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = ALIBABA_OSS[0]
    assert not refusal(Service.OSS, endpoint, bucket="anything")
    monkeypatch.setenv("S3SYNC_PROFILE_EMEA_BUCKETS", "photos, backup-*")
    assert not refusal(Service.OSS, endpoint, bucket="photos")
    assert not refusal(Service.OSS, endpoint, bucket="backup-2026")
    assert "bucket photos2" in refusal(Service.OSS, endpoint, bucket="photos2")
    assert "S3SYNC_PROFILE_EMEA_BUCKETS" in refusal(Service.OSS, endpoint, bucket="other")


# -- before anything is sent -------------------------------------------------------------------


def a_destination(endpoint: str) -> Destination:
    return Destination(
        name="a", bucket="replica", endpoint=endpoint, region=OSS_REGION, addressing="path"
    )


def use_source(url: str) -> None:
    place = Source(name="a", bucket="photos", region="us-east-1", endpoint_url=url)
    source_store(place).open("a")


def use_destination(url: str) -> None:
    destination_store(a_destination(url)).open("a")


def use_queue(url: str) -> None:
    row = EventQueue(name="a", url=f"{url}/123456789012/a", region="us-east-1")
    Queue(row).receive(wait_seconds=0)


@pytest.mark.parametrize("use", [use_source, use_destination, use_queue])
def test_nothing_is_sent_to_an_endpoint_that_no_list_names(
    settings: Settings, use: Callable[[str], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(ReplicationError) as refused:
            use(f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert refused.value.code in {
        ErrorCode.SOURCE_PROFILE_REFUSED,
        ErrorCode.DESTINATION_PROFILE_REFUSED,
    }


def test_a_store_that_is_open_is_refused_once_the_list_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = a_destination("http://127.0.0.1:9")
    monkeypatch.setenv("S3SYNC_PROFILE_DEFAULT_ENDPOINTS", "http://127.0.0.1:*")
    assert destination_store(place) is destination_store(place)
    monkeypatch.setenv("S3SYNC_PROFILE_DEFAULT_ENDPOINTS", "provider")
    with pytest.raises(ReplicationError) as refused:
        destination_store(place)
    assert refused.value.code is ErrorCode.DESTINATION_PROFILE_REFUSED
