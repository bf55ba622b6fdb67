"""What a credential profile may be used with, as the place says where its secret comes from.

Whoever edits places in the admin pairs profiles with endpoints and buckets. Without a limit, they
could send a signature, a session token and whole objects to a server of their own.

A profile may be used with the endpoints that its value `endpoints` names. Without that value, these
are AWS's and Alibaba Cloud's own, and those in S3SYNC_TRUSTED_ENDPOINTS. Its value `buckets` limits
its buckets. Both stand beside the secret, where nobody who edits places can write. The check comes
before anything is signed.
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings

from replication.errors import ErrorCode, ReplicationError
from replication.stores.credentials import find_profile_value, locations

# In lists: the endpoints that only AWS or Alibaba Cloud can run, and all endpoints.
PROVIDER = "provider"
EVERYTHING = "*"

_SERVER = re.compile(r"https?://[^/?#@\\\s]+/?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-\d"
_AWS = r"(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)"
_VPC = r"(?:[a-z0-9-]+\.)?vpce-[a-z0-9-]+\."


class Service(Enum):
    """What a place speaks, with the hosts that only its provider can run.

    Not all of the provider's domains: API Gateway and function services have hosts in them that
    customers run.
    """

    S3 = (
        rf"(?:{_VPC})?s3(?:-fips|-accelerate|express-[a-z0-9-]+|-{_REGION})?(?:\.dualstack)?"
        rf"(?:\.{_REGION})?(?:\.vpce)?\.{_AWS}"
    )
    SQS = rf"(?:(?:{_VPC})?sqs(?:-fips)?\.{_REGION}(?:\.vpce)?|(?:{_REGION}\.)?queue)\.{_AWS}"
    OSS = r"(?:vpc100-)?oss-[a-z0-9-]+\.aliyuncs\.com|[a-z0-9-]+\.oss\.aliyuncs\.com"

    @property
    def refusal(self) -> ErrorCode:
        """The code of a job that would need what the profile may not be used with."""
        is_oss = self is Service.OSS
        return ErrorCode.DESTINATION_PROFILE_REFUSED if is_oss else ErrorCode.SOURCE_PROFILE_REFUSED


def check_use(profile: str, service: Service, *, endpoint: str, bucket: str = "") -> None:
    """Check that the profile may be used with an endpoint, and a bucket if there is one.

    Args:
        endpoint: its URL; empty for the one that boto3 chooses.

    Raises:
        ReplicationError: SOURCE_PROFILE_REFUSED or DESTINATION_PROFILE_REFUSED.
    """
    endpoints = find_profile_value(profile, "endpoints")
    trusted = tuple(settings.S3SYNC.trusted_endpoints)
    if not _may_use_endpoint(service, endpoint, endpoints, trusted):
        lists = locations(profile, "endpoints")
        if endpoints is None:
            lists.append("S3SYNC_TRUSTED_ENDPOINTS")
        raise _refusal(profile, service, f"endpoint {endpoint or 'that boto3 chooses'}", lists)
    buckets = find_profile_value(profile, "buckets")
    if bucket and buckets is not None and not _is_named(bucket, _items(buckets)):
        raise _refusal(profile, service, f"bucket {bucket}", locations(profile, "buckets"))


def _refusal(profile: str, service: Service, what: str, lists: list[str]) -> ReplicationError:
    return ReplicationError(
        service.refusal,
        f"profile {profile!r} may not be used with the {what}: it is not in " + " or ".join(lists),
    )


@lru_cache(maxsize=512)
def _may_use_endpoint(
    service: Service, endpoint: str, endpoints: str | None, trusted: tuple[str, ...]
) -> bool:
    """
    Args:
        endpoints: the profile's own list; without one, the provider's endpoints and `trusted`.
    """
    named = [*trusted, PROVIDER] if endpoints is None else _items(endpoints)
    if endpoint and not _SERVER.fullmatch(endpoint):
        return False  # a path would lead to another bucket than the one that is checked
    if EVERYTHING in named or not endpoint:
        return EVERYTHING in named or PROVIDER in named
    try:
        address = urlsplit(endpoint)
        host, port = address.hostname or "", address.port
    except ValueError:
        return False
    if PROVIDER in named and re.fullmatch(service.value, host):
        return True
    host = f"[{host}]" if ":" in host else host
    url = f"{address.scheme}://{host}:{port or _DEFAULT_PORTS.get(address.scheme)}"
    return any(_url_regex(_as_url(item)).fullmatch(url) for item in named)


def _items(value: str) -> list[str]:
    """The items of a list, by white space or commas."""
    return value.replace(",", " ").split()


def _as_url(item: str) -> str:
    """The item with its scheme and port. A host alone stands for https."""
    url = (item if "://" in item else f"https://{item}").lower().rstrip("/")
    has_port = re.search(r":([0-9]+|\*)$", url)
    return url if has_port else f"{url}:{_DEFAULT_PORTS.get(url.partition('://')[0])}"


def _url_regex(pattern: str) -> re.Pattern[str]:
    """A star stands for any part of a name or a port. After the last dot it stands for no dot:
    nobody who lists 10.0.0.* means 10.0.0.1.example.com."""
    beginning, dot, last = pattern.rpartition(".")
    return re.compile(_with_stars(beginning + dot, "[^/:]*") + _with_stars(last, "[^/:.]*"))


def _is_named(bucket: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(_with_stars(pattern, ".*"), bucket) for pattern in patterns)


def _with_stars(pattern: str, star: str) -> str:
    return re.escape(pattern).replace(r"\*", star)
