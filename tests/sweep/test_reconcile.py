"""`manage.py reconcile` says of a whole bucket what an independent comparison says of it."""

import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import oss2
import pytest
from botocore.exceptions import ClientError
from django.core.management import call_command
from django.db.models.functions import Now

from replication import jobs
from replication.intake.matching import look_again
from replication.jobs import delete_brake
from replication.models import (
    CompletedMinute,
    Job,
    JobOrigin,
    ReplicationRule,
    Source,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.sweep import causes, slices
from sandbox.aws import AwsServer
from sandbox.oss import Fault
from tests.fidelity import keys as samples
from tests.support.lanes import lanes
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

ODD = sorted({*samples._POSSIBLE.values(), "emoji \U0001f600", "private \ue000", "\ufffd", "a "})
DIFFERENCES = {"missing", "different", "extra"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))


def reconcile(rule: ReplicationRule, *options: str) -> tuple[dict[str, Any], int]:
    """Run the command; returns its JSON and its exit status."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command(
            "reconcile", rule.name, "--json", "--settle=0", *options, stdout=out, stderr=err
        )
    report = json.loads(out.getvalue())
    return report | {"stderr": err.getvalue()}, int(ended.value.code or 0)


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["verdict"] for one in report["findings"] if one["state"] != "gone"}


def oracle(road: Road, s3: Any) -> dict[str, str]:
    """The verdicts of a comparison that reads every object by the vendors' SDKs."""
    rule, found = road.rule, {}
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=road.source.bucket, Prefix=rule.source_prefix
    )
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    replicas = {
        one.key: road.replicas.get_object(one.key).read()
        for one in oss2.ObjectIteratorV2(road.replicas, prefix=rule.destination_prefix)
    }
    for key in keys:
        wanted = rule.destination_prefix + (
            key.removeprefix(rule.source_prefix) if rule.strip_source_prefix else key
        )
        body = s3.get_object(Bucket=road.source.bucket, Key=key)["Body"].read()
        replica = replicas.pop(wanted, None)
        if replica is None:
            found[key] = "missing"
        elif replica != body:
            found[key] = "different"
    for wanted in replicas:
        rest = wanted.removeprefix(rule.destination_prefix)
        found[rule.source_prefix + rest if rule.strip_source_prefix else rest] = "extra"
    return found


def put(s3: Any, bucket: str, key: str, body: bytes) -> bool:
    """Whether this implementation of S3 takes the key; each refuses other ones."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    except ClientError:
        return False
    return True


@pytest.fixture(params=["aws", "moto"])
def server(request: pytest.FixtureRequest) -> AwsServer:
    found: AwsServer = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"destination_prefix": "图片/"},
        {"source_prefix": "p/", "strip_source_prefix": True, "destination_prefix": "q "},
    ],
)
def test_a_bucket_of_odd_keys_is_judged_like_by_an_independent_comparison(
    make_road: Callable[..., Road], server: AwsServer, fields: dict[str, Any]
) -> None:
    road = make_road(delete_policy="mirror", **fields)
    Source.objects.filter(pk=road.source.pk).update(endpoint_url=server.endpoint_url)
    road.rule.refresh_from_db()
    s3 = server.client("s3")
    if server is not road.aws:
        s3.create_bucket(Bucket=road.source.bucket)
    chance = random.Random(7)
    prefix = road.rule.source_prefix
    for number, key in enumerate([*ODD, *(f"plain/{n}" for n in range(60))]):
        body = f"{number} {key}".encode()
        kind = chance.choice(["equal"] * 4 + ["missing", "longer", "altered", "extra"])
        if kind != "extra" and not put(s3, road.source.bucket, prefix + key, body):
            continue
        if kind != "missing":
            replica = {"longer": body + b"!", "altered": body[::-1]}.get(kind, body)
            road.replicas.put_object(road.rule.destination_key(prefix + key), replica)
    expected = oracle(road, s3)
    report, status = reconcile(road.rule)
    assert status == 1
    assert verdicts(report) == expected
    assert set(expected.values()) == DIFFERENCES


def test_equal_buckets_end_with_status_0_and_cost_one_request_a_page(road: Road) -> None:
    for number in range(20):
        road.put(f"{number}")
    work()
    report, status = reconcile(road.rule)
    assert (report["findings"], status) == ([], 0)
    assert report["counts"]["equal"] == 20
    assert report["requests"] == {"source": 1, "destination": 1, "throttled": 0}


def test_a_listing_of_many_pages_is_followed(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    from replication.stores.oss.store import OssStore
    from replication.stores.s3.store import S3Store

    for store in (S3Store, OssStore):
        whole = store.list_page

        def three(self: Any, *, prefix: str, after: str, limit: int = 3, _whole=whole) -> Any:
            return _whole(self, prefix=prefix, after=after, limit=3)

        monkeypatch.setattr(store, "list_page", three)
    for number in range(10):
        road.put(f"key {number}")
    work()
    report, status = reconcile(road.rule)
    assert (report["counts"]["equal"], status) == (10, 0)
    assert report["requests"] == {"source": 4, "destination": 4, "throttled": 0}


def test_what_differs_is_mended_by_jobs_below_the_priority_of_events(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(delete_policy="mirror")
    for key in ("missing", "different", "equal"):
        road.put(key)
    work()
    road.replicas.delete_object("missing")
    road.replicas.put_object("different", b"something else")
    road.replicas.put_object("extra", b"nobody's")
    with lanes():
        report, status = reconcile(road.rule, "--mend")
    assert {one["key"]: (one["state"], one["cause"]) for one in report["findings"]} == {
        "missing": ("mended", "changed since"),
        "different": ("mended", "changed since"),
        "extra": ("confirmed", "foreign"),  # it has no mark of ours
    }
    assert (status, report["is_equal"], report["counts"]["foreign"]) == (0, True, 1)
    ordered = Job.objects.filter(origin=JobOrigin.SWEEP)
    assert set(ordered.values_list("key", "priority")) == {("missing", 20), ("different", 20)}
    assert road.replica("missing") == road.replica("different") == b"content"


def test_a_delete_that_no_event_told_of_is_counted_as_lost_once(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(delete_policy="mirror")
    for key in ("kept", "deleted"):
        road.put(key)
    work()
    road.s3.delete_object(Bucket=road.source.bucket, Key="deleted")
    with lanes():
        report, status = reconcile(road.rule, "--mend-extras")
    assert (report["counts"]["lost"], report["counts"]["extra"], status) == (1, 1, 0)
    assert road.replica("deleted") is None


def test_a_waiting_job_is_left_as_it_is_and_its_key_is_no_difference(road: Road) -> None:
    road.put("a")
    work()
    road.replicas.delete_object("a")
    [job_id] = look_again(road.rule, ["a"])
    later = datetime.now(UTC) + timedelta(hours=1)
    waiting = TransferJob.objects.filter(pk=job_id)
    waiting.update(available_at=later, attempt_limit=3)
    report, status = reconcile(road.rule)
    assert (report["findings"], report["counts"]["under_way"], status) == ([], 1, 0)
    job = waiting.get()
    assert (job.available_at, job.attempt_limit, job.origin) == (later, 3, JobOrigin.ADMIN)


def test_a_change_that_no_event_told_of_is_told_from_others(road: Road) -> None:
    for key in ("changed", "overwritten", "failed"):
        road.put(key)
    road.oss.add_fault(Fault(status=400, code="InvalidArgument", key_prefix="failed", times=None))
    work()
    road.oss.clear_faults()
    road.put("changed", b"a new version, which no event tells of")
    road.put("never", b"unannounced")
    road.replicas.put_object("overwritten", b"by somebody in OSS")
    report, _ = reconcile(road.rule)
    assert {one["key"]: (one["cause"], one["code"]) for one in report["findings"]} == {
        "changed": ("lost", ""),
        "never": ("lost", ""),
        "overwritten": ("changed since", ""),
        "failed": ("failed", "destination_refused"),
    }
    assert (report["counts"]["lost"], report["lost"]["by_folder"]) == (
        2,
        {"changed": 1, "never": 1},
    )


def test_a_change_of_before_the_history_is_not_called_lost(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(keep_jobs_days=0)
    ReplicationRule.objects.update(created_at=Now() - timedelta(days=1))
    road.put("a")
    report, _ = reconcile(road.rule)
    assert [(one["key"], one["cause"]) for one in report["findings"]] == [("a", "forgotten")]
    assert report["counts"]["lost"] == 0


def test_a_plausible_copy_is_proved_by_its_provenance_at_the_level_head(road: Road) -> None:
    upload = road.s3.create_multipart_upload(Bucket=road.source.bucket, Key="parts")
    part = road.s3.upload_part(
        Bucket=road.source.bucket,
        Key="parts",
        UploadId=upload["UploadId"],
        PartNumber=1,
        Body=b"content",
    )
    road.s3.complete_multipart_upload(
        Bucket=road.source.bucket,
        Key="parts",
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    work()
    report, status = reconcile(road.rule)
    assert (report["counts"]["plausible"], status) == (1, 0)
    report, status = reconcile(road.rule, "--level", "head")
    assert (report["counts"]["plausible"], status) == (0, 0)
    road.replicas.put_object("parts", b"CONTENT")
    report, status = reconcile(road.rule, "--level", "head")
    assert (verdicts(report), status) == ({"parts": "different"}, 1)


def test_rewritten_and_refused_keys_are_compared_where_they_belong(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(key_policy="rewrite")
    for key in ("/leading", "plain"):
        road.put(key)
    work()
    report, status = reconcile(road.rule)
    assert (report["counts"]["equal"], status) == (2, 0)
    ReplicationRule.objects.update(key_policy="fail")
    report, status = reconcile(road.rule)
    assert (verdicts(report), status) == ({"/leading": "refused"}, 0)


def test_what_the_filters_leave_out_is_no_difference(make_road: Callable[..., Road]) -> None:
    road = make_road(exclude="private/**")
    for key in ("private/a", "b"):
        road.put(key)
    work()
    report, status = reconcile(road.rule)
    assert (report["counts"]["left_out"], report["findings"], status) == (1, [], 0)


def test_a_side_that_cannot_be_listed_ends_with_status_2(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "RETRY_SECONDS", (0, 0))
    road.oss.add_fault(Fault(operation="ListObjectsV2", status=503, times=None))
    report, status = reconcile(road.rule)
    assert (status, report["state"], report["is_equal"]) == (2, "failed", None)
    assert "The comparison is failed: destination_unavailable" in report["stderr"]


def test_what_a_comparison_asks_for_counts_neither_for_the_brake_nor_as_lag(road: Road) -> None:
    """A backfill must not disarm the brake, and nobody waits for what it copies."""
    for key in "abc":
        road.put(key)
    work()
    for key in "abc":
        road.replicas.delete_object(key)
    CompletedMinute.objects.all().delete()
    jobs.enqueue_if_idle(
        [jobs.JobOrder(road.rule.pk, key) for key in "abc"],
        origin=JobOrigin.SWEEP,
        priority=jobs.PRIORITY_SWEEP,
    )
    TransferJob.objects.update(event_at=Now() - timedelta(hours=1))
    [status] = read_status().rules
    assert status.jobs.oldest_pending_seconds is None
    work()
    minutes = CompletedMinute.objects.all()
    assert sum(minute.jobs for minute in minutes) == 3
    assert sum(minute.swept_jobs for minute in minutes) == 3
    assert sum(sum(minute.lag_counts) for minute in minutes) == 0
    assert delete_brake._last_hour(road.rule.pk) == (0, 0)
