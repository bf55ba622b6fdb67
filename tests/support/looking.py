"""A look at one key along a road, as an operator asks for it."""

from replication.intake.matching import look_again
from replication.models import Job, JobState
from tests.support.lanes import lanes
from tests.support.processes import eventually
from tests.support.road import Road


def look_at(road: Road, key: str) -> Job:
    """Look at the key until its job has ended a try; returns the job as it is then."""
    [job_id] = look_again(road.rule, [key])
    job = Job.objects.filter(pk=job_id)
    started_at = job.get().started_at  # of an earlier try
    tried = job.exclude(state=JobState.RUNNING).exclude(started_at=None)
    if started_at is not None:
        tried = tried.exclude(started_at=started_at)
    with lanes():
        eventually(tried.exists)
    return job.get()
