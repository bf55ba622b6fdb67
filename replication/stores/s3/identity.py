"""Tells S3's answers from those of others that answer in its place.

S3 sends `x-amz-request-id` with every answer, and so do the servers that speak its protocol
(MinIO, Ceph, SeaweedFS, RustFS). moto sends only `x-amzn-requestid`, AWS's name for the same with
its other services. MiniStack sends some refusals without it, but with `RequestId` in S3's error
document; that is enough for a refusal, but not for a missing object, which may lead to a delete. A
gateway that knows nothing of AWS sends none of them.
"""

import re
from collections.abc import Mapping

from replication.stores.identity import check_identity, impostor
from replication.stores.transport import Answer

_REQUEST_IDS = ("x-amz-request-id", "x-amzn-requestid")
_ERROR_DOCUMENT = re.compile(rb"<Error[ >].*<RequestId>[^<]", re.DOTALL)
_PEEKED_BYTES = 4096
_OBJECT_OPERATIONS = {"GetObject", "HeadObject"}


def check_s3(answer: Answer, operation: str) -> None:
    """Check that an answer comes from S3: no other answer may be an object, or a missing one.

    Raises:
        Impostor: it lacks what S3 always sends; the answer is closed.
    """
    if not _is_refusal_of_s3(answer):
        check_identity(answer, request_ids=_REQUEST_IDS)
    is_object = operation in _OBJECT_OPERATIONS and answer.status in {200, 206}
    if is_object and not answer.headers.get("etag"):
        raise impostor(answer, missing="ETag")


def _is_refusal_of_s3(answer: Answer) -> bool:
    return (
        answer.status >= 300
        and answer.status != 404
        and not request_id(answer.headers)
        and bool(_ERROR_DOCUMENT.search(answer.peek(_PEEKED_BYTES)))
    )


def request_id(headers: Mapping[str, str]) -> str:
    """Return S3's id of the request; names are in lower case."""
    return next(filter(None, map(headers.get, _REQUEST_IDS)), "")
