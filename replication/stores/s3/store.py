"""Reads objects from S3."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.stores.aws import aws_client, aws_credentials
from replication.stores.base import ObjectInfo
from replication.stores.http_headers import check_change, check_range, range_headers
from replication.stores.listing import PAGE_KEYS, BrokenPage, ListedPage
from replication.stores.pools import new_pool
from replication.stores.profile_use import Service, check_use
from replication.stores.s3.errors import FAILURES, raise_translated
from replication.stores.s3.headers import EtagKind, object_info
from replication.stores.s3.listing import list_page, list_page_by_boto3
from replication.stores.s3.objects import Body, Boto3Body, S3Object, length_of
from replication.stores.s3.reads import S3Reads, is_directory_bucket
from replication.stores.s3.restoring import request_restore
from replication.stores.transport.fibers import run_blocking

# S3's error codes for a request that was sent to another region than the bucket's.
_WRONG_REGION_CODES = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_BOTO3_PARAMETERS = {"Range": "Range", "If-Match": "IfMatch"}  # by header

_TIERED = "INTELLIGENT_TIERING"  # the storage class that has archive tiers of its own


class S3Store:
    """An S3 bucket as a source."""

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint_url: str,
        profile: str,
        requester_pays: bool = False,
    ) -> None:
        """
        Raises:
            ReplicationError: SOURCE_PROFILE_REFUSED, CREDENTIAL_PROFILE or SOURCE_CREDENTIALS.
                There is no store without credentials: it would be kept, and never look for them
                again.
        """
        check_use(profile, Service.S3, endpoint=endpoint_url, bucket=bucket)
        self._bucket = bucket
        self._payer = {"RequestPayer": "requester"} if requester_pays else {}
        try:
            credentials = aws_credentials(region=region, profile=profile)
            if credentials is None:
                raise NoCredentialsError
            self._client = aws_client(
                "s3", region=region, endpoint_url=endpoint_url, profile=profile
            )
        except (BotoCoreError, ValueError) as error:  # not a region, or not an address
            raise_translated(error)
        self._etags = _etag_kind(bucket, self._client.meta.endpoint_url)
        for operation in ("GetObject", "HeadObject"):
            self._client.meta.events.register(
                f"before-call.s3.{operation}",
                _ask_for_checksums,
                unique_id=f"checksums-{operation}",
            )
        self._reads = S3Reads(
            self._client,
            credentials,
            bucket=bucket,
            requester_pays=requester_pays,
            pool=new_pool(),
        )
        self._uses_boto3 = not self._reads.is_supported

    def open(self, key: str) -> S3Object:
        """Open the object as it is now; see SourceStore."""
        try:
            return self._get(key, {})
        except FAILURES as error:
            self._raise_translated(error)

    def open_range(self, key: str, *, first_byte: int, last_byte: int, pin: ObjectInfo) -> S3Object:
        """Open a range of exactly this object; see SourceStore."""
        headers = range_headers(first_byte=first_byte, last_byte=last_byte, pin=pin)
        if pin.version_id:
            # A version never changes, and can be read after it is overwritten.
            del headers["If-Match"]
        try:
            return self._get_range(
                key, headers, first_byte=first_byte, last_byte=last_byte, pin=pin
            )
        except ReplicationError as error:
            raise check_change(error, pin=pin, look=partial(self.head, key)) from error

    def _get_range(
        self,
        key: str,
        headers: Mapping[str, str],
        *,
        first_byte: int,
        last_byte: int,
        pin: ObjectInfo,
    ) -> S3Object:
        try:
            found = self._get(key, headers, version_id=pin.version_id)
        except FAILURES as error:
            try:
                self._raise_translated(error)
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

    def _raise_translated(self, error: Exception) -> NoReturn:
        """Raise the ObjectMissing or ReplicationError for a GET of an object that failed.

        S3 calls a GET of an SSE-C object without its key an invalid request, and says nothing else
        that a program can read. It has other reasons too, but they concern every request to the
        bucket: an endpoint with Transfer Acceleration, a kind of bucket that the endpoint does not
        serve. So a request for the bucket tells them apart.
        """
        try:
            raise_translated(error)
        except ReplicationError as refused:
            is_of_object = refused.code is ErrorCode.SOURCE_INVALID_REQUEST and self._is_served()
            if not is_of_object:
                raise
            raise ReplicationError(
                ErrorCode.SOURCE_CUSTOMER_KEY, refused.detail, request_id=refused.request_id
            ) from error

    def _is_served(self) -> bool:
        """Whether S3 serves requests for the bucket, or refuses them for a reason of their own."""
        try:
            run_blocking(partial(self._client.head_bucket, Bucket=self._bucket))
        except ClientError as error:
            return error.response["ResponseMetadata"].get("HTTPStatusCode") != 400
        except BotoCoreError as error:
            raise_translated(error)
        return True

    def _get(self, key: str, headers: Mapping[str, str], *, version_id: str = "") -> S3Object:
        if not self._uses_boto3:
            try:
                answer = self._reads.get(key, headers=headers, version_id=version_id)
            except ClientError as error:
                self._follow_region(error)
            else:
                return self._object(answer.status, answer.headers.lower, answer)
        arguments = {_BOTO3_PARAMETERS[name]: value for name, value in headers.items()}
        arguments |= self._payer
        if version_id:
            arguments["VersionId"] = version_id
        response = run_blocking(
            partial(self._client.get_object, Bucket=self._bucket, Key=key, **arguments)
        )
        metadata = response["ResponseMetadata"]
        return self._object(
            metadata["HTTPStatusCode"], metadata["HTTPHeaders"], Boto3Body(response["Body"])
        )

    def _follow_region(self, error: ClientError) -> None:
        """Leave the requests to boto3 from now on, which finds the bucket's region; or raise."""
        if error.response["Error"].get("Code") not in _WRONG_REGION_CODES:
            raise error
        self._uses_boto3 = True

    def _object(self, status: int, headers: Mapping[str, str], body: Body) -> S3Object:
        return S3Object(status, headers, body, etags=self._etags)

    def head(self, key: str) -> ObjectInfo:
        """Describe the object without its content; see SourceStore."""
        if not self._uses_boto3:
            try:
                answer = self._reads.head(key)
            except FAILURES as error:
                raise_translated(error)
            if answer is None:
                return self._info_by_get(key)
            return self._info(answer.headers.lower)
        try:
            response = run_blocking(
                partial(self._client.head_object, Bucket=self._bucket, Key=key, **self._payer)
            )
        except ClientError as error:
            if not error.response["Error"].get("Code", "").isdecimal():
                raise_translated(error)
            return self._info_by_get(key)
        except BotoCoreError as error:
            raise_translated(error)
        return self._info(response["ResponseMetadata"]["HTTPHeaders"])

    def _info_by_get(self, key: str) -> ObjectInfo:
        """Describe the object after a refused HEAD.

        The answer to a HEAD has no body, so it can't say what is wrong, such as a missing bucket.
        A GET can.
        """
        with self.open(key) as found:
            return found.info

    def _info(self, headers: Mapping[str, str]) -> ObjectInfo:
        return object_info(headers, size_bytes=length_of(headers), etags=self._etags)

    def tags(self, key: str, *, version_id: str) -> dict[str, str]:
        """Return the object's tags; see SourceStore."""
        more = {"VersionId": version_id} if version_id else {}
        more |= self._payer
        try:
            answer = run_blocking(
                partial(self._client.get_object_tagging, Bucket=self._bucket, Key=key, **more)
            )
        except (ClientError, BotoCoreError) as error:
            try:
                raise_translated(error)
            except ObjectMissing as missing:
                raise _gone(missing) from error
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def list_page(self, *, prefix: str, after: str, limit: int = PAGE_KEYS) -> ListedPage:
        """List objects in the order of their keys; see stores/listing.py.

        Raises:
            Unlistable: the keys are in no order that can be followed.
            ReplicationError: any other failure.
        """
        return self._list(prefix=prefix, after=after, limit=limit, token="")

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        """List objects in the server's own order; see stores/listing.py."""
        return self._list(prefix=prefix, after=None, limit=PAGE_KEYS, token=token)

    def _list(self, *, prefix: str, after: str | None, limit: int, token: str) -> ListedPage:
        page: Any = {"prefix": prefix, "after": after, "limit": limit, "token": token}
        try:
            if not self._uses_boto3:
                try:
                    return list_page(self._reads, **page)
                except ClientError as error:
                    self._follow_region(error)
            place = {"Bucket": self._bucket, **self._payer}
            return run_blocking(lambda: list_page_by_boto3(self._client, place, **page))
        except BrokenPage as error:
            detail = f"ListObjectsV2: {error}"
            raise ReplicationError(ErrorCode.SOURCE_UNREACHABLE, detail) from error
        except FAILURES as error:
            raise_translated(error)

    def put(self, key: str, content: bytes) -> None:
        """Write a small object; see SourceStore."""
        place = {"Bucket": self._bucket, "Key": key, **self._payer}
        try:
            run_blocking(partial(self._client.put_object, **place, Body=content))
        except (ClientError, BotoCoreError) as error:
            raise_translated(error)

    def request_restore(self, key: str, *, days: int, tier: str) -> int | None:
        """Ask for the restore of an archived object; see SourceStore."""
        try:
            is_tiered = self.head(key).storage_class == _TIERED
        except ObjectMissing:
            is_tiered = False  # S3 says so once more, or that restores are not allowed
        place = {"Bucket": self._bucket, "Key": key, **self._payer}
        return request_restore(
            self._client, place, days=days, tier=tier, returns_to_its_tier=is_tiered
        )


def _etag_kind(bucket: str, endpoint_url: str) -> EtagKind:
    if is_directory_bucket(bucket):
        return EtagKind.OPAQUE
    host = urlsplit(endpoint_url).hostname or ""
    return EtagKind.MD5 if host.endswith(_AWS_HOSTS) else EtagKind.PERHAPS_MD5


def _ask_for_checksums(params: dict[str, Any], **_: Any) -> None:
    """Ask S3 for its checksums, which costs nothing extra.

    With boto3's own parameter for this, boto3 would compute the checksums once more.
    """
    if "Range" not in params["headers"]:
        params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def _gone(missing: ObjectMissing) -> ReplicationError:
    return ReplicationError(
        ErrorCode.SOURCE_CHANGED, "the object was deleted meanwhile", request_id=missing.request_id
    )
