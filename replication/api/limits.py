"""Limits how often a caller may call each web process; above the limit: 429 with Retry-After.

docs/decisions/limits-of-calls.md says why each process counts by itself.
"""

import threading
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.http import HttpRequest
from ninja.throttling import BaseThrottle

BURST_SECONDS = 2.0  # calls that were not used for this long may come at once


@dataclass(eq=False)
class CallLimit(BaseThrottle):
    """The rate limit of each caller; `setting` names the calls per second, where 0 is no limit.

    Uses the generic cell rate algorithm: each caller has a time until which its calls are paid.
    """

    setting: str
    _paid_until: dict[str, float] = field(default_factory=dict)  # one entry per token or key
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread_local: threading.local = field(default_factory=threading.local)

    def allow_request(self, request: HttpRequest) -> bool:
        """Count the call and allow it; refuse a call over the limit without counting it."""
        per_second: float = getattr(settings.S3SYNC, self.setting)
        if not per_second:
            return True
        caller = str(request.auth)  # type: ignore[attr-defined]  # set by authentication
        now = time.monotonic()
        with self._lock:
            paid_until = max(now, self._paid_until.get(caller, now)) + 1 / per_second
            wait_seconds = paid_until - now - max(BURST_SECONDS, 1 / per_second)
            if wait_seconds > 0:
                self._thread_local.wait_seconds = wait_seconds
                return False
            self._paid_until[caller] = paid_until
        return True

    def wait(self) -> float:
        """The seconds until the call that this thread just refused may be repeated."""
        return float(self._thread_local.wait_seconds)
