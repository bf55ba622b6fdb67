"""The closed vocabulary of what can go wrong, each with what to do about it.

Errors are classified by what they make us do, not by where they came from. Nothing is
classified by the text of a message.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Disposition(Enum):
    """What an error makes the engine do."""

    RETRY = "retry"  # try again after a backoff, until the attempts are used up
    SLOW_DOWN = "slow down"  # as retry, and the other side asked for fewer requests
    PERSON = "needs a person"  # no retry can help until somebody changes a setting
    PERMANENT = "permanent"  # this object can't be copied as it is


class ErrorCode(StrEnum):
    """Why a try of a job was unsuccessful. The values are stored: never rename one."""

    SOURCE_ACCESS_DENIED = "source_access_denied"
    SOURCE_BUCKET_MISSING = "source_bucket_missing"
    SOURCE_CREDENTIALS = "source_credentials"
    SOURCE_WRONG_REGION = "source_wrong_region"
    SOURCE_KMS = "source_kms"
    SOURCE_CUSTOMER_KEY = "source_customer_key"
    SOURCE_CLOCK = "source_clock"
    SOURCE_ARCHIVED = "source_archived"
    SOURCE_RESTORING = "source_restoring"
    SOURCE_REDIRECTED = "source_redirected"
    SOURCE_LENGTH_UNKNOWN = "source_length_unknown"
    SOURCE_CHANGED = "source_changed"
    SOURCE_TRUNCATED = "source_truncated"
    SOURCE_CORRUPT = "source_corrupt"
    SOURCE_THROTTLED = "source_throttled"
    SOURCE_UNAVAILABLE = "source_unavailable"
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_REFUSED = "source_refused"
    SOURCE_RANGE_IGNORED = "source_range_ignored"
    SOURCE_UNSUPPORTED = "source_unsupported"
    SOURCE_ADDRESS_REFUSED = "source_address_refused"

    DESTINATION_ACCESS_DENIED = "destination_access_denied"
    DESTINATION_BUCKET_MISSING = "destination_bucket_missing"
    DESTINATION_CREDENTIALS = "destination_credentials"
    DESTINATION_ENDPOINT = "destination_endpoint"
    DESTINATION_KMS = "destination_kms"
    DESTINATION_CLOCK = "destination_clock"
    DESTINATION_THROTTLED = "destination_throttled"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    DESTINATION_UNREACHABLE = "destination_unreachable"
    DESTINATION_REFUSED = "destination_refused"
    DESTINATION_ARCHIVED = "destination_archived"
    UPLOAD_GONE = "upload_gone"

    KEY_INCOMPATIBLE = "key_incompatible"
    METADATA_INCOMPATIBLE = "metadata_incompatible"
    OBJECT_TOO_LARGE = "object_too_large"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    CREDENTIAL_PROFILE = "credential_profile"
    LEASE_EXPIRED = "lease_expired"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Meaning:
    """What an operator reads about a code."""

    disposition: Disposition
    cause: str
    hint: str


_RETRY, _SLOW, _PERSON, _PERMANENT = (
    Disposition.RETRY,
    Disposition.SLOW_DOWN,
    Disposition.PERSON,
    Disposition.PERMANENT,
)

MEANINGS: dict[ErrorCode, Meaning] = {
    ErrorCode.SOURCE_ACCESS_DENIED: Meaning(
        _PERSON,
        "S3 refuses to let us read the object.",
        "Grant s3:GetObject (and s3:GetObjectVersion in a versioned bucket) on the objects and "
        "s3:ListBucket on the bucket to the source's credential profile; s3:GetObjectTagging and "
        "s3:GetObjectVersionTagging where tags are copied, s3:RestoreObject where archived "
        "objects are restored. Without s3:ListBucket, S3 answers 403 for a missing object "
        "too, and a 403 is never taken for a delete. If the object is encrypted with a KMS key, "
        "grant kms:Decrypt on that key: S3 answers the same for it.",
    ),
    ErrorCode.SOURCE_BUCKET_MISSING: Meaning(
        _PERSON,
        "The source bucket does not exist.",
        "Check the source's bucket name and endpoint; then retry.",
    ),
    ErrorCode.SOURCE_CREDENTIALS: Meaning(
        _PERSON,
        "S3 does not accept our credentials, or there are none.",
        "Check the access key, secret or role behind the source's credential profile; then retry.",
    ),
    ErrorCode.SOURCE_CLOCK: Meaning(
        _RETRY,
        "S3 refuses the request because our clock is off by more than 15 minutes.",
        "Correct the clock of this host (chrony or ntpd). Jobs go on by themselves after that.",
    ),
    ErrorCode.SOURCE_WRONG_REGION: Meaning(
        _PERSON,
        "The source bucket is in another region.",
        "Set the source's region to that of the bucket; then retry.",
    ),
    ErrorCode.SOURCE_KMS: Meaning(
        _PERSON,
        "The object is encrypted with a KMS key that we may not use.",
        "Grant kms:Decrypt on the key to the source's credential profile; then retry.",
    ),
    ErrorCode.SOURCE_CUSTOMER_KEY: Meaning(
        _PERMANENT,
        "The object is encrypted with a key that only its owner has (SSE-C).",
        "S3 can't decrypt it for us. Store it with SSE-S3 or SSE-KMS to replicate it.",
    ),
    ErrorCode.SOURCE_ARCHIVED: Meaning(
        _PERMANENT,
        "The object is archived (GLACIER or DEEP_ARCHIVE): restore first.",
        "Restore it in S3; then retry. Or let the rule restore what is archived.",
    ),
    ErrorCode.SOURCE_RESTORING: Meaning(
        _RETRY,
        "The object is archived, and S3 is restoring it.",
        "Nothing to do: it is copied as soon as S3 announces it (s3:ObjectRestore:Completed), and "
        "else when the job is due. S3 takes up to 12 hours, from DEEP_ARCHIVE up to 48.",
    ),
    ErrorCode.SOURCE_REDIRECTED: Meaning(
        _PERSON,
        "The source redirects to another address.",
        "Only configured addresses are contacted. Point the source's endpoint at the final one.",
    ),
    ErrorCode.SOURCE_LENGTH_UNKNOWN: Meaning(
        _PERMANENT,
        "The source does not say how long the object is.",
        "Have the web server send Content-Length for this object: "
        "no chunked, no compressed answer.",
    ),
    ErrorCode.SOURCE_CHANGED: Meaning(
        _RETRY,
        "The object changed while it was being read.",
        "Nothing to do: the next try copies the new one.",
    ),
    ErrorCode.SOURCE_TRUNCATED: Meaning(
        _RETRY,
        "The source closed the connection before the object's last byte.",
        "Retried by itself. If it persists, look at the network between here and the source.",
    ),
    ErrorCode.SOURCE_CORRUPT: Meaning(
        _RETRY,
        "What was read does not match the checksum that the source gives.",
        "Retried by itself. If it persists, a proxy on the way alters the bytes.",
    ),
    ErrorCode.SOURCE_THROTTLED: Meaning(
        _SLOW,
        "The source asks for fewer requests.",
        "Retried by itself, more slowly.",
    ),
    ErrorCode.SOURCE_UNAVAILABLE: Meaning(
        _RETRY,
        "The source answers with an error of its own (5xx).",
        "Retried by itself. If it persists, look at the provider's health page.",
    ),
    ErrorCode.SOURCE_UNREACHABLE: Meaning(
        _RETRY,
        "The source can't be reached, or went silent.",
        "Retried by itself. If it persists, check the source's endpoint, DNS and the firewall.",
    ),
    ErrorCode.SOURCE_REFUSED: Meaning(
        _PERMANENT,
        "The source refuses the request for this object.",
        "The detail has its answer. If the object can be read elsewhere, report this as a bug.",
    ),
    ErrorCode.SOURCE_RANGE_IGNORED: Meaning(
        _PERMANENT,
        "The source sends the whole object where a part of it was asked for.",
        "Large objects are read part by part. Have the web server honour Range requests, or not "
        "announce them (Accept-Ranges).",
    ),
    ErrorCode.SOURCE_UNSUPPORTED: Meaning(
        _PERMANENT,
        "This kind of source can't do what was asked.",
        "The detail says what was asked. Only S3 can describe, tag or restore an object; only "
        "what has a strong ETag and accepts ranges can be read in parts.",
    ),
    ErrorCode.SOURCE_ADDRESS_REFUSED: Meaning(
        _PERSON,
        "The web server's name leads to an address that is not public.",
        "If it is meant to be one of your own network, name that network in "
        "S3SYNC_HTTP_PRIVATE_NETWORKS and restart; if not, look at the source's endpoint and "
        "at who answers for its name in the DNS.",
    ),
    ErrorCode.DESTINATION_ACCESS_DENIED: Meaning(
        _PERSON,
        "OSS refuses to let us write, read or delete the object.",
        "Grant oss:PutObject, oss:AbortMultipartUpload and oss:ListParts on the bucket's objects "
        "to the destination's credential profile; oss:DeleteObject where deletes are mirrored, "
        "oss:PutObjectTagging and oss:PutObjectAcl where the rule sets tags or an ACL, "
        "oss:GetObject where replicas are compared; then retry.",
    ),
    ErrorCode.DESTINATION_BUCKET_MISSING: Meaning(
        _PERSON,
        "The destination bucket does not exist.",
        "Create it, or correct the destination's bucket name and endpoint; then retry.",
    ),
    ErrorCode.DESTINATION_CREDENTIALS: Meaning(
        _PERSON,
        "OSS does not accept our credentials: the access key id or its secret is wrong.",
        "Put the right AccessKey behind the destination's credential profile; then retry.",
    ),
    ErrorCode.DESTINATION_ENDPOINT: Meaning(
        _PERSON,
        "The destination's endpoint or region is not the bucket's.",
        "Set the endpoint and region that the OSS console shows for the bucket; buckets that "
        "demand a custom domain need that as the endpoint, with addressing 'custom domain'.",
    ),
    ErrorCode.DESTINATION_KMS: Meaning(
        _PERSON,
        "OSS can't encrypt as the rule or the bucket says, or can't use the KMS key for it.",
        "Enable KMS and the key, grant its use to the destination's credential profile, or "
        "correct the encryption method or key id; then retry.",
    ),
    ErrorCode.DESTINATION_CLOCK: Meaning(
        _RETRY,
        "OSS refuses the request because our clock is off by more than 15 minutes.",
        "Correct the clock of this host (chrony or ntpd). Jobs go on by themselves after that.",
    ),
    ErrorCode.DESTINATION_THROTTLED: Meaning(
        _SLOW,
        "OSS asks for fewer requests or less traffic.",
        "Retried by itself, more slowly. If it persists, ask Alibaba Cloud for a higher limit.",
    ),
    ErrorCode.DESTINATION_UNAVAILABLE: Meaning(
        _RETRY,
        "OSS answers with an error of its own (5xx).",
        "Retried by itself. If it persists, look at Alibaba Cloud's health page.",
    ),
    ErrorCode.DESTINATION_UNREACHABLE: Meaning(
        _RETRY,
        "OSS can't be reached, or went silent.",
        "Retried by itself. If it persists, check the destination's endpoint, "
        "DNS and the firewall.",
    ),
    ErrorCode.DESTINATION_REFUSED: Meaning(
        _PERMANENT,
        "OSS refuses this object.",
        "The detail has its answer and the EC code to look up in OSS's documentation.",
    ),
    ErrorCode.DESTINATION_ARCHIVED: Meaning(
        _PERMANENT,
        "The replica is in an archive storage class and can't be read back.",
        "Restore it in OSS to have it verified byte by byte.",
    ),
    ErrorCode.UPLOAD_GONE: Meaning(
        _RETRY,
        "The multipart upload is not there any more, or lacks a part that was written.",
        "Retried by itself from the first byte. If it persists, look for a lifecycle rule of the "
        "bucket that aborts uploads early.",
    ),
    ErrorCode.KEY_INCOMPATIBLE: Meaning(
        _PERMANENT,
        "OSS can't have an object of this name.",
        "Rename the object in S3, give the rule a destination prefix that makes the name valid, or "
        "let the rule leave such objects out or rewrite their keys (“What OSS can't have”); then "
        "retry.",
    ),
    ErrorCode.METADATA_INCOMPATIBLE: Meaning(
        _PERMANENT,
        "OSS can't keep a metadata field or a tag of this object.",
        "The detail names it. Change it in S3, or let the rule copy without it or rewrite it "
        "(“What OSS can't have”); then retry.",
    ),
    ErrorCode.OBJECT_TOO_LARGE: Meaning(
        _PERMANENT,
        "The object is larger than what can be copied: 48.8 TB in parts, 5 GB in one piece.",
        "A source that can't be read in parts (a web server without byte ranges or a strong ETag) "
        "is copied in one piece. Have it answer ranges, or copy the object by another tool.",
    ),
    ErrorCode.CHECKSUM_MISMATCH: Meaning(
        _RETRY,
        "The checksum of what OSS stored is not that of what was read.",
        "Retried by itself, and never settled as a success. "
        "If it persists, suspect memory or a proxy.",
    ),
    ErrorCode.CREDENTIAL_PROFILE: Meaning(
        _PERSON,
        "The credential profile that is named here has no credentials.",
        "Define it as docs/guides/credentials.md describes, or correct its name; then retry.",
    ),
    ErrorCode.LEASE_EXPIRED: Meaning(
        _RETRY,
        "The lane that worked on this job died or lost the database.",
        "Retried by itself. If it persists, look at the cluster's log and memory.",
    ),
    ErrorCode.UNEXPECTED: Meaning(
        _RETRY,
        "Something happened that s3sync does not know.",
        "Retried by itself until the attempts are used up. The detail and the log have the error; "
        "please report it.",
    ),
}


class ReplicationError(Exception):
    """An unsuccessful try of a job, with a code of the vocabulary.

    Args:
        code: what happened.
        detail: what the other side said, for the operator. Never a secret.
        request_id: the other side's id of the refused request.
        retry_after_seconds: the other side's own hint.
        may_still_land: a write was sent, and no answer says what became of it: the other side
            may carry it out yet, even after a later write.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str = "",
        *,
        request_id: str = "",
        retry_after_seconds: float = 0,
        may_still_land: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = code
        # What a store answered, made fit for PostgreSQL: no NUL, no lone surrogate.
        self.detail = detail.replace("\0", "␀").encode(errors="replace").decode()
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.may_still_land = may_still_land

    @property
    def disposition(self) -> Disposition:
        return MEANINGS[self.code].disposition


class ObjectMissing(Exception):
    """The source says, cleanly, that it has no such object: its 404, never a 403 or a timeout."""

    def __init__(self, *, request_id: str = "") -> None:
        super().__init__("the source has no such object")
        self.request_id = request_id


class TransferStopped(Exception):
    """Stop the transfer and write nothing; it was not the transfer's fault."""


class LeaseLost(TransferStopped):
    """The job is not ours any more."""


class HandOver(TransferStopped):
    """The cluster is being stopped: another shall do the job."""
