"""Fibers: many transfers take turns on one thread. A fiber runs until it has to wait.

Why: with one thread per transfer, each send and receive hands the interpreter's lock and the
processor to another thread, sixteen times an object, and resumes with cold caches. That is a third
of the CPU cost of a small object (docs/reports/performance.md).

Code in a fiber is written as if it were alone on its thread. It waits in one of two ways:

- For a socket: `stores/transport/` calls `Fibers.wait`. The thread runs other fibers until epoll
  reports that the socket is ready.
- For anything else that may take long (DNS, connecting, TLS handshakes, the SDKs' own requests,
  sleeping): `run_blocking`. The call blocks a worker thread, and the fibers' thread goes on.

A call that blocks without `run_blocking` stalls every fiber on the thread.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import structlog
from greenlet import getcurrent, greenlet

log = structlog.get_logger(__name__)

# The shortest time between two checks for timed-out waits, and the longest sleep of the loop: a
# timeout is noticed late by less than twice this.
TIMEOUT_CHECK_SECONDS = 1.0

T = TypeVar("T")

_local = threading.local()


def current() -> "Fibers | None":
    """The Fibers that own this thread; None on any other thread."""
    return getattr(_local, "fibers", None)


def run_blocking(call: Callable[[], T]) -> T:
    """Run a call that may block; return what it returns, raise what it raises.

    In a fiber, the call runs on a worker thread and the fiber waits for it, so that the other
    fibers go on. On any other thread, it runs right here.
    """
    fibers = current()
    return call() if fibers is None else fibers.run_blocking(call)


class _Wait(NamedTuple):
    fiber: greenlet
    deadline: float  # time.monotonic()


class Fibers:
    """At most `count` fibers at a time, on one thread of their own; fewer with `allow`.

    Fibers, and the threads of `run_blocking`, are made when they are needed. Leaving the context
    waits for all work that was started.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = self._allowed = count
        self._name = name
        self._running: set[greenlet] = set()
        self._is_open = True
        # Other threads append to these two queues, and then call `_wake_loop`.
        self._queued: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._resumable: deque[greenlet] = deque()
        self._waits: dict[int, _Wait] = {}  # by file descriptor
        self._next_timeout_check_at = 0.0
        self._is_asleep = False

    def __enter__(self) -> Self:
        self._poll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wakeup, select.EPOLLIN)
        self._workers = ThreadPoolExecutor(self._count, thread_name_prefix=f"{self._name}-blocking")
        self._thread = threading.Thread(target=self._run_loop, name=self._name)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._wake_loop()
        self._thread.join()
        self._workers.shutdown()
        self._poll.close()
        os.close(self._wakeup)

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        """Queue this work. It runs as soon as a fiber is free, in the order of the calls."""
        self._queued.append((work, arguments))
        self._wake_loop()

    def allow(self, count: int) -> None:
        """Start work while fewer fibers than this run. Those that run already go on."""
        self._allowed = min(count, self._count)
        self._wake_loop()

    # -- called in a fiber ---------------------------------------------------------------------

    def wait(self, descriptor: int, events: int, *, seconds: float) -> int:
        """Suspend this fiber until the socket has one of these events (select.EPOLLIN, …).

        Returns the events that came.

        Raises:
            TimeoutError: no event came within `seconds`, or before the timeout was noticed (see
                TIMEOUT_CHECK_SECONDS).
        """
        assert descriptor not in self._waits, "two fibers wait for one socket"
        try:
            self._poll.modify(descriptor, events | select.EPOLLONESHOT)
        except FileNotFoundError:  # the first wait for this socket
            self._poll.register(descriptor, events | select.EPOLLONESHOT)
        self._waits[descriptor] = _Wait(getcurrent(), time.monotonic() + seconds)
        came: int = self._loop.switch()
        return came

    def run_blocking(self, call: Callable[[], T]) -> T:
        """See `run_blocking` above."""
        fiber = getcurrent()
        future = self._workers.submit(call)
        future.add_done_callback(lambda _: self._resume(fiber))
        self._loop.switch()
        try:
            return future.result()
        finally:
            del future  # else an error's traceback holds this frame, and the frame the error

    # -- the event loop, on the thread of the fibers -------------------------------------------

    def _run_loop(self) -> None:
        _local.fibers = self
        self._loop = getcurrent()
        try:
            while self._is_open or self._queued or self._running:
                while self._can_start_fiber:
                    self._start_fiber(*self._queued.popleft())
                for _ in range(len(self._resumable)):
                    self._resumable.popleft().switch()
                self._wait_for_events()
        except BaseException:
            # Without the loop no transfer would ever end. End the process: other lanes then take
            # the jobs over.
            log.exception("fibers.failed_unexpectedly", thread=self._name)
            os._exit(1)

    @property
    def _can_start_fiber(self) -> bool:
        return bool(self._queued) and len(self._running) < self._allowed

    def _start_fiber(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        fiber = greenlet(self._run_work)
        self._running.add(fiber)  # this may be the only reference that keeps the fiber alive
        fiber.switch(work, arguments)

    def _run_work(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            work(*arguments)
        except Exception:
            log.exception("fiber.failed_unexpectedly", thread=self._name)
        finally:
            self._running.remove(getcurrent())

    def _wait_for_events(self) -> None:
        """Sleep until a socket is ready or `_wake_loop` is called; resume the fibers concerned."""
        # Set before the check for work, so that an append after the check wakes the loop.
        self._is_asleep = True
        has_work = self._can_start_fiber or self._resumable or not (self._is_open or self._running)
        ready = self._poll.poll(0 if has_work else TIMEOUT_CHECK_SECONDS)
        # Read the clock before fibers resume, for they may run long: a wait whose event comes
        # meanwhile must not time out.
        now = time.monotonic()
        self._is_asleep = False
        for descriptor, events in ready:
            if descriptor == self._wakeup:
                os.eventfd_read(self._wakeup)
            # There is no entry if the fiber's wait has timed out.
            elif wait := self._waits.pop(descriptor, None):
                wait.fiber.switch(events)
        if now >= self._next_timeout_check_at:
            self._time_out_waits(now)

    def _time_out_waits(self, now: float) -> None:
        self._next_timeout_check_at = now + TIMEOUT_CHECK_SECONDS
        late = [descriptor for descriptor, wait in self._waits.items() if wait.deadline <= now]
        for descriptor in late:
            self._waits.pop(descriptor).fiber.throw(TimeoutError)

    def _resume(self, fiber: greenlet) -> None:
        self._resumable.append(fiber)
        self._wake_loop()

    def _wake_loop(self) -> None:
        if self._is_asleep:
            self._is_asleep = False  # one wake-up is enough
            os.eventfd_write(self._wakeup, 1)
