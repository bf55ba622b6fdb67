"""The progress of a large object's upload."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q
from django.db.models.functions import Now

from replication.mapping.parts import PartPlan
from replication.models import JobFields, JobState, MultipartUpload


@dataclass(frozen=True)
class UploadProgress:
    """How much of an object is in OSS already, in parts and bytes."""

    began_at: datetime
    upload_id: str
    parts_uploaded: int
    parts_carried: int  # by lanes, right now
    parts_total: int
    part_size_bytes: int
    bytes_uploaded: int
    size_bytes: int

    @property
    def percent(self) -> int:
        """Rounded down: 100 means that every byte is in OSS."""
        return self.bytes_uploaded * 100 // self.size_bytes


def upload_progress(job: JobFields) -> UploadProgress | None:
    """The upload of the job's key, which outlives a try; None if there is none or the job ended."""
    if job.state not in {JobState.PENDING, JobState.RUNNING}:
        return None
    upload = (
        MultipartUpload.objects.filter(rule_id=job.rule_id, key=job.key)
        .annotate(
            uploaded=Count("parts", Q(parts__etag__gt="")),
            carried=Count("parts", Q(parts__lease_expires_at__gt=Now())),
        )
        .first()
    )
    if upload is None:
        return None
    parts = PartPlan(upload.size_bytes, upload.part_size_bytes)
    is_last_uploaded = upload.parts.filter(number=parts.count, etag__gt="").exists()
    missing_of_last = parts.part_size_bytes - parts.part_bytes(parts.count)
    uploaded: int = upload.uploaded
    return UploadProgress(
        began_at=upload.began_at,
        upload_id=upload.upload_id,
        parts_uploaded=uploaded,
        parts_carried=upload.carried,
        parts_total=parts.count,
        part_size_bytes=parts.part_size_bytes,
        bytes_uploaded=uploaded * parts.part_size_bytes
        - (missing_of_last if is_last_uploaded else 0),
        size_bytes=upload.size_bytes,
    )
