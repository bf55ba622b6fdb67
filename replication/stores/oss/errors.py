"""What OSS's answers and oss2's errors mean; translated here, once."""

from typing import NoReturn
from xml.etree import ElementTree

import oss2.exceptions

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import hint_seconds
from replication.stores.transport import TransportError

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
    "InvalidEncryptionAlgorithmError": ErrorCode.DESTINATION_KMS,
    "InvalidEncryptionRequest": ErrorCode.DESTINATION_KMS,
    "KeyNotFound": ErrorCode.DESTINATION_KMS,
    "AliasNotFound": ErrorCode.DESTINATION_KMS,
    "InvalidTag": ErrorCode.METADATA_INCOMPATIBLE,
    "InvalidObjectName": ErrorCode.KEY_INCOMPATIBLE,
    "EntityTooLarge": ErrorCode.OBJECT_TOO_LARGE,
    "InvalidDigest": ErrorCode.CHECKSUM_MISMATCH,
    "BadDigest": ErrorCode.CHECKSUM_MISMATCH,
    "NoSuchUpload": ErrorCode.UPLOAD_GONE,
    "InvalidPart": ErrorCode.UPLOAD_GONE,
    "InvalidPartOrder": ErrorCode.DESTINATION_REFUSED,
    "EntityTooSmall": ErrorCode.DESTINATION_REFUSED,
    "MalformedXML": ErrorCode.DESTINATION_REFUSED,
    "FileAlreadyExists": ErrorCode.DESTINATION_REFUSED,
    "ObjectNotAppendable": ErrorCode.DESTINATION_REFUSED,
    "InvalidObjectState": ErrorCode.DESTINATION_ARCHIVED,
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

# The groups of EC codes that are about encryption, and about tags.
# https://help.aliyun.com/zh/oss/user-guide/0005-00000208 and .../0010-00000217
_KMS_ECS = "0005-"
_TAG_ECS = "0010-"

_NO_SUCH_KEY_EC = "0026-00000001"

_DELAY_HEADER = "x-oss-qos-delay-time"  # milliseconds

# A gateway's answers, which say nothing of what OSS behind it does with the request.
_GATEWAY_STATUSES = {502, 504}

# What oss2 and the transport under it raise; and the former's XML parser, of what is no XML.
FAILURES = (oss2.exceptions.OssError, TransportError, ElementTree.ParseError)


def raise_translated(error: Exception, *, is_write: bool) -> NoReturn:
    """Raise the ReplicationError that one of FAILURES means.

    `is_write` says that a request was ready to leave as a whole which changes the bucket.
    """
    if not isinstance(error, oss2.exceptions.OssError):
        was_sent = not (isinstance(error, TransportError) and error.is_surely_unsent)
        raise ReplicationError(
            ErrorCode.DESTINATION_UNREACHABLE, str(error), may_still_land=is_write and was_sent
        ) from error
    if isinstance(error, oss2.exceptions.ClientError):
        raise ReplicationError(ErrorCode.DESTINATION_REFUSED, error.body) from error
    detail = f"{error.status} {error.code}: {error.message}"
    raise ReplicationError(
        _code(error),
        f"{detail} (EC {error.ec})" if error.ec else detail,
        request_id=error.request_id,
        retry_after_seconds=hint_seconds(error.headers.get(_DELAY_HEADER, ""), unit_seconds=0.001),
        may_still_land=is_write and not _is_of_oss(error),
    ) from error


def _is_of_oss(error: oss2.exceptions.OssError) -> bool:
    """Whether an answer is one of OSS itself, which has a code, and not one of a gateway."""
    return error.status < 500 or (bool(error.code) and error.status not in _GATEWAY_STATUSES)


def _code(error: oss2.exceptions.OssError) -> ErrorCode:
    return _named(error) or _by_status(error)


def _named(error: oss2.exceptions.OssError) -> ErrorCode | None:
    """What OSS's own codes mean. It names the right endpoint where ours is wrong."""
    if "Endpoint" in error.details or error.ec in _WRONG_ENDPOINT_ECS:
        return ErrorCode.DESTINATION_ENDPOINT
    if error.ec.startswith(_KMS_ECS) and error.status < 500:
        return ErrorCode.DESTINATION_KMS
    if error.ec.startswith(_TAG_ECS) and error.status == 400:
        return ErrorCode.METADATA_INCOMPATIBLE
    return _CODES.get(error.code)


def _by_status(error: oss2.exceptions.OssError) -> ErrorCode:
    if error.status == 429 or _DELAY_HEADER in error.headers:
        return ErrorCode.DESTINATION_THROTTLED
    if error.status == 408:
        return ErrorCode.DESTINATION_UNREACHABLE
    if error.status >= 500:
        return ErrorCode.DESTINATION_UNAVAILABLE
    return ErrorCode.UNEXPECTED


def is_missing(error: Exception) -> bool:
    """Whether OSS says, cleanly, that there is no such object; a HEAD may say it in a header."""
    return isinstance(error, oss2.exceptions.ServerError) and (
        error.status == 404
        and (error.code == "NoSuchKey" or error.headers.get("x-oss-ec") == _NO_SUCH_KEY_EC)
    )
