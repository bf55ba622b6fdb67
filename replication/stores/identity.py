"""Tells the answers of a service from those of others that answer in its place.

A gateway, a captive portal or a proxy may answer any request, with any status and a page of its
own. Each service has a header that all of its answers carry.
"""

import re
from collections.abc import Collection

from replication.stores.transport import Answer, TransportError

# A load balancer before the service sends these while the service is away. The status says enough.
TEMPORARY_STATUSES = {408, 429, 500, 502, 503, 504}

_TAG = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_READ_BYTES = 2048
_SHOWN_CHARACTERS = 200


class Impostor(TransportError):
    """The answer comes from something else than the service. Its text has the beginning."""


def check_identity(answer: Answer, *, request_ids: Collection[str]) -> None:
    """Check that an answer has one of these headers, unless its status says enough.

    Args:
        request_ids: names in lower case.

    Raises:
        Impostor: it has none; the answer is closed.
    """
    if answer.status not in TEMPORARY_STATUSES and not any(
        map(answer.headers.lower.get, request_ids)
    ):
        raise impostor(answer, missing=next(iter(request_ids)))


def impostor(answer: Answer, *, missing: str) -> Impostor:
    """Close the answer, and return the error that shows its beginning."""
    with answer:
        try:
            beginning = answer.read_beginning(_READ_BYTES).decode(errors="replace")
        except TransportError:
            beginning = ""
    text = " ".join(_TAG.sub(" ", beginning).split())[:_SHOWN_CHARACTERS]
    kind = answer.headers.get("content-type", "no content type")
    location = answer.headers.get("location", "")
    return Impostor(
        f"status {answer.status} without {missing}"
        + (f", redirecting to {location.partition('?')[0]}" if location else "")
        + f" ({kind}): {text or 'no text'}"
    )
