"""Translates the errors of OSS and oss2 into ours."""

from typing import NoReturn
from xml.etree import ElementTree

import oss2.exceptions

from replication.errors import ErrorCode, ReplicationError
from replication.stores.base import parse_retry_after
from replication.stores.exchange_errors import destination_code
from replication.stores.transport import TransportError

# https://help.aliyun.com/document_detail/32005.html
# https://www.alibabacloud.com/help/en/oss/user-guide/http-403-error-code
_CODES = {
    "AccessDenied": ErrorCode.DESTINATION_ACCESS_DENIED,
    "BucketNotBelongTo": ErrorCode.DESTINATION_ACCESS_DENIED,
    "InDebt": ErrorCode.DESTINATION_ACCOUNT,
    "InDebtOverdue": ErrorCode.DESTINATION_ACCOUNT,
    "UserDisable": ErrorCode.DESTINATION_ACCOUNT,
    "BucketDisable": ErrorCode.DESTINATION_ACCOUNT,
    "AbnormalBucketOwnerStatus": ErrorCode.DESTINATION_ACCOUNT,
    "SecondLevelDomainForbidden": ErrorCode.DESTINATION_ENDPOINT,
    "NonStandardHostForbidden": ErrorCode.DESTINATION_ENDPOINT,
    "CnameDenied": ErrorCode.DESTINATION_ENDPOINT,
    "PermanentRedirect": ErrorCode.DESTINATION_ENDPOINT,
    "NoSuchBucket": ErrorCode.DESTINATION_BUCKET_MISSING,
    "InvalidBucketName": ErrorCode.DESTINATION_BUCKET_MISSING,
    "InvalidAccessKeyId": ErrorCode.DESTINATION_CREDENTIALS,
    "SignatureDoesNotMatch": ErrorCode.DESTINATION_CREDENTIALS,
    "InvalidSecurityToken": ErrorCode.DESTINATION_CREDENTIALS,
    "SecurityTokenExpired": ErrorCode.DESTINATION_CREDENTIALS,
    "SecurityTokenNotSupported": ErrorCode.DESTINATION_CREDENTIALS,
    "AccessKeyIdAndSecurityTokenNotMatch": ErrorCode.DESTINATION_CREDENTIALS,
    "RequestTimeTooSkewed": ErrorCode.DESTINATION_CLOCK,
    "KmsServiceNotEnabled": ErrorCode.DESTINATION_KMS,
    "UbsmsInvalidBid": ErrorCode.DESTINATION_KMS,  # KMS is not activated
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

# The EC codes of an AccessDenied or InvalidArgument whose cause is the endpoint: no grant helps.
# https://api.aliyun.com/troubleshoot?q=<EC>
_WRONG_ENDPOINT_ECS = {
    "0003-00001403",  # must be addressed using the specified endpoint
    "0002-00000226",  # the region of the V4 signature is not the bucket's
}

# The prefixes of the EC codes about encryption and about tags.
# https://help.aliyun.com/zh/oss/user-guide/0005-00000208 and .../0010-00000217
_KMS_ECS = "0005-"
_TAG_ECS = "0010-"

# Block Public Access refuses a public ACL. OSS's code for it is AccessDenied.
_PUBLIC_ACL_EC = "0016-00000901"

_NO_SUCH_KEY_EC = "0026-00000001"

_DELAY_HEADER = "x-oss-qos-delay-time"  # milliseconds

# Answers of a gateway: they don't say whether OSS behind it carries the request out.
_GATEWAY_STATUSES = {502, 504}

# The errors of oss2, of the transport under it, and of oss2's XML parser for an invalid document.
FAILURES = (oss2.exceptions.OssError, TransportError, ElementTree.ParseError)


def raise_translated(
    error: Exception, *, is_write: bool, sets_public_acl: bool = False
) -> NoReturn:
    """Raise the ReplicationError for one of FAILURES.

    Args:
        is_write: the request changes an object, and was handed to the transport with its whole
            body. So OSS may carry it out even without an answer.
        sets_public_acl: the request makes an object public.
    """
    if isinstance(error, TransportError):
        raise ReplicationError(
            destination_code(error),
            str(error),
            may_still_land=is_write and not error.is_surely_unsent,
        ) from error
    if not isinstance(error, oss2.exceptions.OssError):  # the document broke off
        raise ReplicationError(
            ErrorCode.DESTINATION_UNREACHABLE, str(error), may_still_land=is_write
        ) from error
    if isinstance(error, oss2.exceptions.ClientError):
        raise ReplicationError(ErrorCode.DESTINATION_REFUSED, error.body) from error
    ec = _ec(error)
    detail = f"{error.status} {error.code or ''}: {error.message or ''}"
    code = _error_code(error)
    if code is ErrorCode.DESTINATION_ACCESS_DENIED and sets_public_acl and not ec:
        # Without an EC, nothing tells a missing grant from Block Public Access: the hint has both.
        code = ErrorCode.DESTINATION_PUBLIC_ACCESS
    raise ReplicationError(
        code,
        f"{detail} (EC {ec})" if ec else detail,
        request_id=error.request_id,
        retry_after_seconds=parse_retry_after(
            error.headers.get(_DELAY_HEADER, ""), unit_seconds=0.001
        ),
        may_still_land=is_write and not _comes_from_oss(error),
    ) from error


def _comes_from_oss(error: oss2.exceptions.OssError) -> bool:
    """Whether the answer comes from OSS itself, with an error code, and not from a gateway."""
    return error.status < 500 or (bool(error.code) and error.status not in _GATEWAY_STATUSES)


def _error_code(error: oss2.exceptions.OssError) -> ErrorCode:
    return _by_code(error) or _by_status(error)


def _by_code(error: oss2.exceptions.OssError) -> ErrorCode | None:
    """Translate OSS's own codes; None for an unknown code."""
    ec = _ec(error)
    # OSS names the right endpoint if ours is wrong.
    if "Endpoint" in error.details or ec in _WRONG_ENDPOINT_ECS:
        return ErrorCode.DESTINATION_ENDPOINT
    if ec == _PUBLIC_ACL_EC:
        return ErrorCode.DESTINATION_PUBLIC_ACCESS
    if ec.startswith(_KMS_ECS) and error.status < 500:
        return ErrorCode.DESTINATION_KMS
    if ec.startswith(_TAG_ECS) and error.status == 400:
        return ErrorCode.METADATA_INCOMPATIBLE
    return _CODES.get(error.code)


def _by_status(error: oss2.exceptions.OssError) -> ErrorCode:
    if error.status == 429 or _DELAY_HEADER in error.headers:
        return ErrorCode.DESTINATION_THROTTLED
    if error.status == 408:
        return ErrorCode.DESTINATION_UNREACHABLE
    if error.status >= 500:
        return ErrorCode.DESTINATION_UNAVAILABLE
    if error.status == 401:
        return ErrorCode.DESTINATION_CREDENTIALS
    if error.status == 403:
        return ErrorCode.DESTINATION_ACCESS_DENIED
    return ErrorCode.UNEXPECTED


def is_missing(error: Exception) -> bool:
    """Whether OSS clearly says that there is no such object; for a HEAD, a header may say so."""
    return isinstance(error, oss2.exceptions.ServerError) and (
        error.status == 404 and (error.code == "NoSuchKey" or _ec(error) == _NO_SUCH_KEY_EC)
    )


def _ec(error: oss2.exceptions.OssError) -> str:
    """The EC, which is finer than the code. The answer to a HEAD has it in a header."""
    return error.ec or error.headers.get("x-oss-ec", "")
