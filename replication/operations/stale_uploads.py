"""Aborts multipart uploads that no job will complete: their parts cost money at OSS."""

import time
from datetime import timedelta

import structlog
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from replication.cluster import loops
from replication.errors import ReplicationError
from replication.jobs import uploads
from replication.models import JobState, MultipartUpload, TransferJob
from replication.stores.factory import destination_store

log = structlog.get_logger(__name__)

# Within this time, a retried job continues the upload where the failed job ended.
STALE_AFTER = timedelta(days=1)


def abort_stale(*, seconds: float) -> int:
    """Abort uploads of keys without a pending or running job, oldest first. Returns how many.

    Ends early after `seconds`, or when the cluster is being stopped. The next run tries again to
    abort the uploads that the destination refused to abort.
    """
    ends = time.monotonic() + seconds
    live = TransferJob.objects.filter(
        rule_id=OuterRef("rule_id"),
        key=OuterRef("key"),
        state__in=[JobState.PENDING, JobState.RUNNING],
    )
    stale = MultipartUpload.objects.filter(began_at__lt=Now() - STALE_AFTER).exclude(Exists(live))
    aborted = 0
    for upload in stale.select_related("destination", "rule").order_by("began_at").iterator():
        if time.monotonic() >= ends or loops.are_told_to_stop():
            break
        aborted += _abort(upload)
    return aborted


def _abort(upload: MultipartUpload) -> bool:
    about = {"rule": upload.rule.name, "key": upload.key, "upload_id": upload.upload_id}
    try:
        destination_store(upload.destination).abort_upload(upload.destination_key, upload.upload_id)
    except ReplicationError as error:
        log.warning("upload.not_aborted", **about, code=error.code.value, detail=error.detail)
        return False
    uploads.forget(upload.pk)
    log.info("upload.aborted", **about)
    return True
