"""The second way to authenticate: a signature, as the Lambda function makes it."""

import time

import structlog
from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase

from replication.api.authentication import Caller, authorize
from replication.api.event_bodies import check_size
from replication.api.refusals import Refused
from replication.intake.signatures import MAX_SKEW_SECONDS, SCHEME, read_signature
from replication.intake.signed_calls import take_once
from replication.models import TokenRole

log = structlog.get_logger(__name__)


class SignedCall(AuthBase):
    """`Authorization: S3SYNC-HMAC-SHA256 v=1,t=…,n=…,s=…`, with a key of S3SYNC_LAMBDA_KEYS.

    Checks the size, the time, the signature, and whether it was used before, in this order: the
    cheaper checks come first, and only callers with a key reach the database.
    """

    openapi_type = "http"
    openapi_scheme = SCHEME.lower()
    openapi_description = (
        "HMAC-SHA256 over version, time, nonce and body; docs/reference/api.md has the format"
    )

    def __call__(self, request: HttpRequest) -> Caller | None:
        """The caller; None if the call has no signature.

        Raises:
            Refused: 413 for a body over the limit, 401 for a signature that is wrong, old or used.
        """
        scheme, _, parameters = request.headers.get("Authorization", "").partition(" ")
        if scheme.upper() != SCHEME:
            return None
        check_size(request)
        signature = read_signature(parameters)
        if signature is None:
            raise _refused(
                "malformed_signature",
                f"The header must look like `Authorization: {SCHEME} v=1,t=…,n=…,s=…`; "
                "docs/reference/api.md explains each field.",
            )
        age_seconds = signature.age_seconds(time.time())
        if abs(age_seconds) > MAX_SKEW_SECONDS:
            raise _refused(
                "stale_signature",
                f"The signature's time is {abs(age_seconds):.0f} s "
                f"{'behind' if age_seconds > 0 else 'ahead of'} this server's clock; the limit "
                f"is {MAX_SKEW_SECONDS} s. Sign each call when you send it, and check both clocks.",
            )
        number = signature.number_of_key(request.body, settings.S3SYNC.lambda_keys)
        if number is None:
            raise _refused(
                "wrong_signature",
                "No key in S3SYNC_LAMBDA_KEYS gives this signature for this body. Give the caller "
                "one of these keys (the Lambda function: in S3SYNC_KEY), and check that no proxy "
                "changes the body.",
                keys=len(settings.S3SYNC.lambda_keys),
            )
        if not take_once(signature):
            raise _refused(
                "used_signature", "This signature was already used. Sign each call anew."
            )
        # The number shows in the log whether a key that is being replaced is still in use.
        return authorize(request, Caller(f"S3SYNC_LAMBDA_KEYS #{number}", TokenRole.OPERATE))


def _refused(error: str, detail: str, **for_log: object) -> Refused:
    """Log the refusal and return it; `for_log` goes to the log only."""
    log.warning("api.call_refused", error=error, reason=detail, **for_log)
    return Refused(401, error, detail, headers={"WWW-Authenticate": SCHEME})
