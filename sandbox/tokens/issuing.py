"""Issues temporary credentials, and says later whether a request carries living ones."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Issued:
    """Temporary credentials. `kind` says by which service; `ends_at` in epoch seconds."""

    kind: str
    key_id: str
    secret: str
    token: str
    ends_at: float


class Issuer:
    """Remembers all that it issued. Safe to use from many threads."""

    def __init__(self, *, life_seconds: float, tell: Callable[[Issued], None]) -> None:
        """
        Args:
            tell: is called with all credentials before they are given out.
        """
        self.life_seconds = life_seconds
        self._tell = tell
        self._issued: dict[str, Issued] = {}
        self._lock = threading.Lock()

    def issue(self, kind: str, *, prefix: str) -> Issued:
        """Issue credentials that end in `life_seconds`."""
        # Services say the end in whole seconds: what is said must not be later than what is true.
        issued = Issued(
            kind,
            prefix + secrets.token_hex(8).upper(),
            secrets.token_hex(20),
            secrets.token_urlsafe(40),
            float(int(time.time() + self.life_seconds)),
        )
        self._tell(issued)
        with self._lock:
            self._issued[issued.key_id] = issued
        return issued

    def of_kind(self, kind: str) -> list[Issued]:
        """All that was issued of a kind, the oldest first."""
        with self._lock:
            return [each for each in self._issued.values() if each.kind == kind]

    def refusal(self, key_id: str, token: str) -> str:
        """Why S3 refuses a request with this key and token, as its code; empty if it does not."""
        with self._lock:
            issued = self._issued.get(key_id)
        if issued is None:
            return "InvalidAccessKeyId"
        if issued.token != token:
            return "InvalidToken"
        return "ExpiredToken" if time.time() >= issued.ends_at else ""
