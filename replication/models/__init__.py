"""Fields and constraints; what moves a job from state to state is in jobs/."""

from replication.models.jobs import (
    DeletePermit,
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
    ArchivePolicy,
    DeletePolicy,
    EncryptionMethod,
    ObjectAcl,
    ReplicationRule,
    RestoreTier,
)
from replication.models.uploads import MultipartUpload, UploadPart

__all__ = [
    "LAG_BOUNDS_SECONDS",
    "Addressing",
    "ArchivePolicy",
    "CompletedMinute",
    "DeadLetter",
    "DeletePermit",
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
    "RestoreTier",
    "Source",
    "SourceDomain",
    "SourceKind",
    "TransferAttempt",
    "TransferJob",
    "UploadPart",
]
