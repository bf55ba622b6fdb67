"""The proof of a completed job: a verdict in words, and a file with stable field names.

docs/guides/proof.md describes the file.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.utils.translation import gettext as _

from replication.errors import ReplicationError
from replication.mapping.keys import KeyPolicy, SkippedKey, plan_key
from replication.models import Job, JobState, Outcome

FORMAT = "s3sync-proof/1"


@dataclass(frozen=True)
class ProofVerdict:
    """What the proof shows; a person should check a job whose verdict is not good."""

    is_good: bool
    text: str


def verdict_of(job: Job) -> ProofVerdict:
    """The verdict on a completed job."""
    assert job.outcome is not None, "only a completed job has a proof"
    return _VERDICTS[Outcome(job.outcome)](job)


def _copied(job: Job) -> ProofVerdict:
    if not job.source_crc64 or job.source_crc64 != job.destination_crc64:
        return ProofVerdict(
            False, _("Copied, but a CRC-64 value is missing, or the two are not equal.")
        )
    if job.source_checksum:
        return ProofVerdict(
            True,
            _(
                "OSS has the bytes that were read: both CRC-64 values are equal. They are the "
                "source's bytes: its own checksum was compared."
            ),
        )
    return ProofVerdict(
        True,
        _(
            "OSS has the bytes that were read: both CRC-64 values are equal. The source gave no "
            "checksum of its own to compare."
        ),
    )


def _unchanged(job: Job) -> ProofVerdict:
    return ProofVerdict(
        True,
        _(
            "Nothing was copied: the replica's own metadata says that it is a copy of this very "
            "object, with the same size and metadata."
        ),
    )


def _deleted(job: Job) -> ProofVerdict:
    return ProofVerdict(
        True, _("The source reported that the object does not exist, and the replica was deleted.")
    )


def _absent(job: Job) -> ProofVerdict:
    return ProofVerdict(
        True,
        _("The source reported that the object does not exist; the rule keeps any replica."),
    )


def _skipped(job: Job) -> ProofVerdict:
    return ProofVerdict(
        False,
        _("Nothing was copied: OSS does not allow this key, and the rule skips such objects."),
    )


_VERDICTS = {
    Outcome.COPIED: _copied,
    Outcome.UNCHANGED: _unchanged,
    Outcome.DELETED: _deleted,
    Outcome.ABSENT: _absent,
    Outcome.SKIPPED: _skipped,
}


def replica_key(job: Job) -> str:
    """The replica's key under the rule as it was; empty if OSS does not allow the key."""
    rule = job.rule_then
    try:
        planned = plan_key(
            rule.destination_key(job.key),
            policy=KeyPolicy(rule.key_policy),
            prefix=rule.destination_prefix,
        )
    except ReplicationError:
        return ""
    return "" if isinstance(planned, SkippedKey) else planned.key


# -- the file ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceProof:
    name: str
    kind: str
    bucket: str
    endpoint_url: str
    region: str
    credential_profile: str
    key: str
    etag: str
    version_id: str
    checksum: str
    crc64: str
    request_id: str


@dataclass(frozen=True)
class DestinationProof:
    name: str
    bucket: str
    endpoint: str
    region: str
    credential_profile: str
    key: str
    etag: str
    crc64: str
    request_id: str


@dataclass(frozen=True)
class Proof:
    job: int
    rule: str
    rule_version: int | None
    outcome: str
    size_bytes: int | None
    crc64_equal: bool | None
    source: SourceProof
    destination: DestinationProof
    remarks: list[str]
    origin: str
    unsuccessful_tries: int
    event_at: str
    enqueued_at: str
    started_at: str | None
    completed_at: str
    format: str = field(default=FORMAT)


def proof_of(job: Job) -> Proof:
    """Build the proof of a completed job; `asdict` prepares it for JSON."""
    assert job.state == JobState.COMPLETED, "only a completed job has a proof"
    assert job.outcome is not None
    assert job.finalized_at is not None
    rule = job.rule_then
    source, destination = rule.source, rule.destination
    both_crcs = [crc for crc in (job.source_crc64, job.destination_crc64) if crc]
    return Proof(
        job=job.pk,
        rule=rule.name,
        rule_version=job.rule_version,
        outcome=job.outcome,
        size_bytes=job.size_bytes,
        crc64_equal=both_crcs[0] == both_crcs[1] if len(both_crcs) == 2 else None,
        source=SourceProof(
            name=source.name,
            kind=source.kind,
            bucket=source.bucket,
            endpoint_url=source.endpoint_url,
            region=source.region,
            credential_profile=source.credential_profile,
            key=job.key,
            etag=job.source_etag,
            version_id=job.source_version_id,
            checksum=job.source_checksum,
            crc64=job.source_crc64,
            request_id=job.source_request_id,
        ),
        destination=DestinationProof(
            name=destination.name,
            bucket=destination.bucket,
            endpoint=destination.endpoint,
            region=destination.region,
            credential_profile=destination.credential_profile,
            key=replica_key(job),
            etag=job.destination_etag,
            crc64=job.destination_crc64,
            request_id=job.destination_request_id,
        ),
        remarks=job.remarks.splitlines(),
        origin=job.origin,
        unsuccessful_tries=job.attempt,
        event_at=_utc(job.event_at),
        enqueued_at=_utc(job.enqueued_at),
        started_at=_utc(job.started_at) if job.started_at else None,
        completed_at=_utc(job.finalized_at),
    )


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).isoformat()
