"""A lane of this process, for tests that watch one at work."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

from replication.cluster import loops
from replication.models import LoopKind
from replication.worker.lane import Lane


@contextmanager
def a_lane(*, seconds: float = 30) -> Iterator[None]:
    """A lane on a thread, as it runs in a worker; its end is awaited."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            with loops.running(LoopKind.LANE) as loop:
                assert loop is not None
                Lane(loop, seconds=seconds).run()
            ended.append(None)
        except BaseException as error:
            ended.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert ended == [None]


def lanes_until(is_so: Callable[[], bool], *, seconds: float = 0.5) -> None:
    """One lane after another, each of that length, until it is so."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        with a_lane(seconds=seconds):
            pass
