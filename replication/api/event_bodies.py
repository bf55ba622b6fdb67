"""The body of an event call: its size is checked before it is read as text."""

from django.http import HttpRequest

from replication.api.refusals import Refused
from replication.intake.message_fields import UnparseableMessage

# The most that an event of a Lambda function or an SQS message can carry.
MAX_BODY_BYTES = 1024 * 1024
TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES:,} bytes. Split it into several calls."


def check_size(request: HttpRequest) -> None:
    """Check the announced size, so that a body that is too large never enters memory.

    Django never reads more than was announced; without a Content-Length, the body is empty.

    Raises:
        Refused: 413.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        raise Refused(
            413,
            "too_large",
            TOO_LARGE,
        )


def read_text(request: HttpRequest) -> str:
    """The whole body, without a byte order mark.

    Raises:
        Refused: 413.
        UnparseableMessage: the body is empty or not UTF-8.
    """
    check_size(request)
    try:
        body = request.body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnparseableMessage(f"the body is not UTF-8: {error.reason}") from error
    if not body:
        raise UnparseableMessage("the body is empty; send JSON with a Content-Length")
    return body
