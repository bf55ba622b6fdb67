"""Aborts multipart uploads that no job will complete: their parts cost money at OSS.

Only uploads that our own tables name are aborted. OSS does not say whose an upload is, so what a
restored database does not name is listed for a person, and aborted if that person says so.
"""

import time
from datetime import datetime, timedelta

import structlog

from replication.cluster import loops
from replication.errors import ErrorCode, ReplicationError, Scope
from replication.jobs import aborting, uploads
from replication.models import Destination, MultipartUpload, ReplicationRule, UploadToAbort
from replication.stores.base import DestinationStore, UnfinishedUpload
from replication.stores.factory import destination_store

log = structlog.get_logger(__name__)

# Within this time, a retried job continues the upload where the failed job ended.
STALE_AFTER = timedelta(days=1)


def give_up_stale() -> None:
    """Give up the uploads of keys that have had no job for a day; they are aborted when due."""
    if given_up := uploads.give_up_stale(older_than=STALE_AFTER):
        log.info("upload.given_up", uploads=given_up)


def unrecorded(
    rule: ReplicationRule, *, began_from: datetime, began_until: datetime
) -> list[UnfinishedUpload]:
    """The uploads where the rule writes that began in this time and that no table of ours names.

    Raises:
        ReplicationError: OSS does not list them.
    """
    at = rule.destination
    listed = [
        one
        for one in destination_store(at).list_uploads(rule.destination_prefix)
        if began_from <= one.began_at < began_until
    ]
    ids = [one.upload_id for one in listed]
    recorded = {
        *MultipartUpload.objects.filter(upload_id__in=ids).values_list("upload_id", flat=True),
        *UploadToAbort.objects.filter(upload_id__in=ids).values_list("upload_id", flat=True),
    }
    return [one for one in listed if one.upload_id not in recorded]


def abort_due(*, seconds: float) -> int:
    """Abort the uploads that are due, the longest due first. Returns how many are gone from OSS.

    Ends early after `seconds`, or when the cluster is being stopped. An upload that OSS refuses to
    abort keeps the reason, and is tried again later. An endpoint that is away is left alone for
    the rest of the call, so that it does not use up the time of the others.
    """
    ends = time.monotonic() + seconds
    away: set[str] = set()
    gone = 0
    while time.monotonic() < ends and not loops.are_told_to_stop():
        upload = aborting.claim(except_endpoints=away)
        if upload is None:
            break
        try:
            _abort(upload)
        except ReplicationError as error:
            aborting.note_error(upload, error)
            if error.scope is Scope.ENDPOINT:
                away.add(upload.endpoint)
            log.warning(
                "upload.not_aborted", **_about(upload), code=error.code.value, detail=error.detail
            )
        else:
            aborting.confirm(upload)
            gone += 1
            log.info("upload.aborted", **_about(upload))
    return gone


def _abort(upload: UploadToAbort) -> None:
    """Return once the upload is gone from OSS.

    Raises:
        ReplicationError: OSS may still have it.
    """
    try:
        _store(upload).abort_upload(upload.destination_key, upload.upload_id)
    except ReplicationError as error:
        # OSS deletes no bucket that has parts: this upload went before its bucket.
        if error.code is not ErrorCode.DESTINATION_BUCKET_MISSING:
            raise


def _store(upload: UploadToAbort) -> DestinationStore:
    """The upload's bucket. Its destination, if it still leads there, may have newer credentials."""
    destination = Destination.objects.filter(
        pk=upload.destination_pk, endpoint=upload.endpoint, bucket=upload.bucket
    ).first()
    return destination_store(destination or upload)


def _about(upload: UploadToAbort) -> dict[str, str]:
    return {
        "bucket": upload.bucket,
        "key": upload.destination_key,
        "upload_id": upload.upload_id,
    }
