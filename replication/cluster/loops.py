"""Keeps the right number of loops (lanes, pollers and sweepers) running, whatever process dies.

A loop is a short django-q task. It asks for its successor a little before its time is up, and sends
heartbeats while it runs. Each loop revives the other kind when that kind has gone silent. The
database's clock decides which loops are alive.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now
from django_q.tasks import async_task

from replication.cluster import watchdog
from replication.cluster.ipc import Flag
from replication.models import Circuit, Heartbeat, LoopKind

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5
ALIVE_SECONDS = 15  # a loop that is silent for longer counts as dead
# A loop asks for its successor when this share of its time is left, so that the two overlap and no
# event waits for the successor: with 25 s, that is 2.5 s before its end.
OVERLAP = 0.1
# A loop that was asked for and has not started after this time was lost with its cluster.
LOST_AFTER_SECONDS = 10
FORGET_AFTER_SECONDS = 3600
# The broker of each cluster listens here, to start a loop that is asked for at once.
LOOPS_CHANNEL = "s3sync_loops"

TASKS = {
    LoopKind.LANE: "replication.tasks.run_lane",
    LoopKind.POLLER: "replication.tasks.run_poller",
    LoopKind.SWEEPER: "replication.tasks.run_sweeper",
}

_told_to_stop = Flag()  # shared by the cluster's processes after a fork


def tell_to_stop() -> None:
    """Tell every loop of this cluster to end soon; called in the cluster's first process."""
    _told_to_stop.set()


def are_told_to_stop() -> bool:
    """Whether this process's cluster is being stopped."""
    return _told_to_stop.is_set()


def request(kind: LoopKind, *, lost_after_seconds: float = LOST_AFTER_SECONDS) -> bool:
    """Ask for one more loop of the kind, unless one already waits to start.

    A loop that has waited for longer than `lost_after_seconds` counts as lost, and is replaced.
    Returns whether a loop was asked for.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_heartbeat AS waiting (id, kind, asked_at, host, in_flight)
            VALUES (%s, %s, now(), '', 0)
            ON CONFLICT (kind) WHERE started_at IS NULL
                DO UPDATE SET id = excluded.id, asked_at = excluded.asked_at
                WHERE waiting.asked_at < now() - make_interval(secs => %s)
            RETURNING id
            """,
            [uuid4(), kind, lost_after_seconds],
        )
        row = cursor.fetchone()
        if row is None:
            return False
        # Without django-q's limit: a loop that lives on is at work, or its watchdog ends it.
        async_task(TASKS[kind], str(row[0]), timeout=-1)
        cursor.execute("SELECT pg_notify(%s, %s)", [LOOPS_CHANNEL, kind])  # delivered on commit
    return True


def asked_for() -> set[str]:
    """The kinds of which a loop waits to start."""
    waiting = Heartbeat.objects.filter(started_at__isnull=True)
    return set(waiting.values_list("kind", flat=True))


def start() -> None:
    """Ask for a loop of each kind, whatever is registered: a cluster or its sentinel has started.

    The loops that its predecessor left behind may have died with it, although their last heartbeat
    is recent. So may a loop that was asked for: a killed cluster may have had it in its memory. A
    surplus loop ends by itself.
    """
    for kind in _wanted_kinds():
        request(kind, lost_after_seconds=0)


def revive() -> None:
    """Ask for a loop of each kind that must run and of which none is alive."""
    _request_missing(set(_alive().values_list("kind", flat=True)))


def _request_missing(alive: set[str]) -> None:
    for kind in _wanted_kinds():
        if kind not in alive and request(kind):
            log.warning("loop.revived", kind=kind.value)


def replace_dead_loops() -> None:
    """Delete the loops of this cluster whose process is gone, and revive what is missing at once.

    Each new worker calls this, because the cluster starts a worker when another has died. Otherwise
    a killed lane would be missed only after ALIVE_SECONDS.
    """
    here = Heartbeat.objects.filter(host=settings.S3SYNC.host_name, cluster_pid=os.getppid())
    dead = [loop.pk for loop in here if loop.pid and not _is_alive(loop.pid)]
    if dead:
        here.filter(pk__in=dead).delete()
        revive()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process has the pid by now; the loop's silence will show its death
    return True


def _wanted_kinds() -> list[LoopKind]:
    """The kinds that always run. Sweepers run while there is a sweep."""
    polls = settings.S3SYNC.poll_in_cluster
    return [LoopKind.LANE, LoopKind.POLLER] if polls else [LoopKind.LANE]


def is_full_here() -> bool:
    """Whether this cluster runs as many lanes as it may; renewed lanes don't count.

    One is enough to try again where credentials of this host are refused.
    """
    here = _alive().filter(
        kind=LoopKind.LANE,
        host=settings.S3SYNC.host_name,
        cluster_pid=os.getppid(),
        is_renewed=False,
    )
    running_here = here.count()
    return running_here >= settings.S3SYNC.lanes or (running_here >= 1 and is_barred_here())


def has_sweeper_here() -> bool:
    """Whether this cluster has a sweeper: one takes as many slices as are of use."""
    return (
        _alive()
        .filter(kind=LoopKind.SWEEPER, host=settings.S3SYNC.host_name, cluster_pid=os.getppid())
        .exists()
    )


def is_barred_here() -> bool:
    """Whether credentials of this host are refused, so that another host does more with a lane.

    Not while they are to be tried again, which needs a lane here. Records that the host is alive.
    """
    barred = Circuit.objects.filter(
        host=settings.S3SYNC.host_name, opened_at__isnull=False, probe_at__gt=Now()
    )
    return bool(barred.update(host_seen_at=Now()))


def has_lane_elsewhere() -> bool:
    """Whether a lane is alive on another host, and does not end soon."""
    lanes = _alive().filter(kind=LoopKind.LANE, is_renewed=False)
    return lanes.exclude(host=settings.S3SYNC.host_name).exists()


def in_flight_limit_here() -> int:
    """The largest limit that a live lane of this host has found; 0 if there is none."""
    here = _alive().filter(kind=LoopKind.LANE, host=settings.S3SYNC.host_name)
    return here.aggregate(most=Max("in_flight_limit", default=0))["most"]


@contextmanager
def running(kind: LoopKind, loop_id: UUID | None = None) -> Iterator["Loop | None"]:
    """The life of a loop: registered on entry, deleted on exit.

    With `loop_id` it is the loop that was asked for under that id. Yields None if that loop has
    already started or was given up as lost. Also yields None if this cluster has as many loops of
    the kind as it may: the loop that asked asks again, and a host with room may take the request.
    """
    loop = Loop(kind=kind, id=loop_id or uuid4())
    is_full = {LoopKind.LANE: is_full_here, LoopKind.SWEEPER: has_sweeper_here}.get(kind)
    if loop_id and is_full is not None and is_full():
        Heartbeat.objects.filter(pk=loop.id, started_at__isnull=True).delete()
        yield None
        return
    if not loop.register(asked_for=loop_id is not None):
        yield None
        return
    try:
        with watchdog.watching(seconds=settings.S3SYNC.silence_seconds):
            yield loop
    finally:
        Heartbeat.objects.filter(pk=loop.id).delete()


@dataclass
class Loop:
    """One running loop of this process."""

    kind: LoopKind
    id: UUID
    _last_beat: float = -math.inf  # the first beat is due at once

    def register(self, *, asked_for: bool) -> bool:
        """Record that the loop runs, and delete the long dead ones.

        Returns False if the loop was asked for, but has already started or was given up as lost.
        """
        process: list[str | int] = [settings.S3SYNC.host_name, os.getpid(), os.getppid()]
        with connection.cursor() as cursor:
            if asked_for:
                cursor.execute(
                    """
                    WITH forgotten AS (
                        DELETE FROM replication_heartbeat
                        WHERE beat_at < now() - make_interval(secs => %s))
                    UPDATE replication_heartbeat
                    SET started_at = now(), beat_at = now(), host = %s, pid = %s, cluster_pid = %s
                    WHERE id = %s AND started_at IS NULL
                    """,
                    [FORGET_AFTER_SECONDS, *process, self.id],
                )
            else:
                cursor.execute(
                    """
                    WITH forgotten AS (
                        DELETE FROM replication_heartbeat
                        WHERE beat_at < now() - make_interval(secs => %s))
                    INSERT INTO replication_heartbeat
                        (host, pid, cluster_pid, id, kind, asked_at, started_at, beat_at, in_flight)
                    VALUES (%s, %s, %s, %s, %s, now(), now(), now(), 0)
                    """,
                    [FORGET_AFTER_SECONDS, *process, self.id, self.kind],
                )
            return bool(cursor.rowcount)

    def beat_if_due(self, *, in_flight: int = 0, in_flight_limit: int = 0) -> bool:
        """Every BEAT_SECONDS: send a heartbeat, and revive the other kind if none of it is alive,
        and a sweeper if one has died.

        Each call pats the watchdog. Returns whether a heartbeat was due.
        """
        watchdog.pat()
        if time.monotonic() - self._last_beat < BEAT_SECONDS:
            return False
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH beat AS (
                    UPDATE replication_heartbeat
                    SET beat_at = now(), in_flight = %s, in_flight_limit = %s WHERE id = %s)
                SELECT array_agg(DISTINCT kind), EXISTS (
                    SELECT FROM replication_sweepslice
                    WHERE NOT is_done AND held_by <> '' AND held_until < now())
                FROM replication_heartbeat WHERE beat_at > now() - make_interval(secs => %s)
                """,
                [in_flight, in_flight_limit, self.id, ALIVE_SECONDS],
            )
            kinds, has_orphaned_slice = cursor.fetchone()
        # The SELECT does not see the UPDATE of the same statement.
        _request_missing({self.kind.value, *(kinds or [])})
        if has_orphaned_slice:  # its sweeper is dead
            request(LoopKind.SWEEPER)
        self._last_beat = time.monotonic()
        return True

    def renew(self) -> None:
        """Ask for a successor, which may start while this loop finishes."""
        Heartbeat.objects.filter(pk=self.id).update(is_renewed=True)
        request(self.kind)

    def has_younger_peer(self) -> bool:
        """Whether a live loop of the kind started after this one, so that this one may end."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT EXISTS (
                    SELECT FROM replication_heartbeat AS me, replication_heartbeat AS peer
                    WHERE me.id = %s AND peer.kind = me.kind
                      AND (peer.started_at, peer.id) > (me.started_at, me.id)
                      AND peer.beat_at > now() - make_interval(secs => %s))
                """,
                [self.id, ALIVE_SECONDS],
            )
            return bool(cursor.fetchone()[0])


def hosts_alive() -> set[str]:
    """The hosts with a loop that has sent a heartbeat in the last ALIVE_SECONDS."""
    return set(_alive().values_list("host", flat=True))


def count(kind: LoopKind) -> int:
    """How many loops of the kind are alive."""
    return _alive().filter(kind=kind).count()


def _alive() -> QuerySet[Heartbeat]:
    """The loops with a heartbeat in the last ALIVE_SECONDS."""
    return Heartbeat.objects.filter(beat_at__gt=Now() - timedelta(seconds=ALIVE_SECONDS))
