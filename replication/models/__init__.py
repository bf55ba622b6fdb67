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
from replication.models.places import (
    Addressing,
    Destination,
    Source,
    SourceDomain,
    SourceKind,
)
from replication.models.queues import EventQueue
from replication.models.rollups import LAG_BOUNDS_SECONDS, CompletedMinute
from replication.models.rules import (
    DeletePolicy,
    EncryptionMethod,
    ObjectAcl,
    ReplicationRule,
)
from replication.models.uploads import MultipartUpload, UploadPart

__all__ = [
    "LAG_BOUNDS_SECONDS",
    "Addressing",
    "CompletedMinute",
    "DeadLetter",
    "DeletePolicy",
    "Destination",
    "EncryptionMethod",
    "EventQueue",
    "FailedJob",
    "Heartbeat",
    "JobOrigin",
    "JobState",
    "LoopKind",
    "MultipartUpload",
    "ObjectAcl",
    "Outcome",
    "ReplicationRule",
    "Source",
    "SourceDomain",
    "SourceKind",
    "TransferAttempt",
    "TransferJob",
    "UploadPart",
]
