"""Fields and constraints; what moves a job from state to state is in jobs/."""

from replication.models.jobs import (
    FailedJob,
    JobOrigin,
    JobState,
    Outcome,
    TransferAttempt,
    TransferJob,
)
from replication.models.operations import DeadLetter, Heartbeat, LoopKind
from replication.models.rollups import LAG_BOUNDS_SECONDS, CompletedMinute
from replication.models.rules import (
    Addressing,
    DeletePolicy,
    Destination,
    EventQueue,
    ReplicationRule,
    Source,
    SourceDomain,
    SourceKind,
)

__all__ = [
    "LAG_BOUNDS_SECONDS",
    "Addressing",
    "CompletedMinute",
    "DeadLetter",
    "DeletePolicy",
    "Destination",
    "EventQueue",
    "FailedJob",
    "Heartbeat",
    "JobOrigin",
    "JobState",
    "LoopKind",
    "Outcome",
    "ReplicationRule",
    "Source",
    "SourceDomain",
    "SourceKind",
    "TransferAttempt",
    "TransferJob",
]
