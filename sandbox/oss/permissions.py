"""Checks permissions: ACLs for anonymous requests, and denials by access key, bucket and action."""

from dataclasses import dataclass

from sandbox.oss.errors import OssError
from sandbox.oss.state import Store

NO_RIGHT_EC = "0003-00000001"

_READS = frozenset({"GetObject", "HeadObject", "GetObjectMeta"})
_WRITES = frozenset({"PutObject", "AppendObject", "DeleteObject", "CopyObject"})

# The RAM actions of the operations whose action has another name.
_ACTIONS = {
    "AppendObject": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "DeleteMultipleObjects": "DeleteObject",
    "GetObjectACL": "GetObjectAcl",
    "GetObjectMeta": "GetObject",
    "HeadObject": "GetObject",
    "InitiateMultipartUpload": "PutObject",
    "ListObjectsV2": "ListObjects",
    "PutObjectACL": "PutObjectAcl",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A policy's Deny: RAM `actions` (`oss:PutObject`, `oss:*`) on a bucket's keys with a prefix.

    Without `key_id` it applies to every access key, without `bucket` to every bucket.
    """

    key_id: str | None = None
    bucket: str | None = None
    key_prefix: str = ""
    actions: tuple[str, ...] = ("oss:*",)

    def covers(self, *, key_id: str | None, bucket: str, key: str, action: str) -> bool:
        """Whether the denial forbids this action."""
        return (
            (self.key_id is None or self.key_id == key_id)
            and (self.bucket is None or self.bucket == bucket)
            and key.startswith(self.key_prefix)
            and ("oss:*" in self.actions or action in self.actions)
        )


def check(
    denials: list[Denial],
    store: Store,
    *,
    key_id: str | None,
    bucket: str,
    key: str,
    operation: str,
    headers: dict[str, str],
) -> None:
    """Raises AccessDenied. A header with tags or an ACL needs the permission for these as well."""
    if key_id is None:
        _check_anonymous(store, bucket=bucket, key=key, operation=operation)
    if not denials:
        return
    actions = [f"oss:{_ACTIONS.get(operation, operation)}"]
    if "x-oss-tagging" in headers:
        actions.append("oss:PutObjectTagging")
    if "x-oss-object-acl" in headers:
        actions.append("oss:PutObjectAcl")
    for action in actions:
        if any(
            denial.covers(key_id=key_id, bucket=bucket, key=key, action=action)
            for denial in denials
        ):
            raise OssError(
                "AccessDenied",
                "You have no right to access this object because of bucket acl or policy.",
                ec=NO_RIGHT_EC,
                AuthAction=action,
                PolicyType="AccountLevelIdentityBasedPolicy",
                AccessDeniedType="ExplicitDeny",
            )


def _check_anonymous(store: Store, *, bucket: str, key: str, operation: str) -> None:
    if key and operation in _READS | _WRITES:
        held = store.bucket(bucket)
        stored = held.objects.get(key)
        acl = held.acl
        if stored is not None and stored.attributes.acl != "default":
            acl = stored.attributes.acl
        if acl == "public-read-write" or (acl == "public-read" and operation in _READS):
            return
        raise OssError(
            "AccessDenied",
            "You have no right to access this object because of bucket acl.",
            ec=NO_RIGHT_EC,
        )
    raise OssError(
        "AccessDenied", "Anonymous access is forbidden for this operation.", ec="0003-00001201"
    )
