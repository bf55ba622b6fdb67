"""Tables and constraints. Only jobs/ moves a job from state to state."""

from replication.models.access import (
    ActorKind,
    ApiToken,
    AuditAction,
    AuditEntry,
    ConfigurationChange,
    SignOnIdentity,
    TokenRole,
)
from replication.models.canaries import CANARY_GRACE, Canary, CanaryRoute
from replication.models.circuits import Circuit, CircuitScope, CircuitSide
from replication.models.cluster_tasks import ClusterTask
from replication.models.history import EndedJob, Job, RuleVersion, Try
from replication.models.jobs import (
    FINAL_STATES,
    DeletePermit,
    FailedJob,
    HoldReason,
    JobFields,
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
    "ClusterTask",
    "CompletedMinute",
    "CompletedTotal",
    "Condition",
    "ConditionKind",
    "ConfigurationChange",
    "DeadLetter",
    "DeletePermit",
    "DeletePolicy",
    "Destination",
    "EncryptionMethod",
    "EndedJob",
    "EventQueue",
    "FailedJob",
    "FindingState",
    "Heartbeat",
    "HoldReason",
    "Job",
    "JobFields",
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
    "RuleVersion",
    "SignOnIdentity",
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
    "Try",
    "UnmarkedPolicy",
    "UploadPart",
    "UploadToAbort",
]
