"""Keeps temporary credentials, and renews them before they end while requests go on.

The last credentials are signed with until new ones are there. A renewal that fails is only logged
while they still live.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from replication.errors import ReplicationError
from replication.stores.signing_keys import Credentials
from replication.stores.transport.fibers import run_blocking

log = structlog.get_logger(__name__)

# How long before their end credentials are renewed, at most: half of their life if that is less.
LEAD_SECONDS = 300.0
# A request that is signed this shortly before the end may arrive after it; a tenth of a short life.
LAST_SECONDS = 10.0
# How long to wait after a renewal that failed, or brought the same credentials.
RETRY_SECONDS = 15.0
RETRY_SECONDS_WITHOUT_CREDENTIALS = 1.0


class Temporary(NamedTuple):
    """Credentials with their end, in seconds since the epoch."""

    credentials: Credentials
    ends_at: float


def lead_seconds(life_seconds: float) -> float:
    """How long before their end to renew credentials that live this long."""
    return min(LEAD_SECONDS, life_seconds / 2)


def log_failure(profile: str, reason: str, *, seconds_left: float) -> None:
    """Log a renewal that failed while the last credentials live for so many seconds."""
    log.warning(
        "credentials.renewal_failed",
        profile=profile,
        reason=reason,
        effect="none yet: the last credentials are used while they live",
        fix="check that this host reaches the service that the reason names",
        seconds_left=max(0, round(seconds_left)),
    )


class Renewed:
    """The credentials of one profile. Safe to use from many threads, and in fibers."""

    def __init__(self, fetch: Callable[[], Temporary], *, profile: str) -> None:
        """
        Args:
            fetch: asks the service that gives out credentials; may block, never runs twice at once.
                It raises ReplicationError.
        """
        self._fetch = fetch
        self._profile = profile
        self._held: Temporary | None = None
        self._renew_at = self._sign_until = 0.0
        self._failed: ReplicationError | None = None
        self._retry_at = 0.0
        self._lock = threading.Lock()  # of a renewal; whoever has it runs on a thread of its own

    def current(self) -> Credentials:
        """Return the credentials to sign with now.

        Raises:
            ReplicationError: there are none, and the service gives none.
        """
        held, now = self._held, time.time()
        if held is None or now >= self._sign_until:
            return run_blocking(self._renewed)
        if now >= self._renew_at and self._lock.acquire(blocking=False):
            try:
                threading.Thread(target=self._renew_aside, name="renewal", daemon=True).start()
            except RuntimeError:  # no thread can be started: the next request tries again
                self._lock.release()
        return held.credentials

    def _renewed(self) -> Credentials:
        with self._lock:
            now = time.time()
            if self._held is not None and now < self._sign_until:
                return self._held.credentials  # another thread has renewed them
            if self._failed is not None and now < self._retry_at:
                # Many transfers wait here: they must not ask one after the other.
                raise ReplicationError(self._failed.code, self._failed.detail)
            return self._renew(RETRY_SECONDS_WITHOUT_CREDENTIALS).credentials

    def _renew_aside(self) -> None:
        try:
            if time.time() >= self._renew_at:
                self._renew(RETRY_SECONDS)
        except ReplicationError as error:
            ends_at = self._held.ends_at if self._held else 0.0
            log_failure(self._profile, error.detail, seconds_left=ends_at - time.time())
        finally:
            self._lock.release()

    def _renew(self, retry_seconds: float) -> Temporary:
        try:
            found = self._fetch()
        except ReplicationError as error:
            self._failed = error
            self._retry_at = self._renew_at = time.time() + retry_seconds
            raise
        now = time.time()
        life = max(0.0, found.ends_at - now)
        retry_seconds = min(RETRY_SECONDS, life / 10)
        self._failed = None
        self._renew_at = max(found.ends_at - lead_seconds(life), now + retry_seconds)
        self._sign_until = found.ends_at - min(LAST_SECONDS, life / 10)
        self._held = found
        return found
