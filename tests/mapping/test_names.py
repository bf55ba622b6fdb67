"""Names of buckets, regions and endpoints: what is refused, and what the message says instead."""

import pytest

from replication.mapping.oss_names import oss_mistakes
from replication.mapping.place_names import web_mistakes
from replication.mapping.s3_names import queue_mistakes, s3_mistakes

ALIAS = "photos-abcdefghijklmnopqrstuvwxyz123456-s3alias"
ACCESS_POINT = "arn:aws:s3:us-east-1:123456789012:accesspoint/photos"


def of_s3(
    *, bucket: str = "photos", region: str = "us-east-1", endpoint_url: str = ""
) -> dict[str, str]:
    return s3_mistakes(bucket=bucket, region=region, endpoint_url=endpoint_url)


def of_oss(
    *,
    bucket: str = "photos",
    region: str = "cn-hangzhou",
    endpoint: str = "https://oss-cn-hangzhou.aliyuncs.com",
    is_virtual_host: bool = True,
) -> dict[str, str]:
    return oss_mistakes(
        bucket=bucket, region=region, endpoint=endpoint, is_virtual_host=is_virtual_host
    )


@pytest.mark.parametrize(
    "bucket",
    [
        "photos",
        "123",
        "photos.2026.example.com",
        "Photos_of-2016",  # AWS before 2018, Ceph
        "photos--use1-az4--x-s3",  # a directory bucket
        "a" * 63,
    ],
)
def test_buckets_that_s3_servers_have_are_taken(bucket: str) -> None:
    assert not of_s3(bucket=bucket)


@pytest.mark.parametrize(
    ("bucket", "instead"),
    [
        ("s3://photos", "the bucket's name alone: photos."),
        ("s3a://photos/", "the bucket's name alone: photos."),
        ("s3://photos/2026", "photos. A folder belongs in the rule's source prefix."),
        ("photos/2026", "photos. A folder belongs in the rule's source prefix."),
        ("photos/", "the bucket's name alone: photos."),
        ("/photos", "Enter the bucket's name alone."),
        ("https://photos.s3.amazonaws.com", "not its URL"),
        ("photos.s3.us-east-1.amazonaws.com", "the bucket's name alone: photos."),
        ("arn:aws:s3:::photos", "instead of its ARN: photos."),
        ("arn:aws-cn:s3:::photos/2026/*", "photos. A folder belongs in the rule's source prefix."),
        (ACCESS_POINT, "the bucket behind it"),
        ("arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/p", "the bucket behind it"),
        ("arn:aws:s3::123456789012:accesspoint/m.mrap", "the bucket behind it"),
        ("arn:aws:sqs:us-east-1:123456789012:photos", "not the ARN of a bucket"),
        (ALIAS, "the bucket behind it"),
        ("photos--ol-s3", "the bucket behind it"),
        ("photos--use1-az4--xa-s3", "the bucket behind it"),
        ("photos--x-s3", "ends in its zone"),
        ("photos--0-0--x-s3", "ends in its zone"),
        ("ab", "3 or more letters"),
        (".photos", "letter or digit first"),
        ("..", "letter or digit first"),
        ("my photos", "not 'my photos'"),
        ("photos\n", "not 'photos\\n'"),
        ("фото", "letters, digits"),
    ],
)
def test_a_bucket_of_s3_is_refused_with_what_to_enter_instead(bucket: str, instead: str) -> None:
    mistakes = of_s3(bucket=bucket)
    assert list(mistakes) == ["bucket"]
    assert instead in mistakes["bucket"]


@pytest.mark.parametrize(
    ("region", "instead"),
    [
        ("us-east-1a", "enter its region, us-east-1."),
        ("US East (Ohio)", "looks like ap-east-1"),
        ("us_east_1", "looks like ap-east-1"),
        ("12", "looks like ap-east-1"),
        ("-", "looks like ap-east-1"),
        ("us-east-1 ", "looks like ap-east-1"),
    ],
)
def test_a_region_of_aws_is_refused_with_what_to_enter_instead(region: str, instead: str) -> None:
    for mistakes in (of_s3(region=region), queue_mistakes(url="", region=region)):
        assert list(mistakes) == ["region"]
        assert instead in mistakes["region"]


@pytest.mark.parametrize(
    ("endpoint_url", "region"),
    [
        ("", "us-east-1"),
        ("https://s3.us-east-1.amazonaws.com", "us-east-1"),
        ("https://s3.amazonaws.com", "us-east-1"),
        ("https://s3-us-west-2.amazonaws.com", "us-west-2"),
        ("https://s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://s3-accelerate.amazonaws.com", "eu-west-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("https://photos.internal:9000", "default"),  # a server may be called like the bucket
        ("http://127.0.0.1:9000", "garage"),
        ("http://[::1]:9000", "us-east-1"),
        ("https://fsn1.your-objectstorage.com", "fsn1"),
        ("https://gateway.example.com", "us-east-1a"),
    ],
)
def test_endpoints_of_s3_that_fit_are_taken(endpoint_url: str, region: str) -> None:
    assert not of_s3(endpoint_url=endpoint_url, region=region)


@pytest.mark.parametrize(
    ("endpoint_url", "instead"),
    [
        ("https://photos.s3.us-east-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
        ("https://photos.s3.amazonaws.com", "Enter https://s3.amazonaws.com, or leave"),
        ("https://s3-logs.s3.us-east-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
        ("https://photos.s3.example.com:9000", "Enter https://s3.example.com:9000."),
        ("https://s3.eu-west-1.amazonaws.com", "is in eu-west-1, but the region is us-east-1"),
        ("https://s3-eu-west-1.amazonaws.com", "is in eu-west-1, but the region is us-east-1"),
        ("https://bucket.vpce-1-2.s3.eu-west-1.vpce.amazonaws.com", "is in eu-west-1"),
        ("http://photos.s3-website-us-east-1.amazonaws.com", "does not serve S3's objects"),
        ("https://my_minio:9000", "boto3 does not accept the host name 'my_minio'"),
        ("https://host:99999", "not an address"),
        ("https://[::1", "not an address"),
        ("https://:9000", "no host name"),
    ],
)
def test_an_endpoint_of_s3_is_refused_with_what_to_enter_instead(
    endpoint_url: str, instead: str
) -> None:
    mistakes = of_s3(endpoint_url=endpoint_url)
    assert list(mistakes) == ["endpoint_url"]
    assert instead in mistakes["endpoint_url"]


@pytest.mark.parametrize(
    ("bucket", "instead"),
    [
        ("oss://photos", "the bucket's name alone: photos."),
        ("oss://photos/2026/", "photos. A folder belongs"),
        ("photos.oss-cn-hangzhou.aliyuncs.com", "the bucket's name alone: photos."),
        ("https://photos.oss-cn-hangzhou.aliyuncs.com", "not its URL"),
        ("Photos", "lower-case"),
        ("my_photos", "lower-case"),
        ("photos.2026", "lower-case"),
        ("photos-", "letter or digit first and last"),
        ("ab", "3 to 63"),
        ("acs:oss:*:*:photos", "lower-case"),
    ],
)
def test_a_bucket_of_oss_is_refused_with_what_to_enter_instead(bucket: str, instead: str) -> None:
    mistakes = of_oss(bucket=bucket)
    assert list(mistakes) == ["bucket"]
    assert instead in mistakes["bucket"]


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-cn-hangzhou-internal.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-ap-southeast-1.aliyuncs.com", "ap-southeast-1"),
        ("https://oss-accelerate.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-accelerate-overseas.aliyuncs.com", "us-west-1"),
        ("https://oss-cn-hzfinance-internal.aliyuncs.com", "cn-hangzhou-finance"),
        ("https://cn-hangzhou.oss.aliyuncs.com", "cn-hangzhou"),
        ("https://ep-bp1.oss.cn-hangzhou.privatelink.aliyuncs.com", "cn-hangzhou"),
        ("https://files.example.com", "cn-hangzhou"),
        ("http://127.0.0.1:9000", "cn-hangzhou"),
        ("http://my_oss:9000", "cn-hangzhou"),
    ],
)
def test_endpoints_of_oss_that_fit_are_taken(endpoint: str, region: str) -> None:
    assert not of_oss(endpoint=endpoint, region=region)


@pytest.mark.parametrize(
    ("endpoint", "instead"),
    [
        (
            "https://photos.oss-cn-hangzhou.aliyuncs.com",
            "Enter https://oss-cn-hangzhou.aliyuncs.com.",
        ),
        ("https://photos.oss.example.com:8080", "Enter https://oss.example.com:8080."),
        ("https://s3.oss-cn-hangzhou.aliyuncs.com", "OSS's endpoint for S3's protocol"),
        ("https://oss-cn-beijing.aliyuncs.com", "Set the region to cn-beijing"),
        ("http://[::1]:9000", "oss2 does not accept '::1'"),
        ("http://host:99999", "not an address"),
        ("http://ho+st", "oss2 does not accept 'ho+st'"),
    ],
)
def test_an_endpoint_of_oss_is_refused_with_what_to_enter_instead(
    endpoint: str, instead: str
) -> None:
    mistakes = of_oss(endpoint=endpoint)
    assert list(mistakes) == ["endpoint"]
    assert instead in mistakes["endpoint"]


def test_a_region_of_oss_is_entered_without_its_prefix() -> None:
    mistakes = of_oss(region="oss-cn-hangzhou", endpoint="https://files.example.com")
    assert mistakes == {"region": "Enter the region without 'oss-': cn-hangzhou."}
    assert "cn-hangzhou" in of_oss(region="oss-cn-hangzhou")["region"]


def test_an_address_of_oss_itself_is_no_custom_domain() -> None:
    mistakes = of_oss(is_virtual_host=False)
    assert list(mistakes) == ["addressing"]
    assert "virtual_host" in mistakes["addressing"]
    assert not of_oss(is_virtual_host=False, endpoint="https://files.example.com")


def test_web_servers_and_queues_have_addresses_too() -> None:
    assert "not an address" in web_mistakes(endpoint_url="http://host:99999")["endpoint_url"]
    assert not web_mistakes(endpoint_url="http://my_web:8080")
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3sync"
    assert "set the region to eu-west-1" in queue_mistakes(url=url, region="us-east-1")["region"]
    assert not queue_mistakes(url=url, region="eu-west-1")
    assert "url" in queue_mistakes(url="http://host:99999/1/q", region="eu-west-1")


def test_what_is_not_entered_is_no_mistake() -> None:
    assert not of_s3(bucket="", region="", endpoint_url="")
    assert not of_oss(bucket="", region="", endpoint="")
    assert not web_mistakes(endpoint_url="")
    assert not queue_mistakes(url="", region="")
