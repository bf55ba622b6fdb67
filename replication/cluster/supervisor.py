"""django-q's cluster, whose lanes and pollers go on when any of its processes is killed.

    first process ──forks──▶ sentinel ──forks──▶ pusher, monitor, workers

The sentinel replaces its children. The first process replaces the sentinel, and all of its children
with it. On Linux no process outlives its parent, and `ps -o comm` tells the processes apart:
q-sentinel, q-pusher, ….
"""

import ctypes
import gc
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from multiprocessing import RawValue
from types import FrameType
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections
from django_q.cluster import Sentinel, get_mp_context
from django_q.pusher import pusher
from django_q.signals import post_spawn
from django_q.worker import worker

from replication.cluster import loops, timers, watchdog
from replication.cluster.database import DATABASE_AWAY
from replication.cluster.ipc import Flag, Mailbox, Timer
from replication.cluster.monitor import monitor
from replication.stores.factory import preload

log = structlog.get_logger(__name__)

CHECK_SECONDS = 0.5
REVIVE_SECONDS = 5.0
RESTART_SECONDS = 1.0
# A long poll takes 20 s, and so may a lane whose stores don't answer; orchestrators allow 35 s.
STOP_SECONDS = 32.0

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class LocklessSentinel(Sentinel):
    """django-q's sentinel, with the lockless queues, flags and timers of cluster/ipc.py.

    A child that is killed leaves no lock behind that another child or the sentinel waits for.
    """

    def __init__(self, stop: Flag, started: Flag, cluster_id: Any) -> None:
        _name_process("q-sentinel")
        super().__init__(stop, started, cluster_id, start=False)
        # One task at a time: no other host can take a task that waits in this cluster's memory.
        self.task_queue = Mailbox(one_at_a_time=True)
        self.result_queue = Mailbox()
        self.event_out = Flag()
        with watchdog.watching(seconds=settings.S3SYNC.silence_seconds):
            self.start()

    def status(self) -> Any:
        """Return what django-q records in each round of the sentinel."""
        watchdog.pat()
        return super().status()

    def spawn_worker(self) -> None:
        """Start one more worker process."""
        timer = RawValue(Timer, -1)
        self.spawn_process(worker, self.task_queue, self.result_queue, timer, self.timeout)

    def spawn_pusher(self) -> Any:
        """Start the process that takes tasks from the database."""
        return self.spawn_process(_pusher, self.task_queue, self.event_out, self.broker)

    def spawn_monitor(self) -> Any:
        """Start the process that takes finished tasks from the queue."""
        return self.spawn_process(_monitor, self.result_queue, self.broker)


def _pusher(*arguments: Any) -> None:
    _name_process("q-pusher")
    pusher(*arguments)


def _monitor(*arguments: Any) -> None:
    _name_process("q-monitor")
    monitor(*arguments)


class Cluster:
    """The cluster, as its first process runs it."""

    def __init__(self) -> None:
        self._stop = Flag()
        self._revive_at = 0.0
        self._must_start_loops = True

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then end within STOP_SECONDS."""
        _kill_children_with_their_parents()
        _permit_many_connections()
        preload()
        # Else garbage collection scans the permanent objects too, and costs a lane 70 ms a run.
        gc.freeze()
        post_spawn.connect(_prepare_worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_on_signal)
        self._start_sentinel()
        try:
            with watchdog.watching(seconds=settings.S3SYNC.silence_seconds):
                self._guard_sentinel()
            self._sentinel.join()
        finally:
            self._sentinel.kill()

    def _guard_sentinel(self) -> None:
        """Replace the sentinel whenever it has ended, until the cluster is told to stop."""
        while not self._stop.is_set():
            watchdog.pat()
            self._revive_if_due()
            self._sentinel.join(CHECK_SECONDS)
            if not self._sentinel.is_alive() and not self._stop.is_set():
                log.error("cluster.begun_anew", reason=self._exit_reason())
                time.sleep(RESTART_SECONDS)
                self._start_sentinel()

    def _start_sentinel(self) -> None:
        connections.close_all()  # a connection does not survive the fork
        # Loops that were asked for may have been lost with the last sentinel's children.
        self._must_start_loops = True
        self._revive_at = 0.0
        self._sentinel = get_mp_context().Process(
            target=LocklessSentinel, args=(self._stop, Flag(), uuid4()), name="sentinel"
        )
        self._sentinel.start()

    def _revive_if_due(self) -> None:
        """Every REVIVE_SECONDS: ask for missing loops, which a killed process may have held, and
        queue what timers want.
        """
        if time.monotonic() < self._revive_at:
            return
        self._revive_at = time.monotonic() + REVIVE_SECONDS
        try:
            if self._must_start_loops:
                loops.start()
                self._must_start_loops = False
            else:
                loops.revive()
            timers.queue_due()
        except (DatabaseError, InterfaceError) as error:
            # Whatever the error is, it must not end the lanes that are at work.
            log.warning("cluster.loops_not_revived", reason=str(error))
            connection.close()

    def _exit_reason(self) -> str:
        code = self._sentinel.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"the sentinel {how}"

    def _stop_on_signal(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM or SIGINT: tell the loops to stop. django-q only waits for running tasks."""
        if not self._stop.is_set():
            loops.tell_to_stop()
            self._stop.set()
            # A signal, because this process may be waiting for a database that does not answer.
            signal.signal(signal.SIGALRM, self._end_process)
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)

    def _end_process(self, number: int, frame: FrameType | None) -> None:
        log.error("cluster.stop_took_too_long", seconds=STOP_SECONDS)
        self._sentinel.kill()
        os._exit(1)


def _prepare_worker(**_: Any) -> None:
    """Run in each worker before its first task."""
    _name_process("q-worker")
    try:
        loops.replace_dead_loops()
    except DATABASE_AWAY:
        # Once the database is back, the other loops and the first process notice the missing loops.
        connection.close()


def _permit_many_connections() -> None:
    """Raise the soft limit on open files to the hard one, for this process and its descendants.

    The soft limit is often 1,024, for the sake of programs that use select(2); this one does not. A
    lane needs two connections for each transfer in flight, and keeps idle ones.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _kill_children_with_their_parents() -> None:
    """Have each process forked from now on, here or in a descendant, killed when its parent ends.

    The kernel sends SIGKILL, however the parent ended. Linux only: elsewhere orphans keep running.
    """
    if (libc := _LIBC) is None:
        return
    parent_pid = 0

    def before() -> None:
        nonlocal parent_pid
        parent_pid = os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent_pid:
            os._exit(1)  # the parent was gone before prctl took effect

    os.register_at_fork(before=before, after_in_child=in_child)


def _name_process(name: str) -> None:
    """Set the name that `ps -o comm` shows, of up to 15 characters.

    A worker keeps the sentinel's name until it is ready.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_NAME, name.encode())
