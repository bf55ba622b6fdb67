"""Lanes of this process, for tests that watch them at work."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from django.db import connection

from replication.cluster import loops
from replication.cluster.ipc import Flag
from replication.jobs.waking import wake_lanes
from replication.models import LoopKind
from replication.worker.lane import Lane


def run_a_lane(*, seconds: float) -> None:
    """Run one lane on this thread, as a worker of the cluster does."""
    with loops.running(LoopKind.LANE) as loop:
        assert loop is not None
        Lane(loop, seconds=seconds).run()


@contextmanager
def a_lane(*, seconds: float) -> Iterator[None]:
    """Run one lane on a thread, and await its end."""
    with _thread(lambda: run_a_lane(seconds=seconds)):
        yield


@contextmanager
def lanes(*, count: int = 1) -> Iterator[None]:
    """Run lanes, each on a thread, for as long as the context lasts; then stop them like SIGTERM.

    A test need not guess for how long it needs a lane.
    """
    told_to_stop = loops._told_to_stop
    loops._told_to_stop = Flag()  # of these lanes alone: a flag that is set stays set
    try:
        with ExitStack() as threads:
            for _ in range(count):
                threads.enter_context(_thread(lambda: run_a_lane(seconds=600)))
            try:
                yield
            finally:
                loops.tell_to_stop()
                wake_lanes()  # else they notice it only after their next look
    finally:
        loops._told_to_stop = told_to_stop


@contextmanager
def _thread(run: Callable[[], None]) -> Iterator[None]:
    """Run it on a thread with a database connection of its own; its failure is the test's."""
    ended: list[BaseException | None] = []

    def run_and_close() -> None:
        try:
            run()
            ended.append(None)
        except BaseException as error:
            ended.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run_and_close)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
        assert ended == [None], ended


def lanes_until(is_so: Callable[[], bool], *, seconds: float = 0.5) -> None:
    """Run one lane after the other, each that long, until `is_so()`."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        with a_lane(seconds=seconds):
            pass
