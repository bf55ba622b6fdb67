"""The only module that changes UploadToAbort: the unfinished uploads that no job will complete.

The database's trigger adds the rows when records of uploads are deleted. Each claim of a row sets
its next try, later each time, so that a claim needs no lease: if the process dies, the next try
comes by itself.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from replication.errors import ReplicationError
from replication.models import Destination, UploadToAbort

# The wait after the first try; it doubles with each further try.
FIRST_WAIT_SECONDS = 120
# From this try on, the first hour has passed: an operator should know.
TRIES_TO_REPORT = 6
# An operator who mended the cause does not wait for longer than this.
LONGEST_WAIT_SECONDS = 3600


def note(destination: Destination, *, destination_key: str, upload_id: str) -> None:
    """Note an upload that OSS has begun and that no record will name."""
    UploadToAbort.objects.bulk_create(
        [
            UploadToAbort(
                **UploadToAbort.location_of(destination),
                destination_pk=destination.pk,
                destination_key=destination_key,
                upload_id=upload_id,
            )
        ],
        ignore_conflicts=True,
    )


def settles_after() -> timedelta:
    """How long a part may still arrive at OSS after the record of its upload was deleted.

    OSS does not delete a part that is being uploaded during the abort, so the abort waits. A lane
    stops a part at the end of its lease at the latest; then the last bytes may be under way for
    one timeout, and OSS may take another one to answer.
    https://www.alibabacloud.com/help/en/oss/developer-reference/abort-multipart-upload
    """
    limits = settings.S3SYNC
    return timedelta(seconds=limits.lease_seconds + 2 * limits.read_timeout_seconds)


def due_at(upload: UploadToAbort) -> datetime:
    """When the upload may be claimed."""
    return max(upload.next_try_at, upload.noted_at + settles_after())


def is_due() -> bool:
    """Whether `claim` would return an upload."""
    return _due().exists()


@transaction.atomic
def claim(*, except_endpoints: Collection[str] = ()) -> UploadToAbort | None:
    """Claim the upload that has been due for the longest time; None if none is due.

    Any number of callers may claim at once: each gets another upload.
    """
    due = _due().exclude(endpoint__in=except_endpoints).order_by("next_try_at")
    upload = due.select_for_update(skip_locked=True).first()
    if upload is not None:
        upload.tries += 1
        UploadToAbort.objects.filter(pk=upload.pk).update(
            tries=upload.tries, next_try_at=_next_try(upload.tries)
        )
    return upload


def confirm(upload: UploadToAbort) -> None:
    """OSS says that the upload is gone: forget it."""
    UploadToAbort.objects.filter(pk=upload.pk).delete()


def note_error(upload: UploadToAbort, error: ReplicationError) -> None:
    """Keep why the upload could not be aborted, until the next try."""
    UploadToAbort.objects.filter(pk=upload.pk).update(
        error_code=error.code, error_detail=error.detail
    )


def count_not_aborted() -> int:
    """How many uploads could not be aborted for an hour."""
    return UploadToAbort.objects.filter(tries__gte=TRIES_TO_REPORT).exclude(error_code="").count()


def _due() -> QuerySet[UploadToAbort]:
    return UploadToAbort.objects.filter(
        next_try_at__lte=Now(), noted_at__lte=Now() - settles_after()
    )


def _next_try(tries: int) -> CombinedExpression:
    doublings = min(tries - 1, 30)  # a timedelta can't hold many more
    wait_seconds = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**doublings)
    return Now() + timedelta(seconds=wait_seconds)
