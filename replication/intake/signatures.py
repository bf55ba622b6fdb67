"""The signature of a call: HMAC-SHA256 over version, time, nonce and body.

docs/reference/api.md specifies it.
Pure: it knows neither settings nor the database. deploy/lambda/handler.py is the other side.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

SCHEME = "S3SYNC-HMAC-SHA256"
MAX_SKEW_SECONDS = 300

# One spelling alone: a signature that could be written in two ways could be used twice.
_PARAMETERS = re.compile(r"v=1,t=([0-9]{1,11}),n=([0-9a-f]{32}),s=([0-9a-f]{64})")


@dataclass(frozen=True)
class Signature:
    """What the header of a signed call says; nothing in it is proved yet."""

    signed_at: int  # seconds since 1970, by the caller's clock
    nonce: str
    digest: bytes

    def age_seconds(self, now: float) -> float:
        """How old it is at `now`, in seconds since 1970; negative if it comes from the future."""
        return now - self.signed_at

    def number_of_key(self, body: bytes, keys: Sequence[str]) -> int | None:
        """Which of the keys made this signature for this body, from 1; None: none of them.

        Tries all keys, whichever fits: how long that takes tells nothing of them.
        """
        message = f"1\n{self.signed_at}\n{self.nonce}\n".encode() + body
        fits = [
            hmac.compare_digest(hmac.digest(key.encode(), message, "sha256"), self.digest)
            for key in keys
        ]
        return fits.index(True) + 1 if any(fits) else None


def read_signature(parameters: str) -> Signature | None:
    """What follows the scheme in the Authorization header; None if it has another form."""
    found = _PARAMETERS.fullmatch(parameters)
    if found is None:
        return None
    signed_at, nonce, digest = found.groups()
    # A leading zero would be another spelling of the same time, and is not what was signed.
    if signed_at != str(int(signed_at)):
        return None
    return Signature(int(signed_at), nonce, bytes.fromhex(digest))
