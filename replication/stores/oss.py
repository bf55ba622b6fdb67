"""Writes objects to OSS; OSS's errors are translated here, once."""

import os
import ssl
from collections.abc import Iterator
from typing import NoReturn

import oss2
import oss2.credentials
import oss2.exceptions
import urllib3.exceptions
from django.conf import settings

from replication.credentials import AccessKey, access_key
from replication.errors import ErrorCode, ReplicationError
from replication.models import Addressing
from replication.stores.base import Body, Receipt, hint_seconds

# https://help.aliyun.com/document_detail/32005.html
_CODES = {
    "AccessDenied": ErrorCode.DESTINATION_ACCESS_DENIED,
    "UserDisable": ErrorCode.DESTINATION_ACCESS_DENIED,
    "NoSuchBucket": ErrorCode.DESTINATION_BUCKET_MISSING,
    "InvalidBucketName": ErrorCode.DESTINATION_BUCKET_MISSING,
    "InvalidAccessKeyId": ErrorCode.DESTINATION_CREDENTIALS,
    "SignatureDoesNotMatch": ErrorCode.DESTINATION_CREDENTIALS,
    "InvalidSecurityToken": ErrorCode.DESTINATION_CREDENTIALS,
    "SecurityTokenExpired": ErrorCode.DESTINATION_CREDENTIALS,
    "SecurityTokenNotSupported": ErrorCode.DESTINATION_CREDENTIALS,
    "RequestTimeTooSkewed": ErrorCode.DESTINATION_CLOCK,
    "KmsServiceNotEnabled": ErrorCode.DESTINATION_KMS,
    "InvalidObjectName": ErrorCode.KEY_INCOMPATIBLE,
    "EntityTooLarge": ErrorCode.OBJECT_TOO_LARGE,
    "InvalidDigest": ErrorCode.CHECKSUM_MISMATCH,
    "InvalidArgument": ErrorCode.DESTINATION_REFUSED,
    "FileImmutable": ErrorCode.DESTINATION_REFUSED,
    "RequestTimeout": ErrorCode.DESTINATION_UNREACHABLE,
    "UploadTrafficRateLimitExceeded": ErrorCode.DESTINATION_THROTTLED,
    "TotalQpsLimitExceeded": ErrorCode.DESTINATION_THROTTLED,
    "ActiveRequestLimitExceeded": ErrorCode.DESTINATION_THROTTLED,
}

# The EC codes of an AccessDenied or InvalidArgument that a grant can't mend.
# https://api.aliyun.com/troubleshoot?q=<EC>
_WRONG_ENDPOINT_ECS = {
    "0003-00001403",  # must be addressed using the specified endpoint
    "0002-00000226",  # the region of the V4 signature is not the bucket's
}

_DELAY_HEADER = "x-oss-qos-delay-time"  # milliseconds

# A gateway's answers that say nothing of what OSS behind it does with the request.
_NO_ANSWER_OF_OSS = {502, 504}

# oss2 wraps what happens until the head of an answer, and lets through what happens in its body:
# the errors of requests, which are all OSErrors.
_FAILURES = (oss2.exceptions.OssError, OSError)

# Without these no connection was made, so nothing was sent. A ValueError is a URL or header that
# requests refused to send.
_BEFORE_SENDING = (urllib3.exceptions.ConnectTimeoutError, ssl.CertificateError, ValueError)
# What OpenSSL calls a handshake that failed for want of a common language.
_HANDSHAKE_FAILURES = {
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "TLSV1_UNRECOGNIZED_NAME",
}


class OssStore:
    """One OSS bucket as a destination."""

    def __init__(
        self, *, bucket: str, endpoint: str, region: str, addressing: str, profile: str
    ) -> None:
        limits = settings.S3SYNC
        session = oss2.Session(pool_size=limits.lane_concurrency)
        # Else requests looks for proxies in the environment at every single request.
        session.session.trust_env = False
        self._bucket = oss2.Bucket(
            oss2.ProviderAuthV4(_provider(access_key(profile))),
            endpoint,
            bucket,
            is_cname=addressing == Addressing.CUSTOM_DOMAIN,
            is_path_style=addressing == Addressing.PATH,
            region=region,
            session=session,
            connect_timeout=(limits.connect_timeout_seconds, limits.read_timeout_seconds),
            # transfer.py computes the CRC-64 while it reads, and compares it.
            enable_crc=False,
        )

    def put(
        self,
        key: str,
        body: Body,
        *,
        content_headers: dict[str, str],
        user_metadata: dict[str, str],
    ) -> Receipt:
        """One PUT of the whole object; see DestinationStore."""
        headers = content_headers | {
            f"x-oss-meta-{name}": value for name, value in user_metadata.items()
        }
        outgoing = _Outgoing(body)
        try:
            # requests would send a stream of length 0 as chunks, without a length.
            answer = self._bucket.put_object(key, outgoing if body.len else b"", headers=headers)
        except _FAILURES as error:
            _raise_translated(error, is_write=outgoing.is_handed_over)
        return Receipt(
            request_id=answer.request_id,
            etag=answer.etag or "",
            crc64="" if answer.crc is None else str(answer.crc),
        )

    def delete(self, key: str) -> Receipt:
        """Delete the object; see DestinationStore."""
        try:
            return Receipt(request_id=self._bucket.delete_object(key).request_id)
        except _FAILURES as error:
            _raise_translated(error, is_write=True)


class _Outgoing:
    """A body on its way. Unless its last byte was handed over, OSS can't carry the request out."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._left_bytes = body.len

    @property
    def len(self) -> int:
        return self._body.len

    @property
    def is_handed_over(self) -> bool:
        return not self._left_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._body.read(size)
        self._left_bytes -= len(data)
        return data


def _provider(key: AccessKey | None) -> oss2.credentials.CredentialsProvider:
    """oss2's credentials of an access key; by default those of its own environment variables.

    Raises:
        ReplicationError: CREDENTIAL_PROFILE, if the variables are not set.
    """
    if key is not None:
        return oss2.credentials.StaticCredentialsProvider(key.id, key.secret, key.session_token)
    if not (os.environ.get("OSS_ACCESS_KEY_ID") and os.environ.get("OSS_ACCESS_KEY_SECRET")):
        raise ReplicationError(
            ErrorCode.CREDENTIAL_PROFILE,
            "the profile 'default' needs OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET "
            "in the environment",
        )
    return oss2.credentials.EnvironmentVariableCredentialsProvider()


def _raise_translated(error: Exception, *, is_write: bool) -> NoReturn:
    """`is_write` says that a request was ready to leave as a whole which changes the bucket."""
    if not isinstance(error, oss2.exceptions.OssError):
        raise ReplicationError(
            ErrorCode.DESTINATION_UNREACHABLE, str(error), may_still_land=is_write
        ) from error
    if isinstance(error, oss2.exceptions.RequestError):
        raise ReplicationError(
            ErrorCode.DESTINATION_UNREACHABLE,
            str(error.exception),
            may_still_land=is_write and _may_have_been_sent(error.exception),
        ) from error
    if isinstance(error, oss2.exceptions.ClientError):
        raise ReplicationError(ErrorCode.DESTINATION_REFUSED, error.body) from error
    detail = f"{error.status} {error.code}: {error.message}"
    raise ReplicationError(
        _code(error),
        f"{detail} (EC {error.ec})" if error.ec else detail,
        request_id=error.request_id,
        retry_after_seconds=hint_seconds(error.headers.get(_DELAY_HEADER, ""), unit_seconds=0.001),
        may_still_land=is_write and error.status in _NO_ANSWER_OF_OSS,
    ) from error


def _may_have_been_sent(error: BaseException) -> bool:
    """False where a failed request surely never left; anything else may have."""
    return not any(
        isinstance(reason, _BEFORE_SENDING)
        or (isinstance(reason, ssl.SSLError) and reason.reason in _HANDSHAKE_FAILURES)
        for reason in _reasons(error)
    )


def _reasons(error: BaseException) -> Iterator[BaseException]:
    """An error and those inside it: requests and urllib3 keep theirs as argument or `reason`."""
    yield error
    for inner in (*error.args, getattr(error, "reason", None)):
        if isinstance(inner, BaseException):
            yield from _reasons(inner)


def _code(error: oss2.exceptions.OssError) -> ErrorCode:
    """What an answer of OSS's means. OSS names the right endpoint where ours is wrong."""
    if "Endpoint" in error.details or error.ec in _WRONG_ENDPOINT_ECS:
        return ErrorCode.DESTINATION_ENDPOINT
    if error.code in _CODES:
        return _CODES[error.code]
    if error.status == 429 or _DELAY_HEADER in error.headers:
        return ErrorCode.DESTINATION_THROTTLED
    if error.status == 408:
        return ErrorCode.DESTINATION_UNREACHABLE
    if error.status >= 500:
        return ErrorCode.DESTINATION_UNAVAILABLE
    return ErrorCode.UNEXPECTED
