"""Finds the bucket, the key and the name of the OSS operation of a request."""

from collections.abc import Container
from urllib.parse import unquote_to_bytes

from sandbox.oss import names
from sandbox.oss.errors import OssError
from sandbox.oss.http import RequestHead
from sandbox.oss.signatures import V1_SUBRESOURCES

# No bucket can have this name, so `/-/…` is free for the control API.
CONTROL_BUCKET = "-"
# The first label of a host with one of these suffixes is a bucket, unless it is `oss` or `oss-…`.
ENDPOINT_SUFFIXES = (".localhost", ".aliyuncs.com")

# Signed parameters that are arguments of an operation and don't name one.
_REFINING = frozenset({"security-token", "continuation-token", "partNumber", "position"})

_OBJECT_OPERATIONS = {
    ("GET", "acl"): "GetObjectACL",
    ("GET", "tagging"): "GetObjectTagging",
    ("GET", "uploadId"): "ListParts",
    ("GET", "objectMeta"): "GetObjectMeta",
    ("GET", ""): "GetObject",
    ("HEAD", "objectMeta"): "GetObjectMeta",
    ("HEAD", ""): "HeadObject",
    ("PUT", "acl"): "PutObjectACL",
    ("PUT", "tagging"): "PutObjectTagging",
    ("PUT", "uploadId"): "UploadPart",
    ("PUT", ""): "PutObject",
    ("POST", "uploads"): "InitiateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "append"): "AppendObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("DELETE", "tagging"): "DeleteObjectTagging",
    ("DELETE", ""): "DeleteObject",
}
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_BUCKET_OPERATIONS = {
    ("GET", "acl"): "GetBucketAcl",
    ("GET", "bucketInfo"): "GetBucketInfo",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "stat"): "GetBucketStat",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "versions"): "ListObjectVersions",
    ("GET", ""): "ListObjects",
    ("PUT", "acl"): "PutBucketAcl",
    ("PUT", ""): "PutBucket",
    ("POST", "delete"): "DeleteMultipleObjects",
    ("DELETE", ""): "DeleteBucket",
}


def bucket_and_key(head: RequestHead, buckets: Container[str]) -> tuple[str, bytes]:
    """The (bucket, raw key) in virtual-host or path style; both are empty for the service."""
    host = head.headers.get("host", "").rpartition("@")[2]
    host = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    path = head.raw_path[1:].encode("utf-8", "surrogateescape")
    if b"%" in path:
        path = unquote_to_bytes(path)
    bucket, dot, rest = host.partition(".")
    if dot and not names.is_ip_address(host):
        is_endpoint = bucket == "oss" or bucket.startswith("oss-")
        is_below_endpoint = f".{rest}".endswith(ENDPOINT_SUFFIXES)
        if bucket in buckets or (is_below_endpoint and not is_endpoint):
            return bucket, path
    raw_bucket, _, raw_key = path.partition(b"/")
    return raw_bucket.decode("utf-8", "replace"), raw_key


def operation(head: RequestHead, *, bucket: str, key: str) -> str:
    """The name of the request's operation.

    Raises NotImplemented for an operation that the stand-in lacks, MethodNotAllowed for a method
    that the resource doesn't have, and InvalidArgument for a version id.
    """
    method, query = head.method, head.query
    check_version(query.get("versionId"))
    if not bucket:
        if method != "GET":
            raise OssError("MethodNotAllowed", Method=method, ResourceType="SERVICE")
        return "ListBuckets"
    known = _OBJECT_OPERATIONS if key else _BUCKET_OPERATIONS
    subresources = [name for name in query if _names_operation(name)]
    for name in subresources:
        found = known.get((method, name))
        if found is not None:
            return _COPIES.get(found, found) if "x-oss-copy-source" in head.headers else found
    # As OSS does, ignore a parameter of another operation on a plain read of an object.
    if subresources and not (key and method in ("GET", "HEAD")):
        raise OssError("NotImplemented", f"The stand-in lacks {method} ?{subresources[0]}.")
    found = known.get((method, ""))
    if found is None:
        kind = "OBJECT" if key else "BUCKET"
        raise OssError("MethodNotAllowed", Method=method, ResourceType=kind)
    if found == "ListObjects" and query.get("list-type") == "2":
        return "ListObjectsV2"
    return _COPIES.get(found, found) if "x-oss-copy-source" in head.headers else found


def check_version(version_id: str | None) -> None:
    """Raises InvalidArgument for a version other than `null`: versioning is not enabled."""
    if version_id not in (None, "null"):
        raise OssError(
            "InvalidArgument",
            "Versioning is not enabled for this bucket.",
            ec="0012-00000301" if version_id else "0012-00000201",
            ArgumentName="versionId",
            ArgumentValue=str(version_id),
        )


def _names_operation(name: str) -> bool:
    return (
        name in V1_SUBRESOURCES
        and name not in _REFINING
        and not name.startswith(("response-", "x-oss-ac-", "callback"))
        and name not in ("x-oss-request-payer", "x-oss-traffic-limit", "versionId")
    )
