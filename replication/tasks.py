"""What django-q calls: the loops, and the schedules. Thin."""

from uuid import UUID

from django.conf import settings
from django_q.tasks import async_task

from replication.cluster import loops
from replication.intake.poll_loop import poll_for
from replication.models import LoopKind
from replication.monitoring.notifications.dispatch import notify_targets
from replication.operations import retention
from replication.operations.stale_uploads import abort_stale
from replication.worker.lane import Lane

PRUNE_SECONDS = 10  # a loop that renews itself may have to wait for this worker


def run_lane(loop_id: str) -> None:
    """One run of a lane, asked for under this id."""
    with loops.running(LoopKind.LANE, UUID(loop_id)) as loop:
        if loop is not None:
            Lane(loop, seconds=settings.S3SYNC.lane_seconds).run()


def run_poller(loop_id: str) -> None:
    """One run of a poller, asked for under this id."""
    with loops.running(LoopKind.POLLER, UUID(loop_id)) as loop:
        if loop is not None:
            poll_for(loop, seconds=settings.S3SYNC.lane_seconds)


def revive() -> None:
    """Scheduled each minute: the last resort where no loop is left to revive the others."""
    loops.revive()


def notify() -> None:
    """Scheduled each minute: tells people what is wrong, and what is over."""
    notify_targets()


def prune() -> None:
    """Scheduled each hour; goes on in a new task where its time was too short."""
    abort_stale(seconds=PRUNE_SECONDS)
    if not retention.prune(seconds=PRUNE_SECONDS).is_complete:
        async_task("replication.tasks.prune")
