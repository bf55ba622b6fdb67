"""Threads that do what they are given, without telling how it ended."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import structlog

log = structlog.get_logger(__name__)


class Threads:
    """So many threads, from the first start on; on exit what was started is waited for.

    What is started says by itself how it ended: a ThreadPoolExecutor makes a future of it, with a
    lock and a condition, and nobody would look at that.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
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

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do this as soon as a thread is free, after what was started before."""
        self._work.put((work, arguments))
        while len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (given := self._work.get()) is not None:
            work, arguments = given
            try:
                work(*arguments)
            except Exception:
                log.exception("thread.failed_unexpectedly", thread=threading.current_thread().name)
