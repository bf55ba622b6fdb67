"""What the processes of a cluster share: a kill -9 at any moment leaves nothing of it locked.

multiprocessing's own queues, events and values hold a lock while they are used, and a process that
is killed then takes it to its grave: an idle worker, for one, holds that of the queue it reads.
"""

import ctypes
import pickle
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import RawValue
from multiprocessing.connection import wait
from typing import Any

# Linux takes datagrams of up to its default send buffer, 208 KiB, less a few bytes.
MESSAGE_BYTES = 128 * 1024
SHORTENED_CHARACTERS = 10_000
LOOK_SECONDS = 0.05


class Flag:
    """One bit in memory that processes share from their fork on; in the place of an Event."""

    def __init__(self) -> None:
        self._value = RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        """Set it for good."""
        self._value.value = True

    def is_set(self) -> bool:
        """Whether any process has set it."""
        return bool(self._value.value)

    def wait(self, timeout: float) -> bool:
        """Whether it is set, now or else after that many seconds."""
        if not self.is_set():
            time.sleep(timeout)
        return self.is_set()


class Timer(ctypes.c_float):
    """How long django-q's worker may still be busy, in the place of a synchronized Value.

    Worker and sentinel write it side by side. What may come of it without a lock is that an idle
    worker is taken for a busy one, and replaced when its time seems to be over.
    """

    def get_lock(self) -> AbstractContextManager[None]:
        """Nothing to hold."""
        return nullcontext()


class Mailbox:
    """A queue from any process to any process, in the place of multiprocessing's.

    Each message is one datagram: the kernel takes it whole or not at all, and hands it whole to one
    receiver, whoever is killed meanwhile. With `one_at_a_time`, a message waits to be put until
    the one before was received; a string, django-q's word that ends the receiver, never does:
    those that it is meant for may be dead.
    """

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self._one_at_a_time = one_at_a_time
        self._receiving, self._sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(self, message: dict[str, Any] | str) -> None:
        """Send it; waits while the kernel's buffer is full. An overlong result is cut short.

        Raises:
            ValueError: it is longer than MESSAGE_BYTES even so.
        """
        data = pickle.dumps(message)
        if len(data) > MESSAGE_BYTES and isinstance(message, dict):
            result = f"{message.get('result')}"[
                -SHORTENED_CHARACTERS:
            ]  # a traceback's end says most
            data = pickle.dumps({**message, "result": result})
        if len(data) > MESSAGE_BYTES:
            raise ValueError(f"a message of {len(data)} bytes is longer than {MESSAGE_BYTES}")
        while self._one_at_a_time and isinstance(message, dict) and not self.empty():
            time.sleep(LOOK_SECONDS)
        self._sending.send(data)

    def get(self) -> Any:
        """The next message, once there is one."""
        # From a process of this cluster: nobody else has the socket.
        return pickle.loads(self._receiving.recv(MESSAGE_BYTES))  # noqa: S301

    def empty(self) -> bool:
        """Whether no message waits."""
        return not wait([self._receiving], timeout=0)

    def qsize(self) -> int:
        """1 if messages wait: nobody counts them."""
        return int(not self.empty())

    def close(self) -> None:
        """Nothing to do: what was put has been sent."""

    def join_thread(self) -> None:
        """Nothing to wait for: what was put has been sent."""
