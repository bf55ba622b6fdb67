"""Writes objects to OSS, and reads them back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import oss2
import oss2.utils

from replication.errors import ErrorCode, ReplicationError
from replication.models import Addressing
from replication.stores.base import (
    Body,
    PartReceipt,
    Receipt,
    ReplicaAttributes,
    ReplicaInfo,
    UnfinishedUpload,
)
from replication.stores.listing import PAGE_KEYS, BrokenPage, ListedPage, parse_page, query
from replication.stores.oss.credentials import HostSigner, provider
from replication.stores.oss.errors import FAILURES, is_missing, raise_translated
from replication.stores.oss.listing import parts_of_page
from replication.stores.oss.objects import OssObject, for_oss2, replica_info, request_headers
from replication.stores.oss.session import OssSession
from replication.stores.oss.writes import OssWrites
from replication.stores.pools import new_pool
from replication.stores.profile_use import Service, check_use

_Answer = TypeVar("_Answer")

# Without this, a control character in a key makes the answer, which repeats the key, invalid XML.
_URL_ENCODED = {"encoding-type": "url"}


class OssStore:
    """An OSS bucket as a destination."""

    def __init__(
        self, *, bucket: str, endpoint: str, region: str, addressing: str, profile: str
    ) -> None:
        check_use(profile, Service.OSS, endpoint=endpoint, bucket=bucket)
        credentials = provider(profile)
        session = OssSession(new_pool())
        try:
            self._bucket = oss2.Bucket(
                HostSigner(credentials),
                endpoint,
                bucket,
                is_cname=addressing == Addressing.CUSTOM_DOMAIN,
                is_path_style=addressing == Addressing.PATH,
                region=region,
                session=session,
                # transfer/verified_body.py computes the CRC-64 while it reads, and compares it.
                enable_crc=False,
            )
        except (oss2.exceptions.ClientError, ValueError) as error:
            detail = f"oss2 does not accept the bucket {bucket!r} at {endpoint!r}"
            raise ReplicationError(ErrorCode.DESTINATION_BUCKET_MISSING, detail) from error
        self._writes = OssWrites(self._bucket, credentials, session)

    def put(self, key: str, body: Body, attributes: ReplicaAttributes) -> Receipt:
        """Write the whole object by one PUT; see DestinationStore."""
        headers = request_headers(attributes)
        if "content-type" not in headers and (kind := oss2.utils.content_type_by_name(key)):
            headers["content-type"] = kind  # as oss2 has it in `init_multipart_upload`
        return self._send_body(
            key, body, parameters={}, headers=headers, sets_public_acl=attributes.is_public
        )

    def set_tags(self, key: str, tags: Mapping[str, str]) -> Receipt | None:
        """Replace all tags of the object; see DestinationStore."""
        rule = oss2.models.TaggingRule()
        for name, value in tags.items():
            rule.add(name, value)

        def request() -> Any:
            if tags:
                return self._bucket.put_object_tagging(key, oss2.models.Tagging(rule))
            return self._bucket.delete_object_tagging(key)

        answer = _write_if_exists(request)
        return Receipt(request_id=answer.request_id) if answer else None

    def delete(self, key: str) -> Receipt:
        """Delete the object; see DestinationStore."""
        answer = _write(lambda: self._bucket.delete_object(key))
        return Receipt(request_id=answer.request_id)

    def create_upload(self, key: str, attributes: ReplicaAttributes) -> str:
        """Begin a multipart upload; see DestinationStore."""
        headers = for_oss2(request_headers(attributes))
        # Treated as a read: without an answer it may leave an unfinished upload, but no object
        # changes.
        answer = _read(
            lambda: self._bucket.init_multipart_upload(key, headers=headers, params=_URL_ENCODED),
            sets_public_acl=attributes.is_public,
        )
        return str(answer.upload_id)

    def upload_part(self, key: str, upload_id: str, number: int, body: Body) -> PartReceipt:
        """Write a part; see DestinationStore."""
        parameters = {"partNumber": str(number), "uploadId": upload_id}
        receipt = self._send_body(key, body, parameters=parameters, headers={})
        return PartReceipt(number, receipt.etag, receipt.crc64, body.len, receipt.request_id)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[PartReceipt]) -> Receipt:
        """Turn the parts into the object; see DestinationStore."""
        listed = [oss2.models.PartInfo(part.number, part.etag) for part in parts]

        def complete() -> Any:
            answer = self._bucket.complete_multipart_upload(key, upload_id, listed)
            answer.resp.read()  # otherwise the connection can't be reused
            return answer

        return _receipt(_write(complete))

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Discard an upload and its parts; see DestinationStore."""
        try:
            _read(lambda: self._bucket.abort_multipart_upload(key, upload_id))
        except ReplicationError as error:
            if error.code != ErrorCode.UPLOAD_GONE:
                raise

    def list_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """List unfinished uploads; see DestinationStore."""
        page = None
        while page is None or page.is_truncated:
            after = (page.next_key_marker, page.next_upload_id_marker) if page else ("", "")
            page = _read(partial(self._bucket.list_multipart_uploads, prefix, "", *after))
            for one in page.upload_list:
                began_at = datetime.fromtimestamp(one.initiation_date, UTC)
                yield UnfinishedUpload(one.key, one.upload_id, began_at)

    def list_parts(self, key: str, upload_id: str) -> list[PartReceipt]:
        """List the parts of an upload; see DestinationStore."""
        parts: list[PartReceipt] = []
        marker = 0
        while True:
            page = parts_of_page(_read(partial(self._parts_page, key, upload_id, marker)))
            parts += page.parts
            if not page.is_truncated or page.next_marker <= marker:
                return parts
            marker = page.next_marker

    def head(self, key: str) -> ReplicaInfo | None:
        """Describe the object as it is now; see DestinationStore."""
        answer = _read_if_exists(lambda: self._bucket.head_object(key))
        return replica_info(answer.headers) if answer else None

    def tags(self, key: str) -> dict[str, str]:
        """Return the object's tags; see DestinationStore."""
        answer = _read_if_exists(lambda: self._bucket.get_object_tagging(key))
        return dict(answer.tag_set.tagging_rule) if answer else {}

    def open(self, key: str) -> OssObject | None:
        """Open the object as it is now; see DestinationStore."""
        answer = _read_if_exists(lambda: self._bucket.get_object(key))
        return OssObject(answer) if answer else None

    def list_page(self, *, prefix: str, after: str, limit: int = PAGE_KEYS) -> ListedPage:
        """List objects in the order of their keys; see stores/listing.py.

        Raises:
            Unlistable: the keys are in no order that can be followed.
            ReplicationError: any other failure.
        """
        return self._list(query(prefix=prefix, after=after, limit=limit), after=after)

    def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
        """List objects in the server's own order; see stores/listing.py."""
        return self._list(query(prefix=prefix, token=token), after=None)

    def _send_body(
        self,
        key: str,
        body: Body,
        *,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        sets_public_acl: bool = False,
    ) -> Receipt:
        """Make a request that carries this body."""
        tracked = _TrackedBody(body)
        try:
            return self._writes.put(key, tracked, parameters=parameters, headers=headers)
        except FAILURES as error:
            raise_translated(
                error, is_write=tracked.is_handed_over, sets_public_acl=sets_public_acl
            )

    def _list(self, parameters: dict[str, str], *, after: str | None) -> ListedPage:
        name = self._bucket.bucket_name
        document = _read(lambda: self._bucket._do("GET", name, "", params=parameters).read())
        try:
            return parse_page(bytes(document), after=after, plus_is_space=False)
        except BrokenPage as error:
            detail = f"ListObjectsV2: {error}"
            raise ReplicationError(ErrorCode.DESTINATION_UNREACHABLE, detail) from error

    def _parts_page(self, key: str, upload_id: str, marker: int) -> bytes:
        """Return a raw page of ListParts; oss2's parsed result has no checksums."""
        parameters = {
            "uploadId": upload_id,
            "part-number-marker": str(marker),
            "max-parts": "1000",
            **_URL_ENCODED,
        }
        answer = self._bucket._do("GET", self._bucket.bucket_name, key, params=parameters)
        return bytes(answer.read())


class _TrackedBody:
    """A body that notes when its last byte is handed over: before, OSS can't carry the PUT out."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._remaining_bytes = body.len

    @property
    def len(self) -> int:
        return self._body.len

    @property
    def is_handed_over(self) -> bool:
        return not self._remaining_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._body.read(size)
        self._remaining_bytes -= len(data)
        return data


def _read(request: Callable[[], _Answer], *, sets_public_acl: bool = False) -> _Answer:
    """Make a request that changes no object."""
    try:
        return request()
    except FAILURES as error:
        raise_translated(error, is_write=False, sets_public_acl=sets_public_acl)


def _read_if_exists(request: Callable[[], Any]) -> Any:
    """Make a request that reads an object; None if there is no such object."""
    try:
        return request()
    except FAILURES as error:
        if is_missing(error):
            return None
        raise_translated(error, is_write=False)


def _write(request: Callable[[], _Answer]) -> _Answer:
    """Make a request that changes an object, without a body to track."""
    try:
        return request()
    except FAILURES as error:
        raise_translated(error, is_write=True)


def _write_if_exists(request: Callable[[], Any]) -> Any:
    """Make a request that changes an object; None if there is no such object."""
    try:
        return request()
    except FAILURES as error:
        if is_missing(error):
            return None
        raise_translated(error, is_write=True)


def _receipt(answer: Any) -> Receipt:
    return Receipt(
        request_id=answer.request_id,
        etag=answer.etag or "",
        crc64="" if answer.crc is None else str(answer.crc),
    )
