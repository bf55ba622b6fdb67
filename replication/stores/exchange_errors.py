"""Which error code an exchange that failed has, on either side."""

from replication.errors import ErrorCode
from replication.stores.identity import Impostor
from replication.stores.transport import (
    AddressRefused,
    AnswerBroken,
    TlsFailed,
    TooSlow,
    TransportError,
)

# The first kind that an error is of decides.
_CODES: dict[type[TransportError], tuple[ErrorCode, ErrorCode]] = {
    Impostor: (ErrorCode.SOURCE_NOT_S3, ErrorCode.DESTINATION_NOT_OSS),
    AddressRefused: (ErrorCode.SOURCE_ADDRESS_REFUSED, ErrorCode.DESTINATION_ADDRESS_REFUSED),
    TlsFailed: (ErrorCode.SOURCE_TLS, ErrorCode.DESTINATION_TLS),
    TooSlow: (ErrorCode.SOURCE_TOO_SLOW, ErrorCode.DESTINATION_TOO_SLOW),
    AnswerBroken: (ErrorCode.SOURCE_TRUNCATED, ErrorCode.DESTINATION_UNREACHABLE),
    TransportError: (ErrorCode.SOURCE_UNREACHABLE, ErrorCode.DESTINATION_UNREACHABLE),
}


def source_code(error: TransportError) -> ErrorCode:
    """Return the code of a failed exchange with a source."""
    return _codes(error)[0]


def destination_code(error: TransportError) -> ErrorCode:
    """Return the code of a failed exchange with a destination."""
    return _codes(error)[1]


def _codes(error: TransportError) -> tuple[ErrorCode, ErrorCode]:
    return next(codes for kind, codes in _CODES.items() if isinstance(error, kind))
