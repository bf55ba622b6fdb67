"""Tables and constraints. Only jobs/ moves a job from state to state."""

from replication.models.access import (
    ActorKind,
    ApiToken,
    AuditAction,
    AuditEntry,
    TokenRole,
)
from replication.models.canaries import CANARY_GRACE, Canary, CanaryRoute
from replication.models.circuits import Circuit, CircuitScope, CircuitSide
from replication.models.jobs import (
    FINAL_STATES,
    DeletePermit,
    FailedJob,
    HoldReason,
    JobOrigin,
    JobState,
    Outcome,
    TransferAttempt,
    TransferJob,
)
from replication.models.locations import (
    Addressing,
    Destination,
    Source,
    SourceDomain,
    SourceKind,
    Takes,
)
from replication.models.loops import Heartbeat, LoopKind
from replication.models.notifications import Condition, ConditionKind, NotificationTarget
from replication.models.queues import DeadLetter, EventQueue
from replication.models.rollups import (
    LAG_BOUNDS_SECONDS,
    CompletedMinute,
    CompletedTotal,
    TriesTotal,
)
from replication.models.rules import (
    ArchivePolicy,
    DeletePolicy,
    EncryptionMethod,
    ObjectAcl,
    ReplicationRule,
    RestoreTier,
    UnmarkedPolicy,
)
from replication.models.signed_calls import LambdaContact, SignedCall
from replication.models.sweeps import (
    UNENDED,
    FindingState,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepLevel,
    SweepSlice,
    SweepState,
)
from replication.models.uploads import MultipartUpload, UploadPart, UploadToAbort

__all__ = [
    "CANARY_GRACE",
    "FINAL_STATES",
    "LAG_BOUNDS_SECONDS",
    "UNENDED",
    "ActorKind",
    "Addressing",
    "ApiToken",
    "ArchivePolicy",
    "AuditAction",
    "AuditEntry",
    "Canary",
    "CanaryRoute",
    "Circuit",
    "CircuitScope",
    "CircuitSide",
    "CompletedMinute",
    "CompletedTotal",
    "Condition",
    "ConditionKind",
    "DeadLetter",
    "DeletePermit",
    "DeletePolicy",
    "Destination",
    "EncryptionMethod",
    "EventQueue",
    "FailedJob",
    "FindingState",
    "Heartbeat",
    "HoldReason",
    "JobOrigin",
    "JobState",
    "LambdaContact",
    "LoopKind",
    "MultipartUpload",
    "NotificationTarget",
    "ObjectAcl",
    "Outcome",
    "ReplicationRule",
    "RestoreTier",
    "SignedCall",
    "Source",
    "SourceDomain",
    "SourceKind",
    "Sweep",
    "SweepFinding",
    "SweepKind",
    "SweepLevel",
    "SweepSlice",
    "SweepState",
    "Takes",
    "TokenRole",
    "TransferAttempt",
    "TransferJob",
    "TriesTotal",
    "UnmarkedPolicy",
    "UploadPart",
    "UploadToAbort",
]
