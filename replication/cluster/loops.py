"""Keeps the loops of the cluster, lanes and pollers, running: in the right number, whatever dies.

A loop is a short django-q task. It asks for its successor a little before its time is up, beats
while it lives, and each loop revives the other kind when that has fallen silent. The database's
clock decides who is alive.
"""

import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django_q.tasks import async_task

from replication.cluster.ipc import Flag
from replication.models import Heartbeat, LoopKind

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5
ALIVE_SECONDS = 15  # silent for longer: taken for dead
# A loop asks for its successor when so much of its time is left that the two overlap, and no
# event waits for either: with 25 s, that is 2.5 s before its end.
OVERLAP = 0.1
# A loop that was asked for and has not started by then was lost with its cluster.
LOST_AFTER_SECONDS = 10
FORGET_AFTER_SECONDS = 3600
SUMMONS_CHANNEL = "s3sync_loops"

TASKS = {
    LoopKind.LANE: "replication.tasks.run_lane",
    LoopKind.POLLER: "replication.tasks.run_poller",
}

_told_to_stop = Flag()  # shared by the cluster's processes since their fork


def tell_to_stop() -> None:
    """Tell every loop of this cluster to end soon; called in the cluster's first process."""
    _told_to_stop.set()


def are_told_to_stop() -> bool:
    """Whether this process's cluster is being stopped."""
    return _told_to_stop.is_set()


def summon(kind: LoopKind, *, lost_after_seconds: float = LOST_AFTER_SECONDS) -> bool:
    """Ask the cluster for one more loop, unless one waits already. Returns whether it was asked.

    One that has waited for longer than `lost_after_seconds` is given up for lost.
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
        async_task(TASKS[kind], str(row[0]))
        cursor.execute(f"NOTIFY {SUMMONS_CHANNEL}")  # heard once this is committed
    return True


def start() -> None:
    """Ask for a loop of each kind, as a cluster does when it starts.

    Those that its predecessor left beating may have died with it, and so may one that was asked
    for: a killed cluster has it in its memory. A loop too many ends by itself.
    """
    for kind in _wanted_kinds():
        summon(kind, lost_after_seconds=0)


def revive() -> None:
    """Ask for a loop of each kind that ought to run and of which none is alive."""
    _summon_all_but(set(_alive().values_list("kind", flat=True)))


def _summon_all_but(alive: set[str]) -> None:
    for kind in _wanted_kinds():
        if kind not in alive and summon(kind):
            log.warning("loop.revived", kind=kind.value)


def replace_the_dead() -> None:
    """Forget the loops of this cluster whose process is gone, and ask for others at once.

    Called in each process that the cluster starts to work: it starts one when another has died.
    Else a lane that was killed would be missed only after ALIVE_SECONDS.
    """
    here = Heartbeat.objects.filter(host=socket.gethostname(), cluster_pid=os.getppid())
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
        pass  # somebody else's, by now; it will be missed by its silence
    return True


def _wanted_kinds() -> list[LoopKind]:
    return list(LoopKind) if settings.S3SYNC.poll_in_cluster else [LoopKind.LANE]


def is_full_here() -> bool:
    """Whether this cluster runs as many lanes as it may."""
    here = _alive().filter(
        kind=LoopKind.LANE,
        host=socket.gethostname(),
        cluster_pid=os.getppid(),
        is_renewed=False,
    )
    return here.count() >= settings.S3SYNC.lanes


@contextmanager
def running(kind: LoopKind, loop_id: UUID | None = None) -> Iterator["Loop | None"]:
    """A loop's life: registered on entry, forgotten on exit.

    With `loop_id` it is the loop that was asked for under that id; yields None if that one has
    started already or was given up for lost, or if this cluster has as many lanes as it may:
    whoever asked asks again, and another host has room.
    """
    loop = Loop(kind=kind, id=loop_id or uuid4())
    if loop_id and kind == LoopKind.LANE and is_full_here():
        Heartbeat.objects.filter(pk=loop.id, started_at__isnull=True).delete()
        yield None
        return
    if not loop.register(asked_for=loop_id is not None):
        yield None
        return
    try:
        yield loop
    finally:
        Heartbeat.objects.filter(pk=loop.id).delete()


@dataclass
class Loop:
    """One running loop of this process."""

    kind: LoopKind
    id: UUID
    _last_beat: float = -math.inf  # the first is due at once

    def register(self, *, asked_for: bool) -> bool:
        """Note that the loop runs, and forget the long dead; False if another was asked for."""
        who: list[str | int] = [socket.gethostname(), os.getpid(), os.getppid()]
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
                    [FORGET_AFTER_SECONDS, *who, self.id],
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
                    [FORGET_AFTER_SECONDS, *who, self.id, self.kind],
                )
            return bool(cursor.rowcount)

    def beat_if_due(self, *, in_flight: int = 0) -> bool:
        """Every few seconds: show that we live, revive the other kind.

        Returns whether it was time to.
        """
        if time.monotonic() - self._last_beat < BEAT_SECONDS:
            return False
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH beat AS (
                    UPDATE replication_heartbeat SET beat_at = now(), in_flight = %s WHERE id = %s)
                SELECT DISTINCT kind FROM replication_heartbeat
                WHERE beat_at > now() - make_interval(secs => %s)
                """,
                [in_flight, self.id, ALIVE_SECONDS],
            )
            # The SELECT does not see the beat yet.
            alive = {self.kind.value, *(kind for (kind,) in cursor.fetchall())}
        _summon_all_but(alive)
        self._last_beat = time.monotonic()
        return True

    def renew(self) -> None:
        """Ask for a successor, which may start while this one finishes."""
        Heartbeat.objects.filter(pk=self.id).update(is_renewed=True)
        summon(self.kind)

    def has_younger_peer(self) -> bool:
        """Whether a loop of the kind lives that started after this one, so this one may end."""
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


def _alive() -> QuerySet[Heartbeat]:
    """The loops that beat lately."""
    return Heartbeat.objects.filter(beat_at__gt=Now() - timedelta(seconds=ALIVE_SECONDS))
