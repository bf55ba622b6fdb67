"""How often a caller may call, in each web process; over that, 429 with Retry-After.

Counted per process and not in PostgreSQL: docs/decisions/limits-of-calls.md.
"""

import threading
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.http import HttpRequest
from ninja.throttling import BaseThrottle

BURST_SECONDS = 2.0  # what was not used for so long may be used at once


@dataclass(eq=False)
class CallLimit(BaseThrottle):
    """So many calls a second of each caller, by the setting of that name; 0 is any number.

    The generic cell rate algorithm: each caller has a time until which its calls are paid for.
    """

    setting: str
    _paid_until: dict[str, float] = field(default_factory=dict)  # as many as there are tokens
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _of_thread: threading.local = field(default_factory=threading.local)

    def allow_request(self, request: HttpRequest) -> bool:
        """Count the call; False, without counting it, if it is one too many."""
        per_second: float = getattr(settings.S3SYNC, self.setting)
        if not per_second:
            return True
        caller = str(request.auth)  # type: ignore[attr-defined]  # authentication came first
        now = time.monotonic()
        with self._lock:
            paid_until = max(now, self._paid_until.get(caller, now)) + 1 / per_second
            wait_seconds = paid_until - now - max(BURST_SECONDS, 1 / per_second)
            if wait_seconds > 0:
                self._of_thread.wait_seconds = wait_seconds
                return False
            self._paid_until[caller] = paid_until
        return True

    def wait(self) -> float:
        """Seconds until the call that was just refused in this thread may come again."""
        return float(self._of_thread.wait_seconds)
