"""Make one key at the destination equal to the source, now."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from anycrc import Model

from replication.errors import ErrorCode, ObjectMissing, ReplicationError
from replication.jobs import Completion
from replication.keys import (
    PROVENANCE_ETAG,
    PROVENANCE_VERSION,
    check_destination_key,
    check_size,
    check_user_metadata,
)
from replication.models import Outcome
from replication.pace import ByteAllowance
from replication.stores.base import (
    DestinationStore,
    ObjectInfo,
    ReplicaAttributes,
    SourceObject,
    SourceStore,
)

_CRC64 = Model("CRC64-XZ")  # OSS's: ECMA-182, reflected


@dataclass(frozen=True)
class Transfer:
    """One key, from where to where; `may_go_on` raises as soon as the job is not ours any more.

    With `allowance`, no byte is sent before it may be.
    """

    source: SourceStore
    source_key: str
    destination: DestinationStore
    destination_key: str
    mirror_deletes: bool
    may_go_on: Callable[[], None]
    allowance: ByteAllowance | None = None

    def run(self) -> Completion:
        """Copy the object as it is now, or take note that there is none.

        Raises:
            ReplicationError: the try was unsuccessful; the replica is what it was before,
                except after CHECKSUM_MISMATCH.
            LeaseLost: the job is not ours any more.
        """
        check_destination_key(self.destination_key)
        try:
            source_object = self.source.open(self.source_key)
        except ObjectMissing as missing:
            return self._follow_delete(missing)
        with source_object:
            return self._copy(source_object)

    def _copy(self, source_object: SourceObject) -> Completion:
        info = source_object.info
        check_size(info.size_bytes)
        user_metadata = info.user_metadata | _provenance(info)
        check_user_metadata(user_metadata)
        self.may_go_on()
        body = VerifiedBody(source_object, before_handing_on=self._before_handing_on)
        receipt = self.destination.put(
            self.destination_key,
            body,
            ReplicaAttributes(content_headers=info.content_headers, user_metadata=user_metadata),
        )
        crc64 = body.finish()
        if receipt.crc64 != crc64:
            raise ReplicationError(
                ErrorCode.CHECKSUM_MISMATCH,
                f"read CRC-64 {crc64}, OSS answered {receipt.crc64 or 'none'}",
                request_id=receipt.request_id,
            )
        return Completion(
            Outcome.COPIED,
            size_bytes=info.size_bytes,
            source_etag=info.etag,
            source_version_id=info.version_id,
            source_crc64=crc64,
            source_request_id=info.request_id,
            destination_etag=receipt.etag,
            destination_crc64=receipt.crc64,
            destination_request_id=receipt.request_id,
        )

    def _before_handing_on(self, size_bytes: int) -> None:
        self.may_go_on()
        if self.allowance is not None:
            self.allowance.spend(size_bytes, may_go_on=self.may_go_on)

    def _follow_delete(self, missing: ObjectMissing) -> Completion:
        if not self.mirror_deletes:
            return Completion(Outcome.ABSENT, source_request_id=missing.request_id)
        self.may_go_on()
        receipt = self.destination.delete(self.destination_key)
        return Completion(
            Outcome.DELETED,
            source_request_id=missing.request_id,
            destination_request_id=receipt.request_id,
        )


class VerifiedBody:
    """A source object as the body of a PUT, verified while it passes.

    The source's length and MD5 are checked before the last bytes are handed on. So a short or
    corrupt read ends the PUT before its Content-Length is reached, and OSS keeps what it had.
    """

    def __init__(
        self, source_object: SourceObject, *, before_handing_on: Callable[[int], None]
    ) -> None:
        self._object = source_object
        self._before_handing_on = before_handing_on
        self._read_bytes = 0
        self._crc64 = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if source_object.info.md5 else None

    @property
    def len(self) -> int:
        return self._object.info.size_bytes

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them; empty at the end.

        Raises:
            ReplicationError: SOURCE_TRUNCATED, SOURCE_CORRUPT, or what the source raises.
            LeaseLost: the job is not ours any more.
        """
        left = self.len - self._read_bytes
        data = self._object.read(left if size < 0 else min(size, left)) if left else b""
        self._read_bytes += len(data)
        self._crc64 = _CRC64.calc(data, self._crc64)
        if self._md5 is not None:
            self._md5.update(data)
        if not data and left:
            raise self._error(
                ErrorCode.SOURCE_TRUNCATED, f"it ended after {self._read_bytes} of {self.len} bytes"
            )
        if self._md5 is not None and self._read_bytes == self.len:
            self._check_md5(self._md5.hexdigest())
        # Last, so that nothing is handed on that was read while the lease ran out.
        self._before_handing_on(len(data))
        return data

    def finish(self) -> str:
        """The CRC-64 of the whole object, in decimal as OSS writes it."""
        assert self._read_bytes == self.len, "the destination answered before it had read the body"
        return str(self._crc64)

    def _check_md5(self, md5: str) -> None:
        if md5 != self._object.info.md5:
            raise self._error(
                ErrorCode.SOURCE_CORRUPT, f"read MD5 {md5}, the source's is {self._object.info.md5}"
            )

    def _error(self, code: ErrorCode, detail: str) -> ReplicationError:
        return ReplicationError(code, detail, request_id=self._object.info.request_id)


def _provenance(info: ObjectInfo) -> dict[str, str]:
    places = {PROVENANCE_ETAG: info.etag, PROVENANCE_VERSION: info.version_id}
    return {name: value for name, value in places.items() if value}
