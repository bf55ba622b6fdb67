"""Sample data of a service at work: jobs in every state, with keys of every kind."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from replication.errors import ErrorCode
from replication.models import (
    ActorKind,
    ClusterTask,
    Condition,
    ConditionKind,
    DeadLetter,
    DeletePolicy,
    Destination,
    EventQueue,
    Heartbeat,
    Job,
    JobOrigin,
    JobState,
    LoopKind,
    MultipartUpload,
    NotificationTarget,
    Outcome,
    ReplicationRule,
    Source,
    TokenRole,
    TransferAttempt,
    UploadPart,
    UploadToAbort,
)
from replication.operations import api_tokens
from replication.operations.audit import Actor
from tests.support.examples import put_job
from tests.support.sweep_story import make_backfill, make_scrub

ODD_KEYS = [
    "<script>alert(1)</script>/<b>bold</b>.html",
    "quotes'\"`/{{ 7*7 }}/%s.txt",
    "line\nbreak\r\ttab\x01.txt",
    "\u202egnp.evil\u202c.exe",
    "עברית/قائمة الأسعار.pdf",
    "👩‍👩‍👧‍👦/🎉 party 🎉.jpg",
    "  spaces  inside and around  ",
    "deep/" + "a-folder-with-a-long-name/" * 20 + "the-file-that-matters.parquet",
    "x" * 1024,
]


WITH_REMARKS: dict[str, Any] = {
    "remarks": "without 'taken<b>by': the name has other characters than a-z, 0-9 and hyphens\n"
    "rewritten key: 'photos/.s3sync-key/escaped/a%00b'"
}
NO_COPY: dict[str, Any] = {
    "size_bytes": None,
    "source_etag": "",
    "source_version_id": "",
    "source_crc64": "",
    "source_checksum": "",
    "destination_crc64": "",
    "destination_etag": "",
}
SKIPPED: dict[str, Any] = NO_COPY | {
    "outcome": Outcome.SKIPPED,
    "remarks": "it has 1030 bytes; OSS allows 1 to 1023",
}
UNCHANGED: dict[str, Any] = {
    "outcome": Outcome.UNCHANGED,
    "source_crc64": "",
    "source_checksum": "",
}


@dataclass(frozen=True)
class Service:
    rule: ReplicationRule
    other_rule: ReplicationRule
    queue: EventQueue


def make_service() -> Service:
    """A source, a destination, two rules between them, and a queue."""
    source = Source.objects.create(name="photos-hongkong", bucket="acme-photos", region="ap-east-1")
    source.domains.create(domain="photos.example.com")
    destination = Destination.objects.create(
        name="photos-hangzhou",
        bucket="acme-photos-cn",
        endpoint="https://oss-cn-hangzhou.aliyuncs.com",
        region="cn-hangzhou",
    )
    locations = {"source": source, "destination": destination}
    return Service(
        rule=ReplicationRule.objects.create(
            name="photos", source_prefix="photos/", delete_policy=DeletePolicy.MIRROR, **locations
        ),
        other_rule=ReplicationRule.objects.create(
            name="invoices",
            source_prefix="invoices/",
            exclude="**/draft-*\n**/[~.]*",
            destination_prefix="archive/",
            **locations,
        ),
        queue=EventQueue.objects.create(
            name="s3-events",
            url="https://sqs.ap-east-1.amazonaws.com/123456789012/s3sync",
            region="ap-east-1",
            last_polled_at=timezone.now(),
        ),
    )


def make_job(
    rule: ReplicationRule,
    key: str,
    state: JobState = JobState.PENDING,
    *,
    age: timedelta = timedelta(),
    errors: list[ErrorCode] | None = None,
    detail: str = "",
    size_bytes: int = 48_213,
    **proof: Any,
) -> Job:
    """A job as jobs/ leaves it, from `age` ago, after unsuccessful tries with `errors`.

    `proof` overrides fields of a completed job.
    """
    event_at = timezone.now() - age
    end = event_at + timedelta(seconds=0.84)
    errors = errors or ([ErrorCode.SOURCE_ACCESS_DENIED] if state == JobState.FAILED else [])
    tries = [
        {
            "number": number,
            "started_at": event_at.isoformat(),
            "ended_at": end.isoformat(),
            "code": code,
            "detail": detail,
            "request_id": "5C3D9778CC1C2AEDF85B0001",
        }
        for number, code in enumerate(errors, start=1)
    ]
    has_ended = state in {JobState.COMPLETED, JobState.CANCELLED, JobState.SUPERSEDED}
    job = put_job(
        rule=rule,
        key=key,
        state=state,
        origin=JobOrigin.EVENT,
        attempt=len(errors),
        attempt_limit=10,
        event_at=event_at,
        enqueued_at=event_at,
        available_at=event_at,
        started_at=None if state == JobState.PENDING and not errors else event_at,
        finalized_at=None if state in {JobState.PENDING, JobState.RUNNING} else end,
        error_code=errors[-1] if errors and state != JobState.COMPLETED else "",
        error_detail=detail,
        **_lease(state, event_at),
        **(_proof(size_bytes) | proof if state == JobState.COMPLETED else {}),
        **({"tries_json": tries} if has_ended and tries else {}),
    )
    if not has_ended:
        TransferAttempt.objects.bulk_create(TransferAttempt(job=job, **one) for one in tries)
    return Job.objects.get(pk=job.pk)


def _lease(state: JobState, since: datetime) -> dict:
    if state != JobState.RUNNING:
        return {}
    return {"lease_expires_at": since + timedelta(seconds=60), "claimed_by": uuid.uuid4()}


def _proof(size_bytes: int) -> dict[str, Any]:
    return {
        "outcome": Outcome.COPIED,
        "size_bytes": size_bytes,
        "source_etag": '"9b2cf535f27731c974343645a3985328"',
        "source_version_id": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
        "source_crc64": "11051210869376104954",
        "source_checksum": "MD5 9b2cf535f27731c974343645a3985328",
        "source_request_id": "79104EXAMPLEB723",
        "destination_etag": '"9B2CF535F27731C974343645A3985328"',
        "destination_crc64": "11051210869376104954",
        "destination_request_id": "5C3D9778CC1C2AEDF85B7F30",
    }


def make_upload(
    rule: ReplicationRule, key: str, *, size_bytes: int, part_size_bytes: int, uploaded: set[int]
) -> MultipartUpload:
    """An upload of a large object: the parts `uploaded` are in OSS, one more is being carried."""
    now = timezone.now()
    upload = MultipartUpload.objects.create(
        rule=rule,
        key=key,
        destination=rule.destination,
        destination_key=rule.destination_key(key),
        upload_id="0004B9894A22E5B1888A1E29F8236E2D",
        began_at=now - timedelta(seconds=40),
        size_bytes=size_bytes,
        part_size_bytes=part_size_bytes,
        source_etag='"d41d8cd98f00b204e9800998ecf8427e-9"',
    )
    count = -(-size_bytes // part_size_bytes)
    parts = [
        UploadPart(upload=upload, number=number + 1, available_at=now) for number in range(count)
    ]
    for part in parts:
        part.etag = '"9B2CF535F27731C974343645A3985328"' if part.number in uploaded else ""
    carried = next((part for part in parts if not part.etag), None)
    if carried:
        carried.lease_expires_at, carried.claimed_by = now + timedelta(seconds=60), uuid.uuid4()
    UploadPart.objects.bulk_create(parts)
    return upload


def make_upload_to_abort(key: str, **fields: Any) -> UploadToAbort:
    """An upload whose rule was deleted, and which OSS refused to abort."""
    refused = {
        "tries": 2,
        "next_try_at": timezone.now() + timedelta(minutes=4),
        "error_code": ErrorCode.DESTINATION_ACCESS_DENIED,
        "error_detail": "403 AccessDenied: You have no right to access this object.",
    }
    return UploadToAbort.objects.create(
        endpoint="https://oss-cn-hangzhou.aliyuncs.com",
        bucket="replica",
        region="cn-hangzhou",
        credential_profile="default",
        destination_pk=1,
        destination_key=key,
        upload_id="0004B9894A22E5B1888A1E29F8236E2D",
        **(refused | fields),
    )


def make_story() -> Service:
    """Some thirty jobs, failures with causes, dead letters, and two lanes, one of them silent."""
    service = make_service()
    rule, other = service.rule, service.other_rule
    for number in range(9):
        make_job(
            rule,
            f"photos/2026/11/23/IMG_{4100 + number}.jpg",
            JobState.COMPLETED,
            age=timedelta(minutes=40 - number),
            size_bytes=1_250_000 * (number + 1),
        )
    for number, key in enumerate(ODD_KEYS):
        make_job(other, key, JobState.COMPLETED, age=timedelta(minutes=30 - number))
    for number, code in enumerate(
        (
            ErrorCode.DESTINATION_ACCESS_DENIED,
            ErrorCode.SOURCE_KMS,
            ErrorCode.KEY_INCOMPATIBLE,
            ErrorCode.OBJECT_TOO_LARGE,
            ErrorCode.UNEXPECTED,
        )
    ):
        make_job(
            rule,
            f"photos/2026/failed/{number}/scan of the contract.tif",
            JobState.FAILED,
            age=timedelta(minutes=15 - number),
            errors=[ErrorCode.DESTINATION_UNAVAILABLE, ErrorCode.DESTINATION_UNREACHABLE, code],
            detail="AccessDenied (EC 0003-00000001): You have no right to access this object "
            "because of bucket acl.\n<RequestId>5C3D9778CC1C2AEDF85B7F30</RequestId>",
        )
    for number, proof in enumerate((WITH_REMARKS, SKIPPED, UNCHANGED)):
        age = timedelta(minutes=10 - number)
        make_job(rule, f"photos/faithful/{number}", JobState.COMPLETED, age=age, **proof)
    make_job(other, ODD_KEYS[0], JobState.FAILED, detail="<img src=x onerror=alert(2)>")
    make_job(rule, "photos/cancelled.jpg", JobState.CANCELLED, age=timedelta(minutes=4))
    make_job(rule, "photos/superseded.jpg", JobState.SUPERSEDED, age=timedelta(minutes=3))
    make_job(
        rule,
        "photos/2026/retrying.jpg",
        errors=[ErrorCode.DESTINATION_THROTTLED] * 2,
        age=timedelta(seconds=50),
    )
    make_job(rule, "photos/2026/running.mp4", JobState.RUNNING, age=timedelta(seconds=12))
    make_upload(
        rule,
        "photos/2026/running.mp4",
        size_bytes=5_000_000_000,
        part_size_bytes=16 * 1024**2,
        uploaded=set(range(1, 120)) | {299},
    )
    for number in range(4):
        make_job(rule, f"photos/2026/pending-{number}.jpg", age=timedelta(seconds=5 - number))
    for number, body in enumerate(('{"hello": "<b>world</b>"}', "not JSON\nat all " * 60)):
        DeadLetter.objects.create(
            queue=service.queue,
            message_id=f"0000000{number}-5717-4562-b3fc-2c963f66afa6",
            body=body,
            reason="neither an S3 notification (Records), an SNS notification (Type), "
            "nor an EventBridge event (detail-type)",
            received_at=timezone.now() - timedelta(minutes=20),
        )
    now = timezone.now()
    for pid, silence in ((4711, timedelta(seconds=2)), (4712, timedelta(minutes=7))):
        Heartbeat.objects.create(
            kind=LoopKind.LANE,
            asked_at=now - timedelta(minutes=8),
            started_at=now - timedelta(minutes=8),
            beat_at=now - silence,
            host="worker-1",
            pid=pid,
            cluster_pid=4700,
            in_flight=3,
        )
    ClusterTask.objects.create(
        name="replication.tasks.prune",
        due_at=now + timedelta(minutes=40),
        failed_at=now - timedelta(days=2),
        failed_on="worker-1",
        failure="<b>no</b> : Traceback (most recent call last):\n  File …",
    )
    make_notifications(rule, service.queue)
    make_scrub(rule, odd_key=ODD_KEYS[0])
    make_backfill(other, keys=[*ODD_KEYS, "2026/lost.pdf"])
    make_upload_to_abort(ODD_KEYS[0])
    api_tokens.create(
        "deploy", role=TokenRole.OPERATE, by=Actor(ActorKind.USER, "story"), ends_at=None
    )
    return service


def make_notifications(rule: ReplicationRule, queue: EventQueue) -> None:
    """Two targets without addresses, and the conditions that one of them was notified of."""
    now = timezone.now()
    NotificationTarget.objects.create(name="managers", credential_profile="chat", enabled=False)
    on_call = NotificationTarget.objects.create(
        name="on-call",
        credential_profile="oncall",
        last_told_at=now - timedelta(minutes=3),
        last_error="E-Mail: could not send the message " + "x" * 200,
        last_error_at=now - timedelta(minutes=3),
    )
    Condition.objects.create(
        target=on_call,
        kind=ConditionKind.PARKED,
        rule=rule.name,
        detail="Rule photos was parked 3 min ago, 12 jobs waiting. " + ODD_KEYS[0],
        began_at=now - timedelta(minutes=3),
        confirmed_at=now - timedelta(minutes=3),
        told_at=now - timedelta(minutes=3),
        last_told_at=now - timedelta(minutes=3),
    )
    Condition.objects.create(
        target=on_call,
        kind=ConditionKind.DEAD_LETTERS,
        queue=queue.name,
        detail="Queue s3-events: 2 dead letters of the last 7 days could not be taken in.",
        closing="Queue s3-events: no dead letter of the last 7 days is left.",
        began_at=now - timedelta(hours=3),
        confirmed_at=now - timedelta(hours=3),
        told_at=now - timedelta(hours=3),
        last_told_at=now - timedelta(hours=1),
        closed_at=now - timedelta(hours=1),
        closing_told_at=now - timedelta(hours=1),
    )
