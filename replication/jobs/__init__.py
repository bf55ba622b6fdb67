"""The only package that changes TransferJob.state.

Each transition is one statement that names the state, and for a running job the attempt,
that it starts from: whoever comes too late changes nothing and is told so. The database's
clock decides what is due and which lease has run out.
"""

from replication.jobs.claiming import (
    IS_NARROW,
    WIDTH_DOUBLES_SECONDS,
    WIDTH_FORGOTTEN_SECONDS,
    WIDTH_NOW,
    ClaimedJob,
    claim,
    extend_leases,
)
from replication.jobs.completing import complete
from replication.jobs.delete_permits import (
    await_confirmation,
    confirm_deletes,
    grant_deletes,
    permitted_deletes,
    release_unconfirmed,
)
from replication.jobs.enqueueing import (
    PRIORITY_BULK,
    PRIORITY_EVENT,
    WAKE_CHANNEL,
    JobOrder,
    enqueue,
)
from replication.jobs.manual import cancel, retry
from replication.jobs.restoring import await_restore
from replication.jobs.retrying import backoff_seconds, fail, hand_over, rescue, retry_later

__all__ = [
    "IS_NARROW",
    "PRIORITY_BULK",
    "PRIORITY_EVENT",
    "WAKE_CHANNEL",
    "WIDTH_DOUBLES_SECONDS",
    "WIDTH_FORGOTTEN_SECONDS",
    "WIDTH_NOW",
    "ClaimedJob",
    "JobOrder",
    "await_confirmation",
    "await_restore",
    "backoff_seconds",
    "cancel",
    "claim",
    "complete",
    "confirm_deletes",
    "enqueue",
    "extend_leases",
    "fail",
    "grant_deletes",
    "hand_over",
    "permitted_deletes",
    "release_unconfirmed",
    "rescue",
    "retry",
    "retry_later",
]
