"""Reads objects from S3."""

import os
import re
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from django.conf import settings

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.aws import aws_client, aws_credentials
from replication.stores.base import ObjectInfo
from replication.stores.http_headers import check_range, range_headers
from replication.stores.s3.errors import FAILURES, raise_translated
from replication.stores.s3.headers import object_info
from replication.stores.s3.reads import S3Reads
from replication.stores.transport import AnswerBroken, Pool, Timeouts
from replication.stores.transport.fibers import away

_TOTAL = re.compile(r".*/([0-9]+)")

# What S3 answers to a request that was sent to another region than the bucket's.
_OF_ANOTHER_REGION = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_BOTO3S_NAMES = {"Range": "Range", "If-Match": "IfMatch"}

# What S3 answers to a request to restore what it is restoring, or what is no archived object.
_NOTHING_TO_RESTORE = {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}


class S3Store:
    """One S3 bucket as a source."""

    def __init__(self, *, bucket: str, region: str, endpoint_url: str, profile: str) -> None:
        limits = settings.S3SYNC
        self._bucket = bucket
        self._client = aws_client("s3", region=region, endpoint_url=endpoint_url, profile=profile)
        for operation in ("GetObject", "HeadObject"):
            self._client.meta.events.register(
                f"before-call.s3.{operation}",
                _ask_for_checksums,
                unique_id=f"checksums-{operation}",
            )
        self._reads = S3Reads(
            self._client,
            aws_credentials(region=region, profile=profile),
            bucket=bucket,
            pool=Pool(
                timeouts=Timeouts(limits.connect_timeout_seconds, limits.read_timeout_seconds),
                kept_at_most=limits.connections_at_most,
                ca_file=os.environ.get("AWS_CA_BUNDLE", ""),  # as boto3
            ),
        )
        self._takes_boto3s_way = not self._reads.is_possible

    def open(self, key: str) -> "S3Object":
        """One GET of the object as it is now; see SourceStore."""
        try:
            return self._get(key, {})
        except FAILURES as error:
            raise_translated(error)

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> "S3Object":
        """One GET of a range of exactly this object; see SourceStore."""
        wanted = range_headers(first_byte=first_byte, last_byte=last_byte, pin=pin)
        if pin.version_id:
            # A version never changes, and can be read after it was overwritten.
            del wanted["If-Match"]
        try:
            found = self._get(key, wanted, version_id=pin.version_id)
        except FAILURES as error:
            try:
                raise_translated(error)
            except ObjectMissing as missing:
                raise _gone(missing) from error
        try:
            check_range(
                found.status,
                found.headers,
                first_byte=first_byte,
                last_byte=last_byte,
                pin=pin,
                request_id=found.info.request_id,
            )
        except ReplicationError:
            found.close()
            raise
        return found

    def _get(self, key: str, headers: Mapping[str, str], *, version_id: str = "") -> "S3Object":
        if not self._takes_boto3s_way:
            try:
                answer = self._reads.get(key, headers=headers, version_id=version_id)
            except ClientError as error:
                if error.response["Error"].get("Code") not in _OF_ANOTHER_REGION:
                    raise
                # boto3 finds out of which, and keeps it in mind.
                self._takes_boto3s_way = True
            else:
                return S3Object(answer.status, answer.headers.lower, answer)
        arguments = {_BOTO3S_NAMES[name]: value for name, value in headers.items()}
        if version_id:
            arguments["VersionId"] = version_id
        response = away(partial(self._client.get_object, Bucket=self._bucket, Key=key, **arguments))
        about = response["ResponseMetadata"]
        return S3Object(
            about["HTTPStatusCode"], about["HTTPHeaders"], _Boto3sBody(response["Body"])
        )

    def head(self, key: str) -> ObjectInfo:
        """What there is now, without its content; see SourceStore."""
        try:
            response = away(partial(self._client.head_object, Bucket=self._bucket, Key=key))
        except ClientError as error:
            if not error.response["Error"].get("Code", "").isdecimal():
                raise_translated(error)
            # The answer to a HEAD has no body to say what is wrong, a missing bucket for example.
            with self.open(key) as found:
                return found.info
        except BotoCoreError as error:
            raise_translated(error)
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        return object_info(headers, size_bytes=_length(headers))

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """The object's tags; see SourceStore."""
        held = {"VersionId": version_id} if version_id else {}
        try:
            answer = away(
                partial(self._client.get_object_tagging, Bucket=self._bucket, Key=key, **held)
            )
        except (ClientError, BotoCoreError) as error:
            try:
                raise_translated(error)
            except ObjectMissing as missing:
                raise _gone(missing) from error
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def request_restore(self, key: str, *, days: int, tier: str) -> None:
        """Ask for an archived object; see SourceStore."""
        wanted = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
        try:
            away(
                partial(
                    self._client.restore_object,
                    Bucket=self._bucket,
                    Key=key,
                    RestoreRequest=wanted,
                )
            )
        except ClientError as error:
            if error.response["Error"].get("Code") not in _NOTHING_TO_RESTORE:
                raise_translated(error)
        except BotoCoreError as error:
            raise_translated(error)


class _Body(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...
    def close(self) -> None: ...


class _Boto3sBody:
    """The body of boto3's answer, which blocks."""

    def __init__(self, body: _Body) -> None:
        self._body = body
        self.close = body.close

    def read(self, size: int = -1, /) -> bytes:
        return away(self._body.read if size < 0 else partial(self._body.read, size))


class S3Object:
    """An S3 object being read."""

    def __init__(self, status: int, headers: Mapping[str, str], body: _Body) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        try:
            self.length_bytes = _length(headers)
        except ReplicationError:
            self._body.close()
            raise
        total = _TOTAL.fullmatch(headers.get("content-range", ""))
        self.info = object_info(headers, size_bytes=int(total[1]) if total else self.length_bytes)
        if not self.length_bytes:
            self._body.read()  # nobody else will, and the connection is to be used again

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; see Reader."""
        try:
            return self._body.read(size)
        except (IncompleteReadError, ResponseStreamingError, AnswerBroken) as error:
            raise ReplicationError(
                ErrorCode.SOURCE_TRUNCATED, str(error), request_id=self.info.request_id
            ) from error
        except FAILURES as error:
            raise_translated(error)

    def close(self) -> None:
        """Stop reading."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _ask_for_checksums(params: dict[str, Any], **_: Any) -> None:
    """Costs nothing; as boto3's own parameter it would have boto3 compute them once more."""
    if "Range" not in params["headers"]:
        params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if not text.isdecimal():
        # S3 always says it; http.client takes a head that broke off for a whole one.
        raise ReplicationError(
            ErrorCode.SOURCE_TRUNCATED,
            "the connection broke in the head of the answer",
            request_id=headers.get("x-amz-request-id", ""),
        )
    return int(text)


def _gone(missing: ObjectMissing) -> ReplicationError:
    return ReplicationError(
        ErrorCode.SOURCE_CHANGED, "it was deleted meanwhile", request_id=missing.request_id
    )
