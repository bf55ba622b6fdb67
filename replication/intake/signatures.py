"""The signature of an API call: HMAC-SHA256 over version, time, nonce and body.

docs/reference/api.md specifies it, deploy/lambda/handler.py makes it. Pure: reads neither settings
nor the database.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

SCHEME = "S3SYNC-HMAC-SHA256"
MAX_SKEW_SECONDS = 300

# Only one spelling is valid: a signature that can be written in two ways could be used twice.
_PARAMETERS = re.compile(r"v=1,t=([0-9]{1,11}),n=([0-9a-f]{32}),s=([0-9a-f]{64})")


@dataclass(frozen=True)
class Signature:
    """The parsed header of a signed call. Parsing does not verify the signature."""

    signed_at: int  # seconds since 1970, by the caller's clock
    nonce: str
    digest: bytes

    def age_seconds(self, now: float) -> float:
        """Its age at `now`, in seconds since 1970; negative if it is dated in the future."""
        return now - self.signed_at

    def number_of_key(self, body: bytes, keys: Sequence[str]) -> int | None:
        """Return the number, from 1, of the key that signed this body; None if no key did.

        Always checks every key, so that the time taken reveals nothing about the keys.
        """
        message = f"1\n{self.signed_at}\n{self.nonce}\n".encode() + body
        fits = [
            hmac.compare_digest(hmac.digest(key.encode(), message, "sha256"), self.digest)
            for key in keys
        ]
        return fits.index(True) + 1 if any(fits) else None


def read_signature(parameters: str) -> Signature | None:
    """Parse the text after the scheme in the Authorization header; None if it is malformed."""
    found = _PARAMETERS.fullmatch(parameters)
    if found is None:
        return None
    signed_at, nonce, digest = found.groups()
    # A leading zero would be a second spelling of the same time, and was not signed.
    if signed_at != str(int(signed_at)):
        return None
    return Signature(int(signed_at), nonce, bytes.fromhex(digest))
