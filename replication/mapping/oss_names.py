"""Finds mistakes in the names of OSS buckets, and of their regions and endpoints. Pure.

oss2 takes every name that has no mistake, so that no name fails only when it is used.
"""

import re
from urllib.parse import SplitResult

from replication.mapping.place_names import (
    REGION,
    Mistakes,
    not_a_name,
    only_mistakes,
    split_url,
    without_bucket,
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST = re.compile(r"[A-Za-z0-9_.-]+")

# OSS's own endpoints, with what was entered before them. Acceleration endpoints have no region.
# https://help.aliyun.com/document_detail/31837.html
_OWN_ENDPOINT = re.compile(
    r"(?:(?P<before>.+)\.)?(?P<own>oss-(?:accelerate(?:-overseas)?|(?P<region>[a-z0-9-]+?)"
    r"(?:-internal)?)\.aliyuncs\.com)"
)
# The clouds for finance and government name their endpoints unlike their regions.
_OTHER_CLOUDS = re.compile(r"finance|gov|jbp")


def oss_mistakes(*, bucket: str, region: str, endpoint: str, is_virtual_host: bool) -> Mistakes:
    """The mistakes of a destination, by field. An empty value is none.

    Args:
        is_virtual_host: requests name the bucket in the host, before the endpoint.
    """
    address, of_endpoint = split_url(endpoint)
    of_addressing = ""
    if address is not None:
        of_endpoint = _host_mistake(address, bucket, is_virtual_host=is_virtual_host)
        of_endpoint = of_endpoint or _region_of_endpoint_mistake(endpoint, region)
        if not of_endpoint and not is_virtual_host:
            of_addressing = _addressing_mistake(address)
    return only_mistakes(
        {
            "bucket": _bucket_mistake(bucket) if bucket else "",
            "region": _region_mistake(region) if region else "",
            "endpoint": of_endpoint,
            "addressing": of_addressing,
        }
    )


def _bucket_mistake(bucket: str) -> str:
    if mistake := not_a_name(bucket):
        return mistake
    if not _BUCKET.fullmatch(bucket):
        return (
            "A bucket of OSS has a name of 3 to 63 lower-case letters, digits and hyphens, with a "
            f"letter or digit first and last; not {bucket!r}."
        )
    return ""


def _region_mistake(region: str) -> str:
    if region.startswith("oss-"):
        return f"Enter the region without 'oss-': {region.removeprefix('oss-')}."
    if not REGION.fullmatch(region):
        return f"A region looks like cn-hangzhou, in letters, digits and hyphens; not {region!r}."
    return ""


def _host_mistake(address: SplitResult, bucket: str, *, is_virtual_host: bool) -> str:
    host = address.hostname or ""
    if not _HOST.fullmatch(host):
        return f"oss2 does not accept {host!r} as a host: enter a host name or an IPv4 address."
    own = _OWN_ENDPOINT.fullmatch(host)
    if own and own["before"] == "s3":
        what = "This is OSS's endpoint for S3's protocol, which s3sync does not speak with OSS"
        return without_bucket(address, own["own"], what=what)
    if own and own["before"]:
        return without_bucket(address, own["own"])
    if is_virtual_host and host.startswith((f"{bucket}.oss.", f"{bucket}.oss-")):
        return without_bucket(address, host.removeprefix(f"{bucket}."))
    return ""


def _region_of_endpoint_mistake(endpoint: str, region: str) -> str:
    address, _ = split_url(endpoint)
    own = _OWN_ENDPOINT.fullmatch(address.hostname or "") if address else None
    named = (own["region"] if own else "") or ""
    if not region or named in {"", region} or _OTHER_CLOUDS.search(named):
        return ""
    return (
        f"The endpoint is in {named}, but the destination's region is set to {region}: a V4 "
        f"signature is valid in one region only. Set the region to {named}, or enter the endpoint "
        f"of {region}."
    )


def _addressing_mistake(address: SplitResult) -> str:
    host = address.hostname or ""
    if not _OWN_ENDPOINT.fullmatch(host):
        return ""
    return (
        f"{host} is an address of OSS itself: choose 'virtual_host'. Or enter the custom domain "
        "that is bound to the bucket as the endpoint."
    )
