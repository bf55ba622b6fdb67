"""Reads objects from S3; S3's errors are translated here, once."""

import re
from types import TracebackType
from typing import Any, NoReturn, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as ConnectError

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.aws import aws_client
from replication.stores.base import CONTENT_HEADERS, ObjectInfo

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_CODES = {
    "NoSuchBucket": ErrorCode.SOURCE_BUCKET_MISSING,
    "AccessDenied": ErrorCode.SOURCE_ACCESS_DENIED,
    "AllAccessDisabled": ErrorCode.SOURCE_ACCESS_DENIED,
    "AccountProblem": ErrorCode.SOURCE_ACCESS_DENIED,
    "InvalidAccessKeyId": ErrorCode.SOURCE_CREDENTIALS,
    "SignatureDoesNotMatch": ErrorCode.SOURCE_CREDENTIALS,
    "InvalidToken": ErrorCode.SOURCE_CREDENTIALS,
    "ExpiredToken": ErrorCode.SOURCE_CREDENTIALS,
    "RequestTimeTooSkewed": ErrorCode.SOURCE_CLOCK,
    "InvalidObjectState": ErrorCode.SOURCE_ARCHIVED,
    "PermanentRedirect": ErrorCode.SOURCE_WRONG_REGION,
    "AuthorizationHeaderMalformed": ErrorCode.SOURCE_WRONG_REGION,
    "IllegalLocationConstraintException": ErrorCode.SOURCE_WRONG_REGION,
    "KMS.DisabledException": ErrorCode.SOURCE_KMS,
    "KMS.KMSInvalidStateException": ErrorCode.SOURCE_KMS,
    "KMS.NotFoundException": ErrorCode.SOURCE_KMS,
    "SlowDown": ErrorCode.SOURCE_THROTTLED,
    "RequestLimitExceeded": ErrorCode.SOURCE_THROTTLED,
    "Throttling": ErrorCode.SOURCE_THROTTLED,
    "RequestTimeout": ErrorCode.SOURCE_UNREACHABLE,
}

_MD5 = re.compile(r"[0-9a-f]{32}")


class S3Store:
    """One S3 bucket as a source."""

    def __init__(self, *, bucket: str, region: str, endpoint_url: str, profile: str) -> None:
        self._bucket = bucket
        self._client = aws_client("s3", region=region, endpoint_url=endpoint_url, profile=profile)

    def open(self, key: str) -> "S3Object":
        """One GET of the object as it is now; see SourceStore."""
        try:
            return S3Object(self._client.get_object(Bucket=self._bucket, Key=key))
        except (ClientError, BotoCoreError) as error:
            _raise_translated(error)


class S3Object:
    """An S3 object being read."""

    def __init__(self, response: dict[str, Any]) -> None:
        headers: dict[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
        self._body = response["Body"]
        length = headers.get("content-length", "")
        if not length.isdecimal():
            # S3 always says it; http.client takes a head that broke off for a whole one.
            self._body.close()
            raise ReplicationError(
                ErrorCode.SOURCE_TRUNCATED,
                "the connection broke in the head of the answer",
                request_id=headers.get("x-amz-request-id", ""),
            )
        self.info = ObjectInfo(
            size_bytes=int(length),
            etag=headers.get("etag", "").strip('"'),
            version_id=_version_of(headers),
            md5=_md5_of(headers),
            content_headers={name: headers[name] for name in CONTENT_HEADERS if headers.get(name)},
            user_metadata={
                name.removeprefix("x-amz-meta-"): value
                for name, value in headers.items()
                if name.startswith("x-amz-meta-")
            },
            request_id=headers.get("x-amz-request-id", ""),
        )
        if not self.info.size_bytes:
            self._body.read()  # nobody else will, and the connection is to be used again

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; see SourceObject."""
        try:
            return self._body.read(size)
        except (IncompleteReadError, ResponseStreamingError) as error:
            raise ReplicationError(
                ErrorCode.SOURCE_TRUNCATED, str(error), request_id=self.info.request_id
            ) from error
        except BotoCoreError as error:
            _raise_translated(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._body.close()


def _md5_of(headers: dict[str, str]) -> str:
    """The ETag where it is the content's MD5: single-part, and not encrypted with KMS or SSE-C."""
    etag = headers.get("etag", "").strip('"')
    encrypted = "kms" in headers.get("x-amz-server-side-encryption", "") or (
        "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    return etag if _MD5.fullmatch(etag) and not encrypted else ""


def _version_of(headers: dict[str, str]) -> str:
    """Empty for "null", the version of what was put while the bucket was not versioned."""
    version_id = headers.get("x-amz-version-id", "")
    return "" if version_id == "null" else version_id


def _raise_translated(error: ClientError | BotoCoreError) -> NoReturn:
    if isinstance(error, ClientError):
        _raise_answer(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        raise ReplicationError(ErrorCode.SOURCE_CREDENTIALS, str(error)) from error
    if isinstance(error, HTTPClientError | ConnectError):
        raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, str(error)) from error
    raise ReplicationError(ErrorCode.UNEXPECTED, f"{type(error).__name__}: {error}") from error


def _raise_answer(error: ClientError) -> NoReturn:
    """Translate an answer of S3's."""
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
    elif name == "InvalidRequest" and status == 400:
        # What S3 answers to a GET without the key of an SSE-C object.
        code = ErrorCode.SOURCE_CUSTOMER_KEY
    elif status == 403:
        code = ErrorCode.SOURCE_ACCESS_DENIED
    elif status in {429, 503}:
        code = ErrorCode.SOURCE_THROTTLED
    elif status >= 500:
        code = ErrorCode.SOURCE_UNAVAILABLE
    else:
        code = ErrorCode.UNEXPECTED
    detail = f"{status} {name}: {answer['Error'].get('Message', '')}"
    raise ReplicationError(code, detail, request_id=request_id) from error
