"""Translates the errors of S3 and boto3 into ours."""

from typing import Any, NoReturn

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointProviderError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as ConnectError

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.aws_carrier import CarrierError
from replication.stores.aws_renewal import TokenServiceError
from replication.stores.exchange_errors import source_code
from replication.stores.s3.identity import request_id
from replication.stores.transport import TransportError

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

# Of STS. What it refuses for a while is a TokenServiceError.
_ROLE_OPERATIONS = {"AssumeRole", "AssumeRoleWithWebIdentity"}

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)

FAILURES = (ClientError, BotoCoreError, TransportError)


def raise_translated(error: Exception, *, request_of_broken: str = "") -> NoReturn:
    """Raise the ObjectMissing or ReplicationError for one of FAILURES, or boto3's ValueError.

    Args:
        request_of_broken: S3's id of the request whose answer failed after its head.
    """
    if isinstance(error, CarrierError):
        error = error.cause
    if isinstance(error, ClientError):
        _raise_error_answer(error)
    if isinstance(error, TransportError):
        raise ReplicationError(
            source_code(error), str(error), request_id=request_of_broken
        ) from error
    if isinstance(error, TokenServiceError):
        raise ReplicationError(ErrorCode.SOURCE_TOKEN_SERVICE, str(error)) from error
    if isinstance(error, _NO_CREDENTIALS):
        raise ReplicationError(ErrorCode.SOURCE_CREDENTIALS, str(error)) from error
    if isinstance(error, InvalidRegionError):
        raise ReplicationError(ErrorCode.SOURCE_WRONG_REGION, str(error)) from error
    # boto3 can't make a URL of the bucket's name and the endpoint; it checks a key as we do.
    if isinstance(error, ParamValidationError | EndpointProviderError | ValueError):
        raise ReplicationError(ErrorCode.SOURCE_BUCKET_MISSING, str(error)) from error
    if isinstance(error, HTTPClientError | ConnectError):
        raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error
    raise ReplicationError(ErrorCode.UNEXPECTED, f"{type(error).__name__}: {error}") from error


def _raise_error_answer(error: ClientError) -> NoReturn:
    """Translate an error that S3 answered."""
    answer: Any = error.response
    name = answer["Error"].get("Code", "")
    status = answer["ResponseMetadata"].get("HTTPStatusCode", 0)
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    if name == "NoSuchKey":
        raise ObjectMissing(request_id=request_id(headers)) from error
    if error.operation_name in _ROLE_OPERATIONS and status < 500:
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
    raise ReplicationError(code, detail, request_id=request_id(headers)) from error
