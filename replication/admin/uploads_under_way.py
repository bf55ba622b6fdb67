"""How far a large object is on its way."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q
from django.db.models.functions import Now

from replication.mapping.parts import PartPlan
from replication.models import JobState, MultipartUpload, TransferJob


@dataclass(frozen=True)
class UploadUnderWay:
    """What of an object is at OSS already, in parts and bytes."""

    began_at: datetime
    upload_id: str
    parts_there: int
    parts_carried: int  # by lanes, at this moment
    parts_all: int
    part_size_bytes: int
    bytes_there: int
    size_bytes: int

    @property
    def percent(self) -> int:
        """Rounded down: 100 is all of it."""
        return self.bytes_there * 100 // self.size_bytes


def upload_under_way(job: TransferJob) -> UploadUnderWay | None:
    """The upload of the job's key, which outlives a try; None without one, or a job at its end."""
    if job.state not in {JobState.PENDING, JobState.RUNNING}:
        return None
    upload = (
        MultipartUpload.objects.filter(rule_id=job.rule_id, key=job.key)
        .annotate(
            there=Count("parts", Q(parts__etag__gt="")),
            carried=Count("parts", Q(parts__lease_expires_at__gt=Now())),
        )
        .first()
    )
    if upload is None:
        return None
    parts = PartPlan(upload.size_bytes, upload.part_size_bytes)
    is_last_there = upload.parts.filter(number=parts.count, etag__gt="").exists()
    missing_of_last = parts.part_size_bytes - parts.part_bytes(parts.count)
    there: int = upload.there
    return UploadUnderWay(
        began_at=upload.began_at,
        upload_id=upload.upload_id,
        parts_there=there,
        parts_carried=upload.carried,
        parts_all=parts.count,
        part_size_bytes=parts.part_size_bytes,
        bytes_there=there * parts.part_size_bytes - (missing_of_last if is_last_there else 0),
        size_bytes=upload.size_bytes,
    )
