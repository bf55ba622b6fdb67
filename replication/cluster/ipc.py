"""IPC without locks between the processes of a cluster: killing one never blocks another.

multiprocessing's Queue, Event and Value have locks: semaphores that the kernel does not release
when their holder is killed. Every process that needs such a lock then waits forever:

- Queue: `get` holds the read lock while it waits for a message. A killed idle worker would leave
  the task queue's read lock behind. `put` holds the write lock while it writes.
- Event: `set` and `is_set` hold the lock for a moment.
- Value: django-q's worker holds the timer's lock while it reports a result.

The classes here have no lock to leave behind. Flag and Timer are plain shared memory, and each
message of a Mailbox is one datagram, which the kernel accepts and delivers as a whole.
"""

import ctypes
import pickle
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import RawValue
from multiprocessing.connection import wait
from typing import Any

# Linux accepts datagrams of up to its default send buffer, 208 KiB, less a few bytes.
MAX_MESSAGE_BYTES = 128 * 1024
TRUNCATED_RESULT_CHARACTERS = 10_000
CHECK_SECONDS = 0.05


class Flag:
    """A flag in memory that processes share after a fork; replaces multiprocessing's Event."""

    def __init__(self) -> None:
        self._value = RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        """Set the flag; it is never cleared."""
        self._value.value = True

    def is_set(self) -> bool:
        """Whether any process has set the flag."""
        return bool(self._value.value)

    def wait(self, timeout: float) -> bool:
        """Whether the flag is set; if it is not, sleep for `timeout` seconds and look again."""
        if not self.is_set():
            time.sleep(timeout)
        return self.is_set()


class Timer(ctypes.c_float):
    """For how long django-q's worker may still be busy, in seconds; replaces a synchronized Value.

    The worker and the sentinel both write it. The worst result of doing so without a lock: the
    sentinel takes an idle worker for a busy one, and replaces it when its time seems to be over.
    """

    def get_lock(self) -> AbstractContextManager[None]:
        """Return a context manager that locks nothing."""
        return nullcontext()


class Mailbox:
    """A queue between any processes of the cluster; replaces multiprocessing's Queue.

    Each message is one datagram: the kernel accepts it as a whole or not at all, and delivers it as
    a whole to one receiver, whichever process is killed meanwhile.

    With `one_at_a_time`, `put` waits until the previous message is received. A string never waits:
    it is django-q's order to a receiver to end, and the receivers may be dead.
    """

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self._one_at_a_time = one_at_a_time
        self._receiving, self._sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(self, message: dict[str, Any] | str) -> None:
        """Send the message; wait while the kernel's buffer is full. Truncate an overlong result.

        Raises:
            ValueError: the message is longer than MAX_MESSAGE_BYTES even so.
        """
        data = pickle.dumps(message)
        if len(data) > MAX_MESSAGE_BYTES and isinstance(message, dict):
            # Keep the end: of a traceback, it says most.
            result = f"{message.get('result')}"[-TRUNCATED_RESULT_CHARACTERS:]
            data = pickle.dumps({**message, "result": result})
        if len(data) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}")
        while self._one_at_a_time and isinstance(message, dict) and not self.empty():
            time.sleep(CHECK_SECONDS)
        self._sending.send(data)

    def get(self) -> Any:
        """Wait for the next message, and return it."""
        # A process of this cluster sent it: no other process has the socket.
        return pickle.loads(self._receiving.recv(MAX_MESSAGE_BYTES))  # noqa: S301

    def empty(self) -> bool:
        """Whether no message waits."""
        return not wait([self._receiving], timeout=0)

    def qsize(self) -> int:
        """1 if messages wait, else 0: they are not counted."""
        return int(not self.empty())

    def close(self) -> None:
        """Do nothing: `put` has sent every message."""

    def join_thread(self) -> None:
        """Do nothing: `put` has sent every message."""
