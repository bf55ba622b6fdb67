"""The only module that changes MultipartUpload and UploadPart.

A record that is deleted leaves its upload to jobs/aborting.py, unless the upload was completed.

Parts are claimed like jobs: by any lane, under a lease, with the number of the claim as the fencing
token. A part whose lease has expired is simply claimed again: carrying a part twice is harmless.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from replication.errors import ErrorCode, ReplicationError
from replication.jobs import aborting
from replication.jobs.choosing import WIDTH_APPLIES, WIDTH_NOW
from replication.jobs.claiming import ClaimedJob
from replication.jobs.waking import PARTS, wake_lanes
from replication.mapping.parts import PartPlan
from replication.models import (
    Destination,
    JobState,
    MultipartUpload,
    ReplicationRule,
    TransferJob,
    UploadPart,
)
from replication.stores.base import ObjectInfo, PartReceipt
from replication.stores.checksums import SourceChecksum, source_checksum
from replication.transfer.attributes import fingerprint
from replication.transfer.results import CarriedPart, ClaimedPart, LargeObject

# The lanes are told of the last parts of an upload alone: its leader waits for nothing else. So
# many, because lanes that settle at the same time do not see each other's parts.
LAST_PARTS = 8

# Errors that make an upload useless: the source or OSS has another object, or none.
HOPELESS = {
    ErrorCode.SOURCE_CHANGED,
    ErrorCode.SOURCE_CORRUPT,
    ErrorCode.SOURCE_INCONSISTENT,
    ErrorCode.SOURCE_RANGE_IGNORED,
    ErrorCode.CHECKSUM_MISMATCH,
    ErrorCode.UPLOAD_GONE,
}


@dataclass(frozen=True)
class Progress:
    """How far an upload is; `error` is the error that ends the job's attempt."""

    missing: int
    error: ReplicationError | None = None


# -- an upload's life --------------------------------------------------------------------------


def resumable(
    job: ClaimedJob, large: LargeObject, destination: Destination
) -> MultipartUpload | None:
    """The key's upload, if it is of exactly this object and can go on; its parts are tried anew."""
    upload = MultipartUpload.objects.filter(
        rule_id=job.rule_id,
        key=job.key,
        destination=destination,
        # An edit may have led the destination to another bucket.
        endpoint=destination.endpoint,
        bucket=destination.bucket,
        destination_key=large.destination_key,
        attributes_hash=fingerprint(large.planned.attributes),
        size_bytes=large.info.size_bytes,
        source_etag=large.info.etag,
        source_version_id=large.info.version_id,
    ).first()
    if upload is None or upload.error_code in HOPELESS:
        return None
    with transaction.atomic():
        MultipartUpload.objects.filter(pk=upload.pk).update(
            error_code="", error_detail="", error_request_id=""
        )
        upload.parts.filter(etag="").update(failures=0, available_at=Now())
    wake_lanes(PARTS)
    return upload


@transaction.atomic
def begin(
    job: ClaimedJob, large: LargeObject, rule: ReplicationRule, *, upload_id: str
) -> MultipartUpload | None:
    """Record a new upload of the key, and let lanes claim its parts. An older upload of the key is
    aborted later.

    Returns None if the job is no longer this lane's: then the new upload is aborted later, and the
    upload of whoever has the job now stays. A second call with the same upload changes nothing.
    """
    if not _is_held(job):
        aborting.note(rule.destination, destination_key=large.destination_key, upload_id=upload_id)
        return None
    older = MultipartUpload.objects.filter(rule_id=job.rule_id, key=job.key).first()
    if older is not None:
        if older.upload_id == upload_id:
            return older  # the answer to the first call's commit was lost
        older.delete()
    info = large.info
    checksum = source_checksum(info, must_combine=True)
    upload = MultipartUpload.objects.create(
        rule=rule,
        key=job.key,
        destination=rule.destination,
        **MultipartUpload.location_of(rule.destination),
        destination_key=large.destination_key,
        upload_id=upload_id,
        attributes_hash=fingerprint(large.planned.attributes),
        began_at=Now(),
        size_bytes=info.size_bytes,
        part_size_bytes=large.parts.part_size_bytes,
        source_etag=info.etag,
        source_version_id=info.version_id,
        checksum_name=checksum.algorithm if checksum else "",
        checksum_value=checksum.expected if checksum else "",
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_uploadpart
                (upload_id, number, attempt, failures, available_at, etag, crc64, source_crc)
            SELECT %s, number, 0, 0, now(), '', '', 0 FROM generate_series(1, %s) AS number
            """,
            [upload.pk, large.parts.count],
        )
    wake_lanes(PARTS)
    return upload


def fence_off_claims(claims: int) -> None:
    """Raise the tokens of all parts by so much, above those that a lost commit gave out."""
    UploadPart.objects.update(attempt=F("attempt") + claims)


def progress(upload_pks: Collection[int]) -> dict[int, Progress]:
    """How far each of these uploads is; an upload that the answer lacks is gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT upload.id, upload.error_code, upload.error_detail, upload.error_request_id,
                   (SELECT count(*) FROM replication_uploadpart AS part
                    WHERE part.upload_id = upload.id AND part.etag = '')
            FROM replication_multipartupload AS upload WHERE upload.id = ANY(%s)
            """,
            [list(upload_pks)],
        )
        return {
            pk: Progress(
                missing,
                ReplicationError(ErrorCode(code), detail, request_id=request_id) if code else None,
            )
            for pk, code, detail, request_id, missing in cursor.fetchall()
        }


def carried(upload: MultipartUpload) -> list[CarriedPart]:
    """All parts of the upload that are at OSS, in order."""
    plan = PartPlan(upload.size_bytes, upload.part_size_bytes)
    return [
        CarriedPart(
            PartReceipt(part.number, part.etag, part.crc64, plan.part_bytes(part.number)),
            int(part.source_crc),
        )
        for part in upload.parts.exclude(etag="").order_by("number")
    ]


@transaction.atomic
def forget(upload_pk: int) -> None:
    """Delete the record of an upload that is completed, so that there is nothing to abort."""
    upload = MultipartUpload.objects.filter(pk=upload_pk)
    upload.update(is_completed=True)
    upload.delete()


def give_up_stale(*, older_than: timedelta) -> int:
    """Give up uploads that are older, of keys without a pending or running job: they are aborted
    later. Returns how many there were.
    """
    live = TransferJob.objects.filter(
        rule_id=OuterRef("rule_id"),
        key=OuterRef("key"),
        state__in=[JobState.PENDING, JobState.RUNNING],
    )
    stale = MultipartUpload.objects.filter(began_at__lt=Now() - older_than).exclude(Exists(live))
    _, by_model = stale.delete()
    return by_model.get(MultipartUpload._meta.label, 0)


def _is_held(job: ClaimedJob) -> bool:
    """Whether the job still runs under this claim; it stays so until the transaction ends."""
    held = TransferJob.objects.filter(id=job.id, token=job.token, state=JobState.RUNNING)
    return held.select_for_update(no_key=True).exists()


# -- parts -------------------------------------------------------------------------------------


def claim_parts(lane: UUID, *, limit: int, lease_seconds: float) -> list[ClaimedPart]:
    """Claim up to `limit` parts that no lane carries, of uploads whose job is running: the oldest
    upload's first, so that one upload after the other is finished.

    Claims nothing for a destination that is throttled or has no request left for now, no more than
    the destination's width after a throttling allows, and no more of a rule than its limit of
    transfers.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH free AS MATERIALIZED (
                -- One upload after the other, until there are enough parts: a LIMIT over a join
                -- without an ORDER BY locks no part that is not taken.
                SELECT part.id
                FROM (
                    SELECT upload.id, LEAST(%(limit)s,
                        CASE WHEN {WIDTH_APPLIES} THEN ({WIDTH_NOW})::int
                            - (SELECT count(*) FROM replication_uploadpart AS other
                               JOIN replication_multipartupload AS its_upload
                                 ON its_upload.id = other.upload_id
                               WHERE its_upload.destination_id = destination.id
                                 AND other.lease_expires_at > now())
                        END,
                        CASE WHEN rule.max_concurrency IS NOT NULL THEN rule.max_concurrency
                            - (SELECT count(*) FROM replication_uploadpart AS other
                               JOIN replication_multipartupload AS its_upload
                                 ON its_upload.id = other.upload_id
                               WHERE its_upload.rule_id = rule.id
                                 AND other.lease_expires_at > now())
                        END) AS room
                    FROM replication_multipartupload AS upload
                    JOIN replication_replicationrule AS rule ON rule.id = upload.rule_id
                    JOIN replication_destination AS destination
                      ON destination.id = upload.destination_id
                    WHERE upload.error_code = ''
                      AND (destination.throttled_until IS NULL
                           OR destination.throttled_until <= now())
                      AND (destination.max_requests_per_second IS NULL
                           OR destination.requests_paced_until IS NULL
                           OR destination.requests_paced_until <= now())
                      AND EXISTS (SELECT FROM replication_transferjob AS job
                                  WHERE job.rule_id = upload.rule_id AND job.key = upload.key
                                    AND job.state = 'running')
                    ORDER BY upload.id
                ) AS upload
                CROSS JOIN LATERAL (
                    SELECT id FROM replication_uploadpart AS missing
                    WHERE upload_id = upload.id AND etag = '' AND available_at <= now()
                      AND (lease_expires_at IS NULL OR lease_expires_at < now())
                    ORDER BY number
                    LIMIT GREATEST(0, upload.room)
                    FOR NO KEY UPDATE SKIP LOCKED
                ) AS part
                LIMIT %(limit)s
            )
            UPDATE replication_uploadpart AS part
            SET attempt = part.attempt + 1, claimed_by = %(lane)s,
                lease_expires_at = now() + make_interval(secs => %(lease)s)
            FROM free, replication_multipartupload AS upload
            WHERE part.id = free.id AND upload.id = part.upload_id
            RETURNING part.id, upload.id, part.number, part.attempt, part.failures, upload.rule_id,
                upload.key, upload.destination_key, upload.upload_id, upload.source_etag,
                upload.source_version_id, upload.size_bytes, upload.part_size_bytes,
                upload.checksum_name, upload.checksum_value
            """,  # noqa: S608 - inserts our own constants only
            {"limit": limit, "lane": lane, "lease": lease_seconds},
        )
        return [_claimed_part(*row) for row in cursor.fetchall()]


def _claimed_part(*row: Any) -> ClaimedPart:
    etag, version_id, size_bytes, part_size_bytes, checksum, value = row[9:]
    pin = ObjectInfo(size_bytes, etag, version_id=version_id, is_pinnable=True)
    fields: tuple[Any, ...] = (
        *row[:9],
        pin,
        PartPlan(size_bytes, part_size_bytes),
        SourceChecksum(checksum, value) if checksum else None,
    )
    return ClaimedPart(*fields)


def extend_leases(
    lane: UUID, held: Collection[ClaimedPart], *, lease_seconds: float
) -> set[tuple[int, int]]:
    """Extend the leases of the parts that the lane still has; return their (id, attempt)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_uploadpart AS part
            SET lease_expires_at = now() + make_interval(secs => %s)
            FROM unnest(%s::bigint[], %s::int[]) AS held (id, attempt)
            WHERE part.id = held.id AND part.attempt = held.attempt AND part.claimed_by = %s
            RETURNING part.id, part.attempt
            """,
            [lease_seconds, [part.id for part in held], [part.token for part in held], lane],
        )
        return set(cursor.fetchall())


def settle(done: Sequence[tuple[ClaimedPart, CarriedPart]]) -> None:
    """Record that these parts are at OSS. A part that another lane has by now is left to it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH settled AS (
                UPDATE replication_uploadpart AS part
                SET etag = done.etag, crc64 = done.crc64, source_crc = done.source_crc,
                    lease_expires_at = NULL, claimed_by = NULL
                FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::numeric[])
                    AS done (id, attempt, etag, crc64, source_crc)
                WHERE part.id = done.id AND part.attempt = done.attempt AND part.etag = ''
                RETURNING part.upload_id)
            -- These parts count as missing here still, and so do parts that others settle now.
            SELECT EXISTS (
                SELECT FROM (SELECT DISTINCT upload_id FROM settled) AS of_them
                CROSS JOIN LATERAL (
                    SELECT count(*) AS missing FROM (
                        SELECT FROM replication_uploadpart AS part
                        WHERE part.upload_id = of_them.upload_id AND part.etag = ''
                        LIMIT %s) AS few) AS counted
                WHERE counted.missing < %s)
            """,
            [
                [part.id for part, _ in done],
                [part.token for part, _ in done],
                [carried.receipt.etag for _, carried in done],
                [carried.receipt.crc64 for _, carried in done],
                [carried.source_crc for _, carried in done],
                len(done) + LAST_PARTS,
                len(done) + LAST_PARTS,
            ],
        )
        (may_be_complete,) = cursor.fetchone()
    if may_be_complete:
        wake_lanes(PARTS)


def put_back(part: ClaimedPart, *, delay_seconds: float = 0, is_failure: bool = False) -> None:
    """Let any lane claim the part again, after `delay_seconds`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_uploadpart
            SET lease_expires_at = NULL, claimed_by = NULL, failures = failures + %s::int,
                available_at = now() + make_interval(secs => %s)
            WHERE id = %s AND attempt = %s AND etag = ''
            """,
            [is_failure, delay_seconds, part.id, part.token],
        )


def give_up(part: ClaimedPart, error: ReplicationError) -> None:
    """The part can't be carried: end the job's attempt with this error."""
    put_back(part)
    note_error(part.upload_pk, error)
    wake_lanes(PARTS)


def note_error(upload_pk: int, error: ReplicationError) -> None:
    """End the job's attempt with this error, unless the upload already has an error."""
    MultipartUpload.objects.filter(pk=upload_pk, error_code="").update(
        error_code=error.code, error_detail=error.detail, error_request_id=error.request_id
    )
