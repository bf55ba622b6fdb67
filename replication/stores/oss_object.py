"""An OSS object being read back, to be compared."""

from types import TracebackType
from typing import Any, Self

from replication.errors import ErrorCode, ReplicationError
from replication.stores.oss_headers import replica_info
from replication.stores.transport import Answer, TransportError


class OssObject:
    """The answer to a GET, byte by byte as it is stored."""

    def __init__(self, answer: Any) -> None:
        self.info = replica_info(answer.headers)
        self.length_bytes = self.info.size_bytes
        # Below oss2, which decompresses what is stored compressed.
        self._answer: Answer = answer.resp.answer

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; see Reader."""
        try:
            return self._answer.read(size)
        except TransportError as error:
            raise ReplicationError(
                ErrorCode.DESTINATION_UNREACHABLE, str(error), request_id=self.info.request_id
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answer.close()
