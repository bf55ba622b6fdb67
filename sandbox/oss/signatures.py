"""OSS's signatures of a request, V1 and V4: the strings to sign and their digests.

Written from the protocol's description, not from a client library's source, so that a client and
the stand-in do not share mistakes.
"""

import base64
import hmac
from functools import lru_cache
from urllib.parse import quote

from sandbox.oss.http import RequestHead

V4 = "OSS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

# The query parameters that belong to V1's CanonicalizedResource.
V1_SUBRESOURCES = frozenset(
    {
        "accessPoint",
        "accessPointPolicy",
        "acl",
        "append",
        "asyncFetch",
        "bucketArchiveDirectRead",
        "bucketInfo",
        "callback",
        "callback-var",
        "cname",
        "comp",
        "continuation-token",
        "cors",
        "delete",
        "encryption",
        "endTime",
        "group",
        "httpsConfig",
        "inventory",
        "inventoryId",
        "lifecycle",
        "link",
        "live",
        "location",
        "logging",
        "metaQuery",
        "objectInfo",
        "objectMeta",
        "partNumber",
        "policy",
        "position",
        "publicAccessBlock",
        "qos",
        "qosInfo",
        "qosRequester",
        "redundancyTransition",
        "referer",
        "regionList",
        "replication",
        "replicationLocation",
        "replicationProgress",
        "requestPayment",
        "requesterQosInfo",
        "resourceGroup",
        "resourcePool",
        "resourcePoolBuckets",
        "resourcePoolInfo",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "security-token",
        "sequential",
        "startTime",
        "stat",
        "status",
        "style",
        "styleName",
        "symlink",
        "tagging",
        "transferAcceleration",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "vod",
        "website",
        "worm",
        "wormExtend",
        "wormId",
        "x-oss-ac-forward-allow",
        "x-oss-ac-source-ip",
        "x-oss-ac-subnet-mask",
        "x-oss-ac-vpc-id",
        "x-oss-access-point-name",
        "x-oss-async-process",
        "x-oss-process",
        "x-oss-redundancy-transition-taskid",
        "x-oss-request-payer",
        "x-oss-target-redundancy-type",
        "x-oss-traffic-limit",
        "x-oss-write-get-object-response",
    }
)


def v1_string_to_sign(head: RequestHead, date: str, *, bucket: str, key: str) -> str:
    """V1's string to sign; `date` is the request's Date, x-oss-date or Expires."""
    headers = head.headers
    oss_headers = "".join(
        f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-oss-")
    )
    resource = f"/{bucket}/{key}" if bucket else "/"
    parameters = "&".join(
        f"{name}={head.query[name]}" if head.query[name] else name
        for name in sorted(head.query)
        if name in V1_SUBRESOURCES
    )
    if parameters:
        resource = f"{resource}?{parameters}"
    md5, kind = headers.get("content-md5", ""), headers.get("content-type", "")
    return f"{head.method}\n{md5}\n{kind}\n{date}\n{oss_headers}{resource}"


def canonical_request(head: RequestHead, additional: str, *, bucket: str, key: str) -> str:
    """V4's canonical request; `additional` has the names of more signed headers, joined by `;`."""
    more = sorted(name.strip().lower() for name in additional.split(";") if name.strip())
    signed = {"content-md5", "content-type", *more}
    headers = "".join(
        f"{name}:{value}\n"
        for name, value in sorted(head.headers.items())
        if name in signed or name.startswith("x-oss-")
    )
    query = "&".join(
        f"{name}={value}" if value else name
        for name, value in sorted(
            (_encode(name), _encode(value))
            for name, value in head.query.items()
            if name != "x-oss-signature"
        )
    )
    path = _encode(f"/{bucket}/{key}" if bucket else "/", safe="/")
    payload = head.headers.get("x-oss-content-sha256", UNSIGNED_PAYLOAD)
    return f"{head.method}\n{path}\n{query}\n{headers}\n{';'.join(more)}\n{payload}"


def v1_signature(string_to_sign: str, secret: str) -> str:
    """Base64 of HMAC-SHA1."""
    digest = hmac.digest(secret.encode(), exact_bytes(string_to_sign), "sha1")
    return base64.b64encode(digest).decode()


def v4_signature(string_to_sign: str, scope: str, secret: str) -> str:
    """Hexadecimal HMAC-SHA256 with the key derived for the scope."""
    return hmac.digest(_signing_key(secret, scope), exact_bytes(string_to_sign), "sha256").hex()


@lru_cache(maxsize=64)
def _signing_key(secret: str, scope: str) -> bytes:
    derived = f"aliyun_v4{secret}".encode()
    for part in scope.split("/"):
        derived = hmac.digest(derived, part.encode(), "sha256")
    return derived


def _encode(text: str, safe: str = "") -> str:
    return quote(exact_bytes(text), safe=safe)


def exact_bytes(text: str) -> bytes:
    """The bytes that a header or parameter had on the wire."""
    return text.encode("utf-8", "surrogateescape")
