"""The body of an event call: how large it is, known before it is read, and its text."""

from django.http import HttpRequest

from replication.api.refusals import Refused
from replication.intake.s3_events import UnparseableMessage

# What a Lambda function or an SQS message can carry at most.
MAX_BODY_BYTES = 1024 * 1024


def check_size(request: HttpRequest) -> None:
    """Look at what the call announces: what is too large never enters memory.

    No more is ever read than was announced; a body without a Content-Length is empty.

    Raises:
        Refused: 413.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        raise Refused(
            413, "too_large", f"A body has {MAX_BODY_BYTES:,} bytes at most: send several."
        )


def read_text(request: HttpRequest) -> str:
    """The whole body.

    Raises:
        Refused: 413.
        UnparseableMessage: it is empty, or no UTF-8.
    """
    check_size(request)
    try:
        body = request.body.decode()
    except UnicodeDecodeError as error:
        raise UnparseableMessage(f"the body is not UTF-8: {error.reason}") from error
    if not body:
        raise UnparseableMessage("the body is empty; it needs JSON and a Content-Length")
    return body
