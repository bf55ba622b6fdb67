"""Carries the requests of boto3's clients over our own transport.

So each request to AWS has the same limits, proxies and authorities. boto3 still signs, and reads
the answers. Only the requests with which botocore finds credentials (the metadata service, SSO) go
its own way.
"""

from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import HTTPClientError

from replication.stores.transport import Answer, Pool, TransportError

_CHUNK_BYTES = 64 * 1024

# Checks an answer of the named operation; raises TransportError if it can't be the service's.
Check = Callable[[Answer, str], None]


class CarrierError(HTTPClientError):
    """The exchange failed; `cause` says how."""

    fmt = "{error}"

    def __init__(self, error: TransportError) -> None:
        super().__init__(error=error)
        self.cause = error


def carry(client: Any, pool: Pool, *, check: Check | None = None) -> None:
    """Let the pool send all further requests of a boto3 client. They raise CarrierError."""
    service = client.meta.service_model.service_id.hyphenize()

    def send(request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        try:
            answer = pool.request(
                request.method,
                request.url,
                headers=[(name, _text(value)) for name, value in _headers(request)],
                body=_body(request.body),
            )
            if check is not None:
                check(answer, event_name.rpartition(".")[2])
        except TransportError as error:
            raise CarrierError(error) from error
        return AWSResponse(request.url, answer.status, dict(answer.headers), _Raw(answer))  # type: ignore[arg-type]

    # One handler a client: botocore ignores a second one of the same id.
    client.meta.events.register(f"before-send.{service}", send, unique_id="s3sync-carrier")


class _Raw:
    """The body of an answer, as botocore reads it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.close = answer.close

    def read(self, size: int | None = None) -> bytes:
        try:
            return self._answer.read_all() if size is None else self._answer.read(size)
        except TransportError as error:
            raise CarrierError(error) from error

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _headers(request: AWSPreparedRequest) -> Iterator[tuple[str, Any]]:
    # The transport writes the length of the body, and sends the whole body at once.
    left_out = {"content-length", "expect", "transfer-encoding"}
    return (
        (name, value) for name, value in request.headers.items() if name.lower() not in left_out
    )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else bytes(body.read())
