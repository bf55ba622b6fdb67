"""Fibers: many transfers on one thread. One runs until it has to wait for a socket; then another.

With a thread for each, every sending and receiving gives the interpreter's lock and the processor
to another, sixteen times an object, and finds its caches cold after each: a third of the CPU of a
small object (docs/reports/performance.md).

What runs in a fiber is written as if it were alone on a thread. Only who waits has to know, and
there are two kinds: `stores/transport/` waits for its sockets by `wait`, and all else that may take
long goes `away`, to a thread of its own. Who forgets, holds up all fibers of the thread.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from greenlet import getcurrent, greenlet

log = structlog.get_logger(__name__)

# How exact the timeouts of waiting are.
LOOK_SECONDS = 1.0

T = TypeVar("T")

_here = threading.local()


def current() -> "Fibers | None":
    """Those of which one is running here; None on a thread of another kind."""
    return getattr(_here, "fibers", None)


def away(call: Callable[[], T]) -> T:
    """What the call returns or raises, where it may block: in a fiber on another thread."""
    fibers = current()
    return call() if fibers is None else fibers.away(call)


@dataclass(frozen=True)
class _Waiting:
    fiber: greenlet
    gives_up_at: float  # time.monotonic()


class Fibers:
    """So many fibers at once, on a thread of their own; on exit what was started is waited for."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._running: set[greenlet] = set()
        self._is_open = True
        # Other threads append to these two, and ring.
        self._work: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._back: deque[greenlet] = deque()
        self._waiting: dict[int, _Waiting] = {}  # by file descriptor
        self._look_at = 0.0
        self._is_asleep = False

    def __enter__(self) -> Self:
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.EPOLLIN)
        self._elsewhere = ThreadPoolExecutor(self._count, thread_name_prefix=f"{self._name}-away")
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._ring()
        self._thread.join()
        self._elsewhere.shutdown()
        self._poll.close()
        os.close(self._bell)

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do this as soon as a fiber is free, after what was started before."""
        self._work.append((work, arguments))
        self._ring()

    # -- in a fiber ----------------------------------------------------------------------------

    def wait(self, descriptor: int, events: int, *, seconds: float) -> None:
        """Wait for one of these events (select.EPOLLIN, …) of a socket.

        Raises:
            TimeoutError: none came in time, or within LOOK_SECONDS after it.
        """
        assert descriptor not in self._waiting, "two fibers wait for one socket"
        try:
            self._poll.modify(descriptor, events | select.EPOLLONESHOT)
        except FileNotFoundError:  # it is the first time
            self._poll.register(descriptor, events | select.EPOLLONESHOT)
        self._waiting[descriptor] = _Waiting(getcurrent(), time.monotonic() + seconds)
        self._loop.switch()

    def away(self, call: Callable[[], T]) -> T:
        """See `away` above."""
        fiber = getcurrent()
        future = self._elsewhere.submit(call)
        future.add_done_callback(lambda _: self._resume(fiber))
        self._loop.switch()
        try:
            return future.result()
        finally:
            del future  # or the error would hold this frame, and this frame the error

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        _here.fibers = self
        self._loop = getcurrent()
        try:
            while self._is_open or self._work or self._running:
                while self._may_begin:
                    self._begin(*self._work.popleft())
                for _ in range(len(self._back)):
                    self._back.popleft().switch()
                self._wake_whom_it_concerns()
        except BaseException:
            # No transfer would ever end. Without the process, others take them over.
            log.exception("fibers.failed_unexpectedly", thread=self._name)
            os._exit(1)

    @property
    def _may_begin(self) -> bool:
        return bool(self._work) and len(self._running) < self._count

    def _begin(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        fiber = greenlet(self._do)
        self._running.add(fiber)  # also while nobody else knows of it
        fiber.switch(work, arguments)

    def _do(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            work(*arguments)
        except Exception:
            log.exception("fiber.failed_unexpectedly", thread=self._name)
        finally:
            self._running.remove(getcurrent())

    def _wake_whom_it_concerns(self) -> None:
        """Sleep until a socket is ready, or somebody rings; those whose socket is go on."""
        # Set before we look: who appends after that, rings.
        self._is_asleep = True
        has_work = self._may_begin or self._back or not (self._is_open or self._running)
        ready = self._poll.poll(0 if has_work else LOOK_SECONDS)
        # Before the ready go on, which may take a while: what comes meanwhile is not late.
        now = time.monotonic()
        self._is_asleep = False
        for descriptor, _ in ready:
            if descriptor == self._bell:
                os.eventfd_read(self._bell)
            # Who gave up waiting has left it.
            elif waiting := self._waiting.pop(descriptor, None):
                waiting.fiber.switch()
        if now >= self._look_at:
            self._time_out(now)

    def _time_out(self, now: float) -> None:
        self._look_at = now + LOOK_SECONDS
        late = [each for each, waiting in self._waiting.items() if waiting.gives_up_at <= now]
        for descriptor in late:
            self._waiting.pop(descriptor).fiber.throw(TimeoutError)

    def _resume(self, fiber: greenlet) -> None:
        self._back.append(fiber)
        self._ring()

    def _ring(self) -> None:
        if self._is_asleep:
            self._is_asleep = False  # once is enough
            os.eventfd_write(self._bell, 1)
