"""Translates the errors of S3 and boto3 into ours."""

from typing import Any, NoReturn

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointProviderError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as ConnectError

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.transport import AnswerBroken, TransportError

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_CODES = {
    "NoSuchBucket": ErrorCode.SOURCE_BUCKET_MISSING,
    "InvalidBucketName": ErrorCode.SOURCE_BUCKET_MISSING,
    "AccessDenied": ErrorCode.SOURCE_ACCESS_DENIED,
    "AccountProblem": ErrorCode.SOURCE_ACCOUNT,
    "AllAccessDisabled": ErrorCode.SOURCE_ACCOUNT,
    "NotSignedUp": ErrorCode.SOURCE_ACCOUNT,
    "InvalidPayer": ErrorCode.SOURCE_ACCOUNT,
    "OptInRequired": ErrorCode.SOURCE_ACCOUNT,
    "UserSuspended": ErrorCode.SOURCE_ACCOUNT,  # by Ceph
    # By Huawei OBS. AWS answers AccessDenied, as for a missing grant.
    "RequestPayerDenied": ErrorCode.SOURCE_REQUESTER_PAYS,
    "InvalidAccessKeyId": ErrorCode.SOURCE_CREDENTIALS,
    "SignatureDoesNotMatch": ErrorCode.SOURCE_CREDENTIALS,
    "TokenRefreshRequired": ErrorCode.SOURCE_CREDENTIALS,
    "InvalidToken": ErrorCode.SOURCE_CREDENTIALS,
    "ExpiredToken": ErrorCode.SOURCE_CREDENTIALS,
    "InvalidSecurity": ErrorCode.SOURCE_CREDENTIALS,
    "InvalidClientTokenId": ErrorCode.SOURCE_CREDENTIALS,
    "UnrecognizedClientException": ErrorCode.SOURCE_CREDENTIALS,
    "RequestTimeTooSkewed": ErrorCode.SOURCE_CLOCK,
    "InvalidObjectState": ErrorCode.SOURCE_ARCHIVED,
    "PermanentRedirect": ErrorCode.SOURCE_WRONG_REGION,
    "AuthorizationHeaderMalformed": ErrorCode.SOURCE_WRONG_REGION,
    "IllegalLocationConstraintException": ErrorCode.SOURCE_WRONG_REGION,
    "KMS.ThrottlingException": ErrorCode.SOURCE_THROTTLED,
    "KMS.RequestLimitExceeded": ErrorCode.SOURCE_THROTTLED,
    "NoSuchVersion": ErrorCode.SOURCE_CHANGED,
    "PreconditionFailed": ErrorCode.SOURCE_CHANGED,
    "InvalidRange": ErrorCode.SOURCE_CHANGED,
    "OperationAborted": ErrorCode.SOURCE_UNAVAILABLE,
    "SlowDown": ErrorCode.SOURCE_THROTTLED,
    "RequestLimitExceeded": ErrorCode.SOURCE_THROTTLED,
    "Throttling": ErrorCode.SOURCE_THROTTLED,
    "RequestTimeout": ErrorCode.SOURCE_UNREACHABLE,
    "NotImplemented": ErrorCode.SOURCE_UNSUPPORTED,  # by servers that speak a part of S3's protocol
}


FAILURES = (ClientError, BotoCoreError, TransportError)


def raise_translated(error: Exception) -> NoReturn:
    """Raise the ObjectMissing or ReplicationError for one of FAILURES, or boto3's ValueError."""
    if isinstance(error, ClientError):
        _raise_error_answer(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        raise ReplicationError(ErrorCode.SOURCE_CREDENTIALS, str(error)) from error
    if isinstance(error, InvalidRegionError):
        raise ReplicationError(ErrorCode.SOURCE_WRONG_REGION, str(error)) from error
    # boto3 can't make a URL of the bucket's name and the endpoint; it checks a key as we do.
    if isinstance(error, ParamValidationError | EndpointProviderError | ValueError):
        raise ReplicationError(ErrorCode.SOURCE_BUCKET_MISSING, str(error)) from error
    if isinstance(error, AnswerBroken):
        raise ReplicationError(ErrorCode.SOURCE_TRUNCATED, str(error)) from error
    if isinstance(error, HTTPClientError | ConnectError | TransportError):
        raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error
    raise ReplicationError(ErrorCode.UNEXPECTED, f"{type(error).__name__}: {error}") from error


def _raise_error_answer(error: ClientError) -> NoReturn:
    """Translate an error that S3 answered."""
    answer: Any = error.response
    name = answer["Error"].get("Code", "")
    status = answer["ResponseMetadata"].get("HTTPStatusCode", 0)
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    request_id = headers.get("x-amz-request-id", "")
    if name == "NoSuchKey":
        raise ObjectMissing(request_id=request_id) from error
    if error.operation_name == "AssumeRole" and status == 403:
        code = ErrorCode.SOURCE_CREDENTIALS
    elif name in _CODES:
        code = _CODES[name]
    elif name.startswith("KMS.") and status < 500:
        code = ErrorCode.SOURCE_KMS
    elif name == "InvalidRequest" and status == 400:
        code = ErrorCode.SOURCE_INVALID_REQUEST
    elif status == 401:
        code = ErrorCode.SOURCE_CREDENTIALS
    elif status == 403:
        # Also if only the KMS key is denied: nothing but S3's message would tell that apart.
        code = ErrorCode.SOURCE_ACCESS_DENIED
    elif status in {412, 416}:
        code = ErrorCode.SOURCE_CHANGED
    elif status in {429, 503}:
        code = ErrorCode.SOURCE_THROTTLED
    elif status >= 500:
        code = ErrorCode.SOURCE_UNAVAILABLE
    else:
        code = ErrorCode.UNEXPECTED
    detail = f"{status} {name}: {answer['Error'].get('Message', '')}"
    raise ReplicationError(code, detail, request_id=request_id) from error
