"""Pollers of this process, for tests that need the messages of a queue taken in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from replication.intake.queue_poller import QueuePoller
from replication.intake.sqs import Message, Queue
from replication.intake.visibility import InFlight
from replication.models import EventQueue

TIMEOUT_SECONDS = 90


class ShortPolledQueue(Queue):
    """A queue in SQS without long polls, so that a poller can stop at once."""

    def receive(self, *, wait_seconds: int) -> list[Message]:
        return super().receive(wait_seconds=0)


class _WatchedQueue(ShortPolledQueue):
    """Counts the received messages, and signals when a receive finds the queue empty or fails."""

    def __init__(self, queue: EventQueue) -> None:
        super().__init__(queue)
        self.received_counts: list[int] = []
        self.was_empty = False
        self.has_ended = threading.Event()

    def receive(self, *, wait_seconds: int) -> list[Message]:
        try:
            messages = super().receive(wait_seconds=wait_seconds)
        except BaseException:
            self.has_ended.set()
            raise
        self.received_counts.append(len(messages))
        if not messages:
            self.was_empty = True
            self.has_ended.set()
        return messages


@contextmanager
def polling(
    queue: EventQueue, *, sqs: Queue | None = None, in_flight: InFlight | None = None
) -> Iterator[QueuePoller]:
    """Run a poller on a thread, as a poll loop does; on exit stop it and await its end.

    Without `sqs` it uses short polls, so that it ends at once.
    """
    if sqs is None:
        sqs = ShortPolledQueue(queue)
    if in_flight is None:
        in_flight = InFlight(sqs)
    poller = QueuePoller(queue, sqs=sqs, in_flight=in_flight, until=float("inf"))
    thread = threading.Thread(target=poller.run)
    thread.start()
    try:
        yield poller
    finally:
        poller.stop()
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def poll_until_empty(queue: EventQueue, *, in_flight: InFlight | None = None) -> int:
    """Run a poller until a receive finds the queue empty; returns how many messages it received.

    On return their jobs are committed, and SQS was asked to delete them.
    """
    sqs = _WatchedQueue(queue)
    if in_flight is None:
        in_flight = InFlight(sqs)
    with polling(queue, sqs=sqs, in_flight=in_flight):
        sqs.has_ended.wait(TIMEOUT_SECONDS)
    last_error = EventQueue.objects.get(pk=queue.pk).last_error
    assert sqs.was_empty, f"the queue was not emptied: {last_error}"
    assert not in_flight, f"messages were not committed: {last_error}"
    assert not last_error
    return sum(sqs.received_counts)
