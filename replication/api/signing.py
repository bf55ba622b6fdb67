"""The second way to prove who calls: a signature, as the Lambda function makes it."""

import time

import structlog
from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase

from replication.api.authentication import Caller, admit
from replication.api.event_bodies import check_size
from replication.api.refusals import Refused
from replication.intake.signatures import MAX_SKEW_SECONDS, SCHEME, read_signature
from replication.intake.signed_calls import take_once
from replication.models import TokenRole

log = structlog.get_logger(__name__)


class SignedCall(AuthBase):
    """`Authorization: S3SYNC-HMAC-SHA256 v=1,t=…,n=…,s=…`, by a key of S3SYNC_LAMBDA_KEYS.

    Looks at the size, the time, the signature and whether it came before, in this order: what
    costs more is asked of fewer callers, and the database only of those who have a key.
    """

    openapi_type = "http"
    openapi_scheme = SCHEME.lower()
    openapi_description = (
        "HMAC-SHA256 over version, time, nonce and body; docs/reference/api.md has the form"
    )

    def __call__(self, request: HttpRequest) -> Caller | None:
        """The caller; None if the call carries no signature.

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
                "docs/reference/api.md says what each is.",
            )
        age_seconds = signature.age_seconds(time.time())
        if abs(age_seconds) > MAX_SKEW_SECONDS:
            raise _refused(
                "stale_signature",
                f"The signature's time is {abs(age_seconds):.0f} s "
                f"{'behind' if age_seconds > 0 else 'ahead of'} this server's clock, and may be "
                f"{MAX_SKEW_SECONDS} s from it. Sign each call when it is sent; check both clocks.",
            )
        number = signature.number_of_key(request.body, settings.S3SYNC.lambda_keys)
        if number is None:
            raise _refused(
                "wrong_signature",
                "No key of S3SYNC_LAMBDA_KEYS makes this signature for this body. The caller "
                "(the Lambda function: S3SYNC_KEY) needs one of them, and nothing on the way may "
                "change the body.",
                keys=len(settings.S3SYNC.lambda_keys),
            )
        if not take_once(signature):
            raise _refused(
                "used_signature", "A call with this signature was taken before: sign each anew."
            )
        # By the number one sees in the log whether a key that is to go is still used.
        return admit(request, Caller(f"S3SYNC_LAMBDA_KEYS #{number}", TokenRole.OPERATE))


def _refused(error: str, detail: str, **known: object) -> Refused:
    """What is `known` besides is for the log alone."""
    log.warning("api.call_refused", error=error, reason=detail, **known)
    return Refused(401, error, detail, headers={"WWW-Authenticate": SCHEME})
