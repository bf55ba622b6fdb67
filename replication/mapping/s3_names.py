"""Finds mistakes in the names of S3 buckets, of their regions and endpoints, and of queues. Pure.

boto3 takes every name that has no mistake, so that no name fails only when it is used.
"""

import re

from replication.mapping.place_names import (
    REGION,
    Mistakes,
    folder_hint,
    not_a_name,
    only_mistakes,
    split_url,
    without_bucket,
)

# As wide as S3-compatible servers allow: AWS has buckets with names of before 2018, and Ceph and
# MinIO have upper case and underscores too.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
# use1-az4, apne1-az4, usw2-lax1-az1: boto3 knows no zone of another length.
_ZONE = r"(?=(?:.{8,9}|.{13,14}|.{20})--x-s3)[a-z]+[0-9]+(?:-[a-z]+[0-9]+)?-az[0-9]+"
_DIRECTORY_BUCKET = re.compile(rf".+--{_ZONE}--x-s3")
_ALIAS_ENDINGS = ("-s3alias", "--xa-s3", "--ol-s3", "--op-s3", ".mrap")

_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]+")
_AVAILABILITY_ZONE = re.compile(rf"({_AWS_REGION.pattern})[a-z]")

_HOST = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.?")
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")
_SQS_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")

_ACCESS_POINT = (
    "Enter the name of the bucket behind it: S3's events name the bucket, so events of an access "
    "point match no source."
)


def s3_mistakes(*, bucket: str, region: str, endpoint_url: str) -> Mistakes:
    """The mistakes of a source in S3, by field. An empty value is none."""
    return only_mistakes(
        {
            "bucket": _bucket_mistake(bucket) if bucket else "",
            "region": _region_mistake(region, is_aws=not endpoint_url) if region else "",
            "endpoint_url": _endpoint_mistake(bucket, region, endpoint_url),
        }
    )


def queue_mistakes(*, url: str, region: str) -> Mistakes:
    """The mistakes of a queue of SQS, by field. An empty value is none."""
    address, of_url = split_url(url)
    of_region = _region_mistake(region, is_aws=True) if region else ""
    named = queue_region_of(url) if address else ""
    if named and region and named != region:
        of_region = f"The queue's URL is in {named}: set the region to {named}."
    return only_mistakes({"url": of_url, "region": of_region})


def queue_region_of(url: str) -> str:
    """The region that the URL of an SQS queue names; empty for any other host than AWS's."""
    address, _ = split_url(url)
    named = _SQS_HOST.fullmatch(address.hostname or "") if address else None
    return named[1] if named else ""


def _bucket_mistake(bucket: str) -> str:
    if bucket.startswith("arn:"):
        return _arn_mistake(bucket)
    if mistake := not_a_name(bucket):
        return mistake
    if bucket.endswith(_ALIAS_ENDINGS):
        return f"This is the alias of an access point. {_ACCESS_POINT}"
    if not _BUCKET.fullmatch(bucket):
        return (
            "A bucket of S3 has a name of 3 or more letters, digits, hyphens and dots, with a "
            f"letter or digit first; not {bucket!r}."
        )
    if bucket.endswith("--x-s3") and not _DIRECTORY_BUCKET.fullmatch(bucket):
        return (
            "The name of a directory bucket ends in its zone, as in photos--use1-az4--x-s3; "
            f"not {bucket!r}."
        )
    return ""


def _arn_mistake(arn: str) -> str:
    service, _, resource = arn.partition(":::")
    if service.endswith(":s3") and resource:
        name, _, folder = resource.partition("/")
        return f"Enter the bucket's name instead of its ARN: {name}." + folder_hint(folder)
    return f"This is not the ARN of a bucket but, perhaps, of an access point. {_ACCESS_POINT}"


def _region_mistake(region: str, *, is_aws: bool) -> str:
    zone = _AVAILABILITY_ZONE.fullmatch(region)
    if zone and is_aws:
        return f"{region} is an availability zone: enter its region, {zone[1]}."
    if not REGION.fullmatch(region):
        return f"A region looks like ap-east-1, in letters, digits and hyphens; not {region!r}."
    return ""


def _endpoint_mistake(bucket: str, region: str, url: str) -> str:
    address, mistake = split_url(url)
    if address is None:
        return mistake
    host = address.hostname or ""
    if ":" not in host and not _HOST.fullmatch(host):  # boto3 takes IPv6 addresses too
        return (
            f"boto3 does not accept the host name {host!r}: use one of letters, digits, hyphens "
            "and dots."
        )
    if host.endswith(_AWS_HOSTS):
        return _aws_endpoint_mistake(region, host)
    if host.startswith((f"{bucket}.s3.", f"{bucket}.s3-")):
        return without_bucket(address, host.removeprefix(f"{bucket}."))
    return ""


def _aws_endpoint_mistake(region: str, host: str) -> str:
    labels = host.removesuffix(".cn").removesuffix(".amazonaws.com").split(".")
    places = [place for place, label in enumerate(labels) if label.partition("-")[0] == "s3"]
    if not places:
        return ""
    before, service, after = labels[: places[-1]], labels[places[-1]], labels[places[-1] + 1 :]
    if service.startswith(("s3-website", "s3-control", "s3-accesspoint", "s3-object-lambda")):
        return f"{host} does not serve S3's objects. Leave the endpoint URL empty for AWS."
    if before and "vpce" not in after:  # an endpoint of a VPC does begin with "bucket."
        own = host.removeprefix(".".join(before) + ".")
        return (
            f"The endpoint has the bucket's name in it. Enter https://{own}, or leave the "
            "endpoint URL empty for AWS."
        )
    named = list(filter(_AWS_REGION.fullmatch, [*after, service.removeprefix("s3-")]))
    if region and named and named[0] != region:
        return (
            f"The endpoint is in {named[0]}, but the region is {region}. Correct one of them, or "
            "leave the endpoint URL empty for AWS."
        )
    return ""
