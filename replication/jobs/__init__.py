"""The only package that changes TransferJob.state.

Each transition is one statement that names the state that it starts from, and for a running job
the attempt. A caller that comes too late changes nothing and is told so. The database's clock
decides which jobs are due and which leases have expired.
"""

from replication.jobs.choosing import (
    WIDTH_APPLIES,
    WIDTH_DOUBLES_SECONDS,
    WIDTH_FORGOTTEN_SECONDS,
    WIDTH_NOW,
)
from replication.jobs.claiming import ClaimedJob, claim, extend_leases, outdated
from replication.jobs.completing import complete
from replication.jobs.delete_permits import (
    await_confirmation,
    confirm_deletes,
    confirmed_deletes,
    grant_deletes,
    is_recorded_copy,
    permitted_deletes,
)
from replication.jobs.enqueueing import (
    PRIORITY_BULK,
    PRIORITY_EVENT,
    PRIORITY_SWEEP,
    PRIORITY_SWEEP_FIRST,
    JobOrder,
    enqueue,
    enqueue_if_idle,
)
from replication.jobs.manual import cancel, retry
from replication.jobs.restoring import await_restore
from replication.jobs.retrying import backoff_seconds, fail, hand_over, rescue, retry_later
from replication.jobs.turns import Turns

__all__ = [
    "PRIORITY_BULK",
    "PRIORITY_EVENT",
    "PRIORITY_SWEEP",
    "PRIORITY_SWEEP_FIRST",
    "WIDTH_APPLIES",
    "WIDTH_DOUBLES_SECONDS",
    "WIDTH_FORGOTTEN_SECONDS",
    "WIDTH_NOW",
    "ClaimedJob",
    "JobOrder",
    "Turns",
    "await_confirmation",
    "await_restore",
    "backoff_seconds",
    "cancel",
    "claim",
    "complete",
    "confirm_deletes",
    "confirmed_deletes",
    "enqueue",
    "enqueue_if_idle",
    "extend_leases",
    "fail",
    "grant_deletes",
    "hand_over",
    "is_recorded_copy",
    "outdated",
    "permitted_deletes",
    "rescue",
    "retry",
    "retry_later",
]
