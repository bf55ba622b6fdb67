"""The closed list of error codes: each has a cause, a hint, a scope and the reaction of the engine.

Errors are classified by the reaction they need, not by where they came from, and never by the
text of a message.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Disposition(Enum):
    """How the engine reacts to an error."""

    RETRY = "retry"  # the fault ends by itself: retry after a backoff, for as long as it lasts
    SLOW_DOWN = "slow down"  # like RETRY; the other side asked for fewer requests
    BOUNDED = "bounded"  # the cause is unknown: retry after a backoff, until the tries are used up
    PERSON = "needs a person"  # no retry can help until a person changes a setting
    PERMANENT = "permanent"  # this object can't be copied as it is


class Scope(Enum):
    """What an error may concern at most. jobs/circuits.py stops that, and nothing beside it.

    The code's prefix says which side: the rule's source or its destination.
    """

    OBJECT = "object"  # this object alone, whatever happens to others
    RULE = "rule"  # what one rule does: rights on its objects, the keys that encrypt them
    BUCKET = "bucket"  # all rules that use this bucket
    ENDPOINT = "endpoint"  # all buckets behind this address
    PROFILE = "profile"  # a credential profile as this host has it; other hosts go on


class ErrorCode(StrEnum):
    """Why an attempt at a job failed. The values are stored: never rename one."""

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
    SOURCE_INCONSISTENT = "source_inconsistent"
    SOURCE_NOT_S3 = "source_not_s3"
    SOURCE_TLS = "source_tls"
    SOURCE_TOO_SLOW = "source_too_slow"
    SOURCE_ACCOUNT = "source_account"
    SOURCE_REQUESTER_PAYS = "source_requester_pays"
    SOURCE_INVALID_REQUEST = "source_invalid_request"
    SOURCE_PROFILE_REFUSED = "source_profile_refused"
    SOURCE_TOKEN_SERVICE = "source_token_service"  # noqa: S105  a code

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
    DESTINATION_ADDRESS_REFUSED = "destination_address_refused"
    DESTINATION_ARCHIVED = "destination_archived"
    DESTINATION_NOT_OSS = "destination_not_oss"
    DESTINATION_TLS = "destination_tls"
    DESTINATION_TOO_SLOW = "destination_too_slow"
    DESTINATION_ACCOUNT = "destination_account"
    DESTINATION_PUBLIC_ACCESS = "destination_public_access"
    DESTINATION_PROFILE_REFUSED = "destination_profile_refused"
    DESTINATION_TOKEN_SERVICE = "destination_token_service"  # noqa: S105  a code
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
    """The reaction to an error code, and the texts that operators read."""

    disposition: Disposition
    scope: Scope
    cause: str
    hint: str

    @property
    def ends_the_job(self) -> bool:
        """Whether the job fails at once, unless a circuit is open: no retry of it alone can help.

        What concerns a bucket, an endpoint or a profile can help all its jobs when it is mended, so
        they wait.
        """
        return self.disposition is Disposition.PERMANENT or (
            self.disposition is Disposition.PERSON and self.scope in {Scope.OBJECT, Scope.RULE}
        )


_RETRY, _SLOW, _BOUNDED, _PERSON, _PERMANENT = (
    Disposition.RETRY,
    Disposition.SLOW_DOWN,
    Disposition.BOUNDED,
    Disposition.PERSON,
    Disposition.PERMANENT,
)
_OBJECT, _RULE, _BUCKET, _ENDPOINT, _PROFILE = Scope

MEANINGS: dict[ErrorCode, Meaning] = {
    ErrorCode.SOURCE_ACCESS_DENIED: Meaning(
        _PERSON,
        _RULE,
        "The source denies read access to the object.",
        "Grant s3:GetObject (and s3:GetObjectVersion in a versioned bucket) on the objects and "
        "s3:ListBucket on the bucket to the source's credential profile; also s3:GetObjectTagging "
        "and s3:GetObjectVersionTagging if tags are copied, and s3:RestoreObject if the rule "
        "restores archived objects. If the object is encrypted with a KMS key, grant kms:Decrypt "
        "on that key: S3 gives the same answer when that grant is missing. If the bucket "
        "belongs to another account and makes the requester pay, set 'requester pays' on the "
        "source: S3 gives the same answer without it. Without s3:ListBucket, S3 also answers 403 "
        "for a missing object, and s3sync never treats a 403 as a delete. If the source is a web "
        "server, let it serve the object without a login. Then retry.",
    ),
    ErrorCode.SOURCE_BUCKET_MISSING: Meaning(
        _PERSON,
        _BUCKET,
        "The source bucket does not exist, or its name is not valid.",
        "Check the source's bucket name and endpoint URL; then retry.",
    ),
    ErrorCode.SOURCE_CREDENTIALS: Meaning(
        _PERSON,
        _PROFILE,
        "S3 rejects the source's credentials, or there are none.",
        "Check the access key, its secret, the session token and the role of the source's "
        "credential profile; then retry.",
    ),
    ErrorCode.SOURCE_TOKEN_SERVICE: Meaning(
        _RETRY,
        _PROFILE,
        "The service that gives out the source's temporary credentials did not answer, and the "
        "last ones have ended.",
        "s3sync keeps trying. If it lasts, the error detail names the service: check that this "
        "host reaches AWS STS, or its instance's or pod's metadata service.",
    ),
    ErrorCode.SOURCE_CLOCK: Meaning(
        _RETRY,
        _PROFILE,
        "S3 rejects the request because the clock of the s3sync host is off by more than "
        "15 minutes.",
        "Correct the clock of the s3sync host (chrony or ntpd). Waiting jobs then continue "
        "automatically.",
    ),
    ErrorCode.SOURCE_WRONG_REGION: Meaning(
        _PERSON,
        _BUCKET,
        "The source bucket is not in the region that is set for the source.",
        "Set the source's region to the bucket's region; then retry.",
    ),
    ErrorCode.SOURCE_KMS: Meaning(
        _PERSON,
        _RULE,
        "S3 could not decrypt the object with its KMS key: the key is disabled or missing, or "
        "the credential profile may not use it.",
        "Grant kms:Decrypt on the key to the source's credential profile, and enable the key if it "
        "is disabled; then retry.",
    ),
    ErrorCode.SOURCE_CUSTOMER_KEY: Meaning(
        _PERMANENT,
        _OBJECT,
        "The object is encrypted with a key that only its owner has (SSE-C).",
        "S3 can't decrypt the object without that key. To replicate the object, store it again "
        "with SSE-S3 or SSE-KMS.",
    ),
    ErrorCode.SOURCE_ARCHIVED: Meaning(
        _PERMANENT,
        _OBJECT,
        "The object is archived (GLACIER, DEEP_ARCHIVE, or an archive tier of "
        "INTELLIGENT_TIERING) and can't be read until it is restored.",
        "Restore the object in S3; then retry. Or set the rule to restore archived objects.",
    ),
    ErrorCode.SOURCE_RESTORING: Meaning(
        _RETRY,
        _OBJECT,
        "The object is archived, and S3 is restoring it.",
        "No action needed: the object is copied as soon as S3 announces the end of the restore "
        "(s3:ObjectRestore:Completed), or else when the job is due. A restore takes up to "
        "12 hours; from DEEP_ARCHIVE, up to 48.",
    ),
    ErrorCode.SOURCE_REDIRECTED: Meaning(
        _PERSON,
        _RULE,
        "The source redirects the request to another address.",
        "s3sync contacts configured addresses only. Set the source's endpoint URL to the final "
        "address; then retry.",
    ),
    ErrorCode.SOURCE_LENGTH_UNKNOWN: Meaning(
        _PERMANENT,
        _OBJECT,
        "The source does not say how long the object is.",
        "Configure the web server, or the proxy before the source, to send Content-Length for this "
        "object, with no chunked or compressed answer; then retry.",
    ),
    ErrorCode.SOURCE_CHANGED: Meaning(
        _RETRY,
        _OBJECT,
        "The object changed while it was being read.",
        "No action needed: the next try replicates the object as it is then.",
    ),
    ErrorCode.SOURCE_TRUNCATED: Meaning(
        _RETRY,
        _ENDPOINT,
        "The source closed the connection before the last byte of the object.",
        "Retried automatically. If it persists, check the network between the lanes and the "
        "source.",
    ),
    ErrorCode.SOURCE_CORRUPT: Meaning(
        _BOUNDED,
        _OBJECT,
        "The bytes that were read do not match the source's checksum.",
        "Retried automatically. If it persists, look for a proxy between the lanes and the source "
        "that alters the bytes.",
    ),
    ErrorCode.SOURCE_THROTTLED: Meaning(
        _SLOW,
        _ENDPOINT,
        "The source asks for fewer requests.",
        "Retried automatically, more slowly.",
    ),
    ErrorCode.SOURCE_UNAVAILABLE: Meaning(
        _RETRY,
        _ENDPOINT,
        "The source answers with a server error (5xx).",
        "Retried automatically. If it persists, check the provider's health page.",
    ),
    ErrorCode.SOURCE_UNREACHABLE: Meaning(
        _RETRY,
        _ENDPOINT,
        "The source can't be reached, or stopped answering.",
        "Retried automatically. If it persists, check the source's endpoint URL, DNS, the firewall "
        "and the proxy that the environment names (HTTPS_PROXY, NO_PROXY).",
    ),
    ErrorCode.SOURCE_REFUSED: Meaning(
        _PERMANENT,
        _OBJECT,
        "The source refuses the request for this object.",
        "The error detail says why. If another client can read the object, report this as a bug.",
    ),
    ErrorCode.SOURCE_RANGE_IGNORED: Meaning(
        _PERMANENT,
        _OBJECT,
        "The source sends the whole object in answer to a request for a part of it.",
        "Large objects are read part by part. Configure the web server to honour Range requests, "
        "or not to announce them (Accept-Ranges); then retry.",
    ),
    ErrorCode.SOURCE_UNSUPPORTED: Meaning(
        _PERMANENT,
        _OBJECT,
        "The source does not support the operation.",
        "The error detail names the operation. A web server can't describe, tag or restore an "
        "object; some servers that speak S3's protocol can't either. "
        "An object can be read in parts only if its source gives a strong ETag and accepts ranges.",
    ),
    ErrorCode.SOURCE_ADDRESS_REFUSED: Meaning(
        _PERSON,
        _ENDPOINT,
        "s3sync may not connect to the source: its host name resolves to an address that is not "
        "public, or it has no TLS.",
        "The error detail says which. If the address belongs to your own network, add that network "
        "to S3SYNC_PRIVATE_NETWORKS; for a public host without TLS, add its name to "
        "S3SYNC_PLAIN_HTTP_HOSTS; then restart. If not, check the source's endpoint URL and which "
        "DNS server answers for its host name.",
    ),
    ErrorCode.SOURCE_INCONSISTENT: Meaning(
        _BOUNDED,
        _OBJECT,
        "The source refuses reads of this object as changed, although it describes it as the same.",
        "A gateway or server before the bucket may alter ETags or ignore conditions. Read the "
        "bucket without it, or store the object again; then retry.",
    ),
    ErrorCode.SOURCE_NOT_S3: Meaning(
        _RETRY,
        _ENDPOINT,
        "The answer does not come from S3: it lacks what S3 always sends (ETag, x-amz-request-id).",
        "A proxy, a captive portal or a login page answers in place of S3. The error detail shows "
        "the beginning of its answer. Let the s3sync host reach S3 directly, or correct the "
        "source's endpoint URL. Waiting jobs then continue automatically.",
    ),
    ErrorCode.SOURCE_TLS: Meaning(
        _PERSON,
        _ENDPOINT,
        "The source's TLS certificate is not trusted, or TLS fails.",
        "If the source or a proxy before it uses a private CA, name that CA's file in "
        "S3SYNC_CA_BUNDLE (or AWS_CA_BUNDLE) and restart. If not, check the endpoint's host, port "
        "and scheme, and whose certificate it shows (openssl s_client -connect HOST:443). Waiting "
        "jobs then continue automatically.",
    ),
    ErrorCode.SOURCE_TOO_SLOW: Meaning(
        _RETRY,
        _ENDPOINT,
        "The source answers more slowly than S3SYNC_LEAST_BYTES_PER_SECOND.",
        "Retried automatically. If it persists, check the network between the lanes and the "
        "source, or set a lower least speed.",
    ),
    ErrorCode.SOURCE_ACCOUNT: Meaning(
        _PERSON,
        _BUCKET,
        "S3 refuses the account that the bucket or the credentials belong to.",
        "The error detail has S3's reason: for example AccountProblem or NotSignedUp; or "
        "OptInRequired, if the account has not enabled the region. Settle it with AWS, or enable "
        "the region. Waiting jobs then continue automatically.",
    ),
    ErrorCode.SOURCE_REQUESTER_PAYS: Meaning(
        _PERSON,
        _BUCKET,
        "The source bucket makes the requester pay, and the source is not set to pay.",
        "Set 'requester pays' on the source, if the account of its credential profile may be "
        "charged for requests and traffic. Waiting jobs then continue automatically.",
    ),
    ErrorCode.SOURCE_INVALID_REQUEST: Meaning(
        _PERSON,
        _BUCKET,
        "S3 refuses the requests for this bucket as invalid.",
        "The error detail has S3's own reason. Often the source's endpoint URL is not one that "
        "serves this bucket, for example an endpoint with Transfer Acceleration that is not "
        "enabled. Correct the endpoint URL or the bucket. Waiting jobs then continue "
        "automatically.",
    ),
    ErrorCode.DESTINATION_ACCESS_DENIED: Meaning(
        _PERSON,
        _RULE,
        "OSS denies permission to write, read or delete the object.",
        "Grant oss:PutObject, oss:AbortMultipartUpload and oss:ListParts on the bucket's objects "
        "to the destination's credential profile; also oss:DeleteObject if deletes are mirrored, "
        "oss:PutObjectTagging and oss:PutObjectAcl if the rule sets tags or an ACL, and "
        "oss:GetObject if replicas are compared. If the error detail says BucketNotBelongTo, the "
        "bucket is another account's: correct the destination's bucket or its credential profile. "
        "Then retry.",
    ),
    ErrorCode.DESTINATION_BUCKET_MISSING: Meaning(
        _PERSON,
        _BUCKET,
        "The destination bucket does not exist, or its name is not valid.",
        "Create the bucket, or correct the destination's bucket name and endpoint; then retry.",
    ),
    ErrorCode.DESTINATION_CREDENTIALS: Meaning(
        _PERSON,
        _PROFILE,
        "OSS rejects the destination's credentials: the AccessKey ID, its secret or the security "
        "token is wrong or has expired.",
        "Correct the AccessKey of the destination's credential profile; then retry.",
    ),
    ErrorCode.DESTINATION_TOKEN_SERVICE: Meaning(
        _RETRY,
        _PROFILE,
        "The service that gives out the destination's temporary credentials did not answer, and "
        "the last ones have ended.",
        "s3sync keeps trying. If it lasts, the error detail names the service: check that this "
        "host reaches Alibaba Cloud STS, or its instance's metadata service.",
    ),
    ErrorCode.DESTINATION_ENDPOINT: Meaning(
        _PERSON,
        _BUCKET,
        "The destination's endpoint or region is not the bucket's.",
        "Set the endpoint and region that the OSS console shows for the bucket. If the bucket "
        "requires a custom domain, set that domain as the endpoint, with addressing "
        "'custom domain'. Then retry.",
    ),
    ErrorCode.DESTINATION_KMS: Meaning(
        _PERSON,
        _RULE,
        "OSS can't encrypt the replica as the rule or the bucket requires, or can't use the KMS "
        "key.",
        "Enable KMS and the key, grant the destination's credential profile the use of the key, "
        "or correct the encryption method or the KMS key id; then retry.",
    ),
    ErrorCode.DESTINATION_CLOCK: Meaning(
        _RETRY,
        _PROFILE,
        "OSS rejects the request because the clock of the s3sync host is off by more than "
        "15 minutes.",
        "Correct the clock of the s3sync host (chrony or ntpd). Waiting jobs then continue "
        "automatically.",
    ),
    ErrorCode.DESTINATION_THROTTLED: Meaning(
        _SLOW,
        _ENDPOINT,
        "OSS asks for fewer requests or less traffic.",
        "Retried automatically, more slowly. If it persists, ask Alibaba Cloud for a higher limit.",
    ),
    ErrorCode.DESTINATION_UNAVAILABLE: Meaning(
        _RETRY,
        _ENDPOINT,
        "OSS answers with a server error (5xx).",
        "Retried automatically. If it persists, check Alibaba Cloud's health page.",
    ),
    ErrorCode.DESTINATION_UNREACHABLE: Meaning(
        _RETRY,
        _ENDPOINT,
        "OSS can't be reached, or stopped answering.",
        "Retried automatically. If it persists, check the destination's endpoint, DNS, the "
        "firewall and the proxy that the environment names (HTTPS_PROXY, NO_PROXY).",
    ),
    ErrorCode.DESTINATION_REFUSED: Meaning(
        _PERMANENT,
        _OBJECT,
        "OSS refuses this object.",
        "The error detail has OSS's answer. If it has an EC code, look the code up in the OSS "
        "documentation.",
    ),
    ErrorCode.DESTINATION_ADDRESS_REFUSED: Meaning(
        _PERSON,
        _ENDPOINT,
        "s3sync may not connect to the destination: its host name resolves to an address that is "
        "not public, or it has no TLS.",
        "The error detail says which. If the address belongs to your own network, add that network "
        "to S3SYNC_PRIVATE_NETWORKS; for a public host without TLS, add its name to "
        "S3SYNC_PLAIN_HTTP_HOSTS; then restart. If not, check the destination's endpoint and which "
        "DNS server answers for its host name.",
    ),
    ErrorCode.DESTINATION_ARCHIVED: Meaning(
        _PERMANENT,
        _OBJECT,
        "The replica is in an OSS archive storage class and can't be read back.",
        "To verify the replica byte by byte, restore it in OSS first.",
    ),
    ErrorCode.DESTINATION_NOT_OSS: Meaning(
        _RETRY,
        _ENDPOINT,
        "The answer does not come from OSS: it lacks x-oss-request-id, which OSS always sends.",
        "A proxy, a captive portal or a login page answers in place of OSS. The error detail shows "
        "the beginning of its answer. Let the s3sync host reach OSS directly, or correct the "
        "destination's endpoint. Waiting jobs then continue automatically.",
    ),
    ErrorCode.DESTINATION_TLS: Meaning(
        _PERSON,
        _ENDPOINT,
        "The destination's TLS certificate is not trusted, or TLS fails.",
        "If OSS or a proxy before it uses a private CA, name that CA's file in S3SYNC_CA_BUNDLE "
        "(or AWS_CA_BUNDLE) and restart. If not, check the endpoint's host, port and scheme, and "
        "whose certificate it shows (openssl s_client -connect HOST:443). Waiting jobs then "
        "continue automatically.",
    ),
    ErrorCode.DESTINATION_TOO_SLOW: Meaning(
        _RETRY,
        _ENDPOINT,
        "OSS takes the object, or answers, more slowly than S3SYNC_LEAST_BYTES_PER_SECOND.",
        "Retried automatically. If it persists, check the network between the lanes and OSS, or "
        "set a lower least speed.",
    ),
    ErrorCode.DESTINATION_ACCOUNT: Meaning(
        _PERSON,
        _BUCKET,
        "The Alibaba Cloud account, or the bucket, is overdue, disabled or not in order.",
        "The error detail has OSS's code: InDebt means that the account must be topped up; "
        "UserDisable, BucketDisable and AbnormalBucketOwnerStatus must be settled with Alibaba "
        "Cloud. Waiting jobs then continue automatically.",
    ),
    ErrorCode.DESTINATION_PUBLIC_ACCESS: Meaning(
        _PERSON,
        _RULE,
        "OSS refuses the public ACL that the rule sets, usually because of Block Public Access.",
        "Set the rule's ACL of replicas to 'private' or 'as the bucket's'; or switch Block Public "
        "Access off in the OSS console, for the bucket and for the account. If it is off already, "
        "grant oss:PutObjectAcl to the destination's credential profile. Then retry.",
    ),
    ErrorCode.UPLOAD_GONE: Meaning(
        _BOUNDED,
        _OBJECT,
        "The multipart upload no longer exists in OSS, or lacks a part that was written.",
        "Retried automatically, from the first byte. If it persists, look for a lifecycle rule of "
        "the bucket that aborts uploads too early.",
    ),
    ErrorCode.KEY_INCOMPATIBLE: Meaning(
        _PERMANENT,
        _OBJECT,
        "OSS does not accept the object's key.",
        "Rename the object in S3, give the rule a destination prefix that makes the key valid, or "
        "set the rule to skip such objects or rewrite their keys (“keys that OSS does not "
        "accept”); then retry.",
    ),
    ErrorCode.METADATA_INCOMPATIBLE: Meaning(
        _PERMANENT,
        _OBJECT,
        "OSS does not accept a metadata field or a tag of this object.",
        "The error detail names it. Change it in S3, or set the rule to copy the object without "
        "it or, except for tags, to rewrite it (“metadata that OSS does not accept”, “tags that "
        "OSS does not accept”); then retry.",
    ),
    ErrorCode.OBJECT_TOO_LARGE: Meaning(
        _PERMANENT,
        _OBJECT,
        "The object is larger than s3sync can copy: 48.8 TiB in parts, 5 GiB in one piece.",
        "An object is copied in one piece if its source can't be read in parts (a web server "
        "without byte ranges or a strong ETag). Configure the web server to offer both, then "
        "retry; or copy the object with another tool.",
    ),
    ErrorCode.CHECKSUM_MISMATCH: Meaning(
        _BOUNDED,
        _OBJECT,
        "The checksum of the bytes that OSS stored differs from that of the bytes that were read.",
        "Retried automatically; the job does not complete while the checksums differ. If it "
        "persists, suspect faulty memory or a proxy that alters the bytes.",
    ),
    ErrorCode.SOURCE_PROFILE_REFUSED: Meaning(
        _PERSON,
        _BUCKET,
        "The credential profile may not be used with this source or queue.",
        "Correct the profile or the endpoint. If this is as it should be, name the endpoint or the "
        "bucket where the error detail says, beside the profile's secret: "
        "docs/guides/credentials.md has the form. Waiting jobs then continue automatically.",
    ),
    ErrorCode.DESTINATION_PROFILE_REFUSED: Meaning(
        _PERSON,
        _BUCKET,
        "The credential profile may not be used with this destination.",
        "Correct the profile or the endpoint. If this is as it should be, name the endpoint or the "
        "bucket where the error detail says, beside the profile's secret: "
        "docs/guides/credentials.md has the form. Waiting jobs then continue automatically.",
    ),
    ErrorCode.CREDENTIAL_PROFILE: Meaning(
        _PERSON,
        _PROFILE,
        "The credential profile has no usable credentials.",
        "The error detail names the profile. Define it as docs/guides/credentials.md describes, "
        "or correct its name; then retry.",
    ),
    ErrorCode.LEASE_EXPIRED: Meaning(
        _BOUNDED,
        _OBJECT,
        "The lane that worked on this job died or lost its connection to the database.",
        "Retried automatically. If it persists, check the cluster's log and memory.",
    ),
    ErrorCode.UNEXPECTED: Meaning(
        _BOUNDED,
        _OBJECT,
        "An error occurred that s3sync does not know.",
        "Retried automatically until the tries are used up. The error detail and the log have the "
        "error; please report it.",
    ),
}


class ReplicationError(Exception):
    """A failed attempt at a job, with its error code.

    Args:
        code: what went wrong.
        detail: the other side's answer, for the operator. Never a secret.
        request_id: the other side's id of the refused request.
        retry_after_seconds: the wait that the other side asked for.
        may_still_land: a write was sent and its outcome is unknown: the other side may still
            apply it, even after a later write.

    Attributes:
        side: "source" or "destination", by the code's prefix; "" if the code has none and the
            factory of stores did not say it.
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
        # A store's answer may hold NULs or lone surrogates, which PostgreSQL can't store.
        self.detail = detail.replace("\0", "␀").encode(errors="replace").decode()
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.may_still_land = may_still_land
        prefix = code.value.partition("_")[0]
        self.side = prefix if prefix in {"source", "destination"} else ""

    @property
    def disposition(self) -> Disposition:
        return MEANINGS[self.code].disposition

    @property
    def scope(self) -> Scope:
        return MEANINGS[self.code].scope


class ObjectMissing(Exception):
    """The source clearly says that it has no such object.

    Only a 404, or a web server's 410, says so; a 403 or a timeout does not.
    """

    def __init__(self, *, request_id: str = "") -> None:
        super().__init__("the source has no such object")
        self.request_id = request_id


class TransferStopped(Exception):
    """Stop the transfer and write nothing more; the transfer itself did not fail."""


class LeaseLost(TransferStopped):
    """This lane no longer holds the lease of the job or part."""


class RuleChanged(TransferStopped):
    """The job's rule was changed: the job must begin again under the rule as it is now."""


class HandOver(TransferStopped):
    """This lane is stopping: another lane must take over the job or part."""
