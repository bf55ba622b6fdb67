"""Threads that run work whose result they don't report."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger(__name__)


class Threads:
    """`count` threads, started with the first work. On exit, work that was started is awaited.

    The work itself reports how it ended. A ThreadPoolExecutor would make a future for it, with a
    lock and a condition that nothing waits for.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def start(self, work: Callable[[], None]) -> None:
        """Run `work` once a thread is free, after the work that was started before it."""
        self._work.put(work)
        while len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("thread.failed_unexpectedly", thread=threading.current_thread().name)
