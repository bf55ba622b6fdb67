"""Derives the keys of AWS Signature Version 4 and of OSS signature V4, which share this scheme."""

import hmac
from functools import lru_cache
from typing import NamedTuple


class Credentials(NamedTuple):
    """What one request is signed with; all of the same renewal."""

    id: str
    secret: str
    token: str = ""  # of temporary credentials

    def __repr__(self) -> str:
        return f"Credentials({self.id!r})"  # a secret must never be logged


# For each credential and region, today's key and yesterday's. Temporary credentials come and go.
@lru_cache(maxsize=256)
def signing_key(secret: str, scope: str) -> bytes:
    """Return the key of a scope. It holds for a day, so deriving it costs nothing a request.

    Args:
        secret: the secret access key, behind the scheme's own prefix.
        scope: the date, the region, the service and the kind of request, with slashes between.
    """
    derived = secret.encode()
    for part in scope.split("/"):
        derived = hmac.digest(derived, part.encode(), "sha256")
    return derived
