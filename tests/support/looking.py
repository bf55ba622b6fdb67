"""A look at one key along a road, as an operator would ask for it."""

from django.db import connection

from replication.cluster import loops
from replication.intake.matching import look_again
from replication.models import JobState, LoopKind, TransferJob
from replication.worker.lane import Lane
from tests.support.road import Road


def look_at(road: Road, key: str) -> TransferJob:
    """Look at the key, until its job is settled once; the job as it is then."""
    [job_id] = look_again(road.rule, [key])
    with loops.running(LoopKind.LANE) as loop:
        assert loop is not None
        lane = Lane(loop, seconds=0.15)
        lane.run()
    job = TransferJob.objects.get(id=job_id)
    assert job.state != JobState.RUNNING
    assert connection.is_usable()
    return job
