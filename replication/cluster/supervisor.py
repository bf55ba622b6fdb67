"""django-q's cluster, of which any process may be killed at any moment: lanes and pollers go on.

    first process ──forks──▶ sentinel ──forks──▶ pusher, monitor, workers

The sentinel replaces its children; the first process replaces the sentinel, and all of them with
it. Nobody outlives his parent. Linux's `ps -o comm` tells them apart: q-sentinel, q-pusher, ….
"""

import ctypes
import gc
import os
import signal
import sys
import time
from multiprocessing import RawValue
from types import FrameType
from typing import Any
from uuid import uuid4

import structlog
from django.db import DatabaseError, InterfaceError, connection, connections
from django_q.cluster import Sentinel, get_mp_context
from django_q.monitor import monitor
from django_q.pusher import pusher
from django_q.signals import post_spawn
from django_q.worker import worker

from replication.cluster import loops
from replication.cluster.database import DATABASE_AWAY
from replication.cluster.ipc import Flag, Mailbox, Timer
from replication.stores.factory import preload

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
REVIVE_SECONDS = 5.0
BEGIN_AGAIN_SECONDS = 1.0
# A long poll takes 20 s, and so may a lane whose stores don't answer; orchestrators get 35 s.
STOP_SECONDS = 32.0

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class LocklessSentinel(Sentinel):
    """django-q's sentinel, whose children leave nothing locked when they are killed."""

    def __init__(self, stop: Flag, started: Flag, cluster_id: Any) -> None:
        _call_this_process("q-sentinel")
        super().__init__(stop, started, cluster_id, start=False)
        # What waits here waits in this cluster's memory, where no other host can take it.
        self.task_queue = Mailbox(one_at_a_time=True)
        self.result_queue = Mailbox()
        self.event_out = Flag()
        self.start()

    def spawn_worker(self) -> None:
        """Start one more worker."""
        timer = RawValue(Timer, -1)
        self.spawn_process(worker, self.task_queue, self.result_queue, timer, self.timeout)

    def spawn_pusher(self) -> Any:
        """Start the process that takes tasks from the database."""
        return self.spawn_process(_pusher, self.task_queue, self.event_out, self.broker)

    def spawn_monitor(self) -> Any:
        """Start the process that notes tasks as done."""
        return self.spawn_process(_monitor, self.result_queue, self.broker)


def _pusher(*arguments: Any) -> None:
    _call_this_process("q-pusher")
    pusher(*arguments)


def _monitor(*arguments: Any) -> None:
    _call_this_process("q-monitor")
    monitor(*arguments)


class Cluster:
    """The cluster as its first process sees it."""

    def __init__(self) -> None:
        self._stop = Flag()
        self._revive_at = 0.0
        self._is_new = True

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then end within STOP_SECONDS."""
        _let_children_die_with_their_parents()
        preload()
        # To look for garbage among what is there for good takes a lane's time, 70 ms a turn.
        gc.freeze()
        post_spawn.connect(_prepare_worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        self._begin()
        try:
            while not self._stop.is_set():
                self._revive_if_due()
                self._sentinel.join(LOOK_SECONDS)
                if not self._sentinel.is_alive() and not self._stop.is_set():
                    log.error("cluster.begun_anew", reason=self._how_the_sentinel_ended())
                    time.sleep(BEGIN_AGAIN_SECONDS)
                    self._begin()
            self._sentinel.join()
        finally:
            self._sentinel.kill()

    def _begin(self) -> None:
        connections.close_all()  # a connection does not survive the fork
        # Those that were asked for may have been lost with the sentinel's children.
        self._is_new = True
        self._revive_at = 0.0
        self._sentinel = get_mp_context().Process(
            target=LocklessSentinel, args=(self._stop, Flag(), uuid4()), name="sentinel"
        )
        self._sentinel.start()

    def _revive_if_due(self) -> None:
        """Ask for the loops that are missed: whoever died may have had them in hand."""
        if time.monotonic() < self._revive_at:
            return
        self._revive_at = time.monotonic() + REVIVE_SECONDS
        try:
            if self._is_new:
                loops.start()
                self._is_new = False
            else:
                loops.revive()
        except (DatabaseError, InterfaceError) as error:
            # Whatever it is, lanes that do their work must not end for it.
            log.warning("cluster.loops_not_revived", reason=str(error))
            connection.close()

    def _how_the_sentinel_ended(self) -> str:
        code = self._sentinel.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"the sentinel {how}"

    def _end(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM or SIGINT. django-q waits for running tasks and tells them nothing; ours are
        told."""
        if not self._stop.is_set():
            loops.tell_to_stop()
            self._stop.set()
            # By signal, for this process may be waiting for a database that does not answer.
            signal.signal(signal.SIGALRM, self._end_at_once)
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)

    def _end_at_once(self, number: int, frame: FrameType | None) -> None:
        log.error("cluster.stop_took_too_long", seconds=STOP_SECONDS)
        self._sentinel.kill()
        os._exit(1)


def _prepare_worker(**_: Any) -> None:
    """In each worker, before its first task."""
    _call_this_process("q-worker")
    try:
        loops.replace_the_dead()
    except DATABASE_AWAY:
        # They will be missed soon enough, by those who beat when the database is back.
        connection.close()


def _let_children_die_with_their_parents() -> None:
    """From now on each process that this one and its descendants fork gets SIGKILL when the one
    that forked it is gone, in whatever way. On Linux; elsewhere orphans work on."""
    if (libc := _LIBC) is None:
        return
    parent_pid = 0

    def before() -> None:
        nonlocal parent_pid
        parent_pid = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent_pid:
            os._exit(1)  # it was gone before we could ask

    os.register_at_fork(before=before, after_in_child=in_child)


def _call_this_process(name: str) -> None:
    """Of up to 15 characters; workers are called as the sentinel until they are ready."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_NAME, name.encode())
