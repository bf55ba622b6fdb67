"""Reads objects from S3."""

import re
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.aws import aws_client
from replication.stores.base import ObjectInfo
from replication.stores.ranges import check_range, range_headers
from replication.stores.s3_errors import raise_translated
from replication.stores.s3_headers import object_info

_TOTAL = re.compile(r".*/([0-9]+)")

# What S3 answers to a request to restore what it is restoring, or what is no archived object.
_NOTHING_TO_RESTORE = {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}


class S3Store:
    """One S3 bucket as a source."""

    def __init__(self, *, bucket: str, region: str, endpoint_url: str, profile: str) -> None:
        self._bucket = bucket
        self._client = aws_client("s3", region=region, endpoint_url=endpoint_url, profile=profile)
        for operation in ("GetObject", "HeadObject"):
            self._client.meta.events.register(
                f"before-call.s3.{operation}",
                _ask_for_checksums,
                unique_id=f"checksums-{operation}",
            )

    def open(self, key: str) -> "S3Object":
        """One GET of the object as it is now; see SourceStore."""
        try:
            return S3Object(self._client.get_object(Bucket=self._bucket, Key=key))
        except (ClientError, BotoCoreError) as error:
            raise_translated(error)

    def open_range(
        self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo
    ) -> "S3Object":
        """One GET of a range of exactly this object; see SourceStore."""
        wanted = range_headers(first_byte=first_byte, last_byte=last_byte, pin=pin)
        # A version never changes, and can be read after it was overwritten.
        held = {"VersionId": pin.version_id} if pin.version_id else {"IfMatch": wanted["If-Match"]}
        try:
            response = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=wanted["Range"], **held
            )
        except (ClientError, BotoCoreError) as error:
            try:
                raise_translated(error)
            except ObjectMissing as missing:
                raise _gone(missing) from error
        found = S3Object(response)
        try:
            check_range(
                response["ResponseMetadata"]["HTTPStatusCode"],
                response["ResponseMetadata"]["HTTPHeaders"],
                first_byte=first_byte,
                last_byte=last_byte,
                pin=pin,
                request_id=found.info.request_id,
            )
        except ReplicationError:
            found.close()
            raise
        return found

    def head(self, key: str) -> ObjectInfo:
        """What there is now, without its content; see SourceStore."""
        try:
            response = self._client.head_object(Bucket=self._bucket, Key=key)
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
            answer = self._client.get_object_tagging(Bucket=self._bucket, Key=key, **held)
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
            self._client.restore_object(Bucket=self._bucket, Key=key, RestoreRequest=wanted)
        except ClientError as error:
            if error.response["Error"].get("Code") not in _NOTHING_TO_RESTORE:
                raise_translated(error)
        except BotoCoreError as error:
            raise_translated(error)


class S3Object:
    """An S3 object being read."""

    def __init__(self, response: dict[str, Any]) -> None:
        headers: dict[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
        self._body = response["Body"]
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
        except (IncompleteReadError, ResponseStreamingError) as error:
            raise ReplicationError(
                ErrorCode.SOURCE_TRUNCATED, str(error), request_id=self.info.request_id
            ) from error
        except BotoCoreError as error:
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


def _length(headers: dict[str, str]) -> int:
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
