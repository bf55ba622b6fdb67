"""Threads outlive failing work, and finish the work that was started before they end."""

from functools import partial
from queue import SimpleQueue

from replication.worker.threads import Threads
from tests.support.road import Log


def test_started_work_is_done_in_order_on_exit_and_a_failure_costs_no_thread(logged: Log) -> None:
    done: SimpleQueue[int] = SimpleQueue()

    def work(number: int) -> None:
        if number % 2:
            raise ValueError(f"number {number}")
        done.put(number)

    with Threads(1, "worker") as threads:
        for number in range(6):
            threads.start(partial(work, number))
    assert [done.get_nowait() for _ in range(3)] == [0, 2, 4]
    assert logged.text.count("thread.failed_unexpectedly") == 3
    assert "number 5" in logged.text
