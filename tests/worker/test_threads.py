"""Threads go on after what went wrong on them, and what was started is done before they end."""

from queue import SimpleQueue

from replication.worker.threads import Threads
from tests.support.road import Log


def test_what_was_started_is_done_on_exit_in_turn_and_failures_cost_no_thread(logged: Log) -> None:
    done: SimpleQueue[int] = SimpleQueue()

    def work(number: int) -> None:
        if number % 2:
            raise ValueError(f"number {number}")
        done.put(number)

    with Threads(1, "worker") as threads:
        for number in range(6):
            threads.start(work, number)
    assert [done.get_nowait() for _ in range(3)] == [0, 2, 4]
    assert logged.text.count("thread.failed_unexpectedly") == 3
    assert "number 5" in logged.text
