"""The entry points that django-q calls: the loops, and what timers and other tasks queue.

cluster/known_tasks.py names each of them: a cluster runs no other function.
"""

from uuid import UUID

from django.conf import settings
from django_q.tasks import async_task

from replication.cluster import loops
from replication.intake import canaries
from replication.intake.poll_loop import poll_for
from replication.jobs import aborting
from replication.models import LoopKind
from replication.monitoring.notifications.dispatch import notify_targets
from replication.operations import retention, stale_uploads
from replication.sweep import lifecycle, sweeper
from replication.worker.lane import Lane

SWEEPER_SECONDS = 300
PRUNE_SECONDS = 10  # short: a loop's successor may have to wait for this worker


def run_lane(loop_id: str) -> None:
    """Run the lane that was requested under this id; do nothing if it is not needed any more."""
    with loops.running(LoopKind.LANE, UUID(loop_id)) as loop:
        if loop is not None:
            Lane(loop, seconds=settings.S3SYNC.lane_seconds).run()


def run_poller(loop_id: str) -> None:
    """Run the poller that was requested under this id; do nothing if it is not needed any more."""
    with loops.running(LoopKind.POLLER, UUID(loop_id)) as loop:
        if loop is not None:
            poll_for(loop, seconds=settings.S3SYNC.lane_seconds)


def revive() -> None:
    """Revive the loops when none is left to revive the others, and have uploads aborted that are
    due, canaries put, and sweeps carried on. A timer queues this each minute.
    """
    loops.revive()
    if aborting.is_due():
        async_task("replication.tasks.abort_uploads")
    if canaries.is_due():
        async_task("replication.tasks.put_canaries")
    if lifecycle.is_due():
        loops.request(LoopKind.SWEEPER)


def abort_uploads() -> None:
    """Abort unfinished uploads that no job will complete. `revive` asks for it when any is due."""
    stale_uploads.abort_due(seconds=PRUNE_SECONDS)


def put_canaries() -> None:
    """Put the canaries that are due at their sources. `revive` asks for it when any is due."""
    canaries.put_due()


def run_sweeper(loop_id: str) -> None:
    """Carry on the comparisons of whole buckets. `revive` asks for it when any is due."""
    with loops.running(LoopKind.SWEEPER, UUID(loop_id)) as loop:
        if loop is not None:
            sweeper.run(loop, seconds=SWEEPER_SECONDS)


def notify() -> None:
    """Notify people of problems that began or ended. A timer queues this each minute."""
    notify_targets()


def prune() -> None:
    """Delete old rows and abort stale uploads, and continue in a new task if time runs out.

    A timer queues this each hour.
    """
    stale_uploads.give_up_stale()
    stale_uploads.abort_due(seconds=PRUNE_SECONDS)
    if not retention.prune(seconds=PRUNE_SECONDS).is_complete:
        async_task("replication.tasks.prune")
