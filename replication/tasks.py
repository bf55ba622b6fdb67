"""What django-q calls: the loops, and the schedule that revives them. Thin."""

from uuid import UUID

from django.conf import settings

from replication import loops
from replication.lane import Lane
from replication.models import LoopKind
from replication.poll_loop import poll_for


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
