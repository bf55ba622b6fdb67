"""Ends this process when the thread that talks to the database is silent for too long.

Each wait has its own limit: a statement, an exchange with a store, a connection. The watchdog is
for whatever else may block, such as a name server or a defect. Python's `faulthandler` does the
work, on a thread that needs no lock of the interpreter: it writes "Timeout" and the stack of every
thread to stderr, and ends the process with status 1.
"""

import faulthandler
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2  # whatever sys.stderr is
PAT_SECONDS = 1.0  # each pat starts a new thread: once a second is enough


class _Watchdog:
    """The one of this process; it watches while `seconds` is set."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.patted_at = 0.0

    def arm(self) -> None:
        if self.seconds is not None:
            self.patted_at = time.monotonic()
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=STDERR)

    def disarm(self) -> None:
        self.seconds = None
        faulthandler.cancel_dump_traceback_later()


_watchdog = _Watchdog()


@contextmanager
def watching(*, seconds: float) -> Iterator[None]:
    """End the process if the body does not call `pat` for `seconds`; for one thread at a time."""
    _watchdog.seconds = seconds
    _watchdog.arm()
    try:
        yield
    finally:
        _watchdog.disarm()


def pat() -> None:
    """Tell the watchdog, if it watches, that the thread is at work."""
    if time.monotonic() - _watchdog.patted_at > PAT_SECONDS:
        _watchdog.arm()


# A fork copies the state of faulthandler's thread, but not the thread: a child would wait for it.
os.register_at_fork(
    before=faulthandler.cancel_dump_traceback_later,
    after_in_parent=_watchdog.arm,
    after_in_child=_watchdog.disarm,
)
