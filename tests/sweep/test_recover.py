"""`manage.py recover` mends what a restored database does not know of, and says what was lost."""

import io
import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

from replication import jobs
from replication.jobs.listener import NotifyListener
from replication.management.commands import recover as command
from replication.models import (
    EndedJob,
    Job,
    JobOrigin,
    JobState,
    ReplicationRule,
    Source,
    SourceKind,
    Sweep,
    SweepKind,
    SweepState,
    TransferJob,
    UploadToAbort,
)
from replication.operations import recovery
from replication.sweep import causes, lifecycle, recording
from sandbox.oss import Fault
from tests.support.lanes import lanes
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually
from tests.support.road import Road, work
from tests.support.sweeping import carry_on

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too, and no last heartbeats are awaited."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    monkeypatch.setattr(command, "ALIVE_SECONDS", 0)


class Terminal(io.StringIO):
    """Starts a lane once the command asks for clusters, and stops it at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = ExitStack()

    def write(self, text: str) -> int:
        if "Start the clusters now" in text:
            self.lanes.enter_context(lanes())
        return super().write(text)


def recover(*options: str) -> tuple[str, str, int]:
    """Run the command; returns what it prints, what it says meanwhile, and its exit status."""
    out, err = io.StringIO(), Terminal()
    with err.lanes, pytest.raises(SystemExit) as ended:
        since = f"--since={AN_HOUR_AGO.isoformat()}"
        call_command("recover", since, "--settle=0", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue(), int(ended.value.code or 0)


def lose(road: Road, *keys: str) -> None:
    """Let the messages of all changes and the records of these keys be gone."""
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    EndedJob.objects.filter(key__in=keys).delete()


def lost_hour(road: Road) -> None:
    """Of three replicated keys, one is overwritten and one deleted, and one is added, unnoticed."""
    for key in ("a/same", "a/changed", "b/deleted"):
        road.put(key)
    work()
    road.put("a/changed", b"changed")
    road.put("b/new", b"new")
    road.s3.delete_object(Bucket=road.source.bucket, Key="b/deleted")
    lose(road, "b/deleted")  # copied so long ago that its record had gone before


@pytest.fixture
def mirroring(make_road: Any) -> Road:
    road: Road = make_road(delete_policy="mirror")
    return road


def test_what_the_database_lost_is_mended_and_told(mirroring: Road) -> None:
    lost_hour(mirroring)
    printed, said, status = recover()
    assert "Start the clusters now" in said
    assert "Changes that had been lost: 3. Copied since: 2, deleted since: 1." in printed
    assert "in: b/ 2, a/ 1" in printed
    assert "deleted, unknown when 1" in printed
    assert status == 0
    assert {key: mirroring.replica(key) for key in ("a/changed", "b/new", "b/deleted")} == {
        "a/changed": b"changed",
        "b/new": b"new",
        "b/deleted": None,
    }


def test_the_json_has_the_report_of_each_rule(mirroring: Road) -> None:
    lost_hour(mirroring)
    printed, _, _ = recover("--json")
    report = json.loads(printed)
    [rule] = report["rules"]
    assert (report["is_equal"], report["left_out"]) == (True, {})
    assert (rule["rule"], rule["kind"], rule["lost"]["keys"]) == (
        mirroring.rule.name,
        "recovery",
        3,
    )
    assert rule["mended"] == {"different": 1, "missing": 1, "extra": 1}


def test_a_job_that_ran_at_the_backup_is_tried_at_once_and_awaited(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(read_timeout_seconds=1, retry_base_seconds=0.01)  # its write may still land
    road.put("a")
    poll_until_empty(road.queue)
    [ran] = jobs.claim(uuid4(), limit=1, lease_seconds=3600)
    road.oss.add_fault(Fault(hold=True, method="PUT"))
    release = threading.Timer(1.5, road.oss.clear_faults)
    release.start()
    printed, _, status = recover()
    assert ("Changes that had been lost: 0." in printed, status) == (True, 0)
    assert "Differences that are left: 0." in printed
    assert Job.objects.get(pk=ran.id).state == JobState.COMPLETED
    assert road.replica("a") == b"content"
    release.join()


def test_replicas_of_deleted_objects_are_only_reported_on_request(mirroring: Road) -> None:
    lost_hour(mirroring)
    printed, _, status = recover("--keep-extras")
    assert (status, mirroring.replica("b/deleted")) == (1, b"content")
    assert "Keys that still differ: 1" in printed
    assert "extra      'b/deleted'" in printed


def test_what_changed_since_the_backup_goes_first_and_what_is_older_than_the_rule_is_left(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("before", "since", "older"):
        road.put(key)
    work()
    lose(road, "older")
    for key in ("before", "since", "older"):
        road.replicas.delete_object(key)
    ReplicationRule.objects.update(created_at=F("created_at") + timedelta(hours=3))
    changes = {"before": AN_HOUR_AGO - timedelta(hours=1), "since": AN_HOUR_AGO}
    monkeypatch.setattr(recording, "changed", lambda one: changes.get(one.pair.key))
    [sweep] = recovery.start([road.rule], since=AN_HOUR_AGO, settle_seconds=0)
    carry_on()
    assert dict(Job.objects.filter(state="pending").values_list("key", "priority")) == {
        "since": jobs.PRIORITY_SWEEP_FIRST,
        "before": jobs.PRIORITY_SWEEP,
    }
    assert jobs.PRIORITY_BULK < jobs.PRIORITY_SWEEP_FIRST < jobs.PRIORITY_SWEEP
    assert sweep.since == AN_HOUR_AGO


def test_it_says_how_to_copy_what_is_older_than_the_rule(road: Road) -> None:
    road.put("older")
    work()
    lose(road, "older")
    road.replicas.delete_object("older")
    ReplicationRule.objects.update(created_at=F("created_at") + timedelta(hours=3))
    printed, _, status = recover()
    assert (status, road.replica("older")) == (1, None)
    assert f"If they are to be copied: `manage.py backfill {road.rule.name}`" in printed


def test_it_refuses_while_a_lane_runs_even_one_without_a_heartbeat(road: Road) -> None:
    with lanes(), pytest.raises(CommandError, match="Stop all clusters, pollers and web servers"):
        eventually(recovery.where_clusters_run)
        call_command("recover")
    assert recovery.where_clusters_run() == []
    with NotifyListener(lambda _: None):
        eventually(recovery.where_clusters_run)
        with pytest.raises(CommandError, match="Clusters run on 127"):
            call_command("recover")
    assert not Sweep.objects.exists()


def test_it_goes_on_with_a_recovery_that_is_under_way(road: Road) -> None:
    recovery.start([road.rule], since=AN_HOUR_AGO, settle_seconds=0)
    with lanes():
        eventually(recovery.where_clusters_run)
        _, said, status = recover()
    assert ("Going on with the recovery" in said, status) == (True, 0)
    assert Sweep.objects.count() == 1


def test_what_was_given_out_since_the_backup_is_not_given_out_again(road: Road) -> None:
    [before] = jobs.enqueue([jobs.JobOrder(road.rule.pk, "a")], origin=JobOrigin.API, priority=0)
    version = ReplicationRule.objects.get().version
    backfill = lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)
    [sweep] = recovery.start([road.rule], since=AN_HOUR_AGO)
    [after] = jobs.enqueue([jobs.JobOrder(road.rule.pk, "b")], origin=JobOrigin.API, priority=0)
    assert after >= before + recovery.LOST_ROWS
    assert sweep.pk >= backfill.pk + recovery.LOST_ROWS
    assert TransferJob.objects.get(pk=before).token >= 1_000_000
    assert ReplicationRule.objects.get().version == sweep.rule_version > version + 500
    backfill.refresh_from_db()
    assert (backfill.state, backfill.error) == (SweepState.CANCELLED, recovery.GAVE_WAY)


def test_a_rule_that_cannot_be_compared_is_named_and_the_status_is_2(road: Road) -> None:
    ReplicationRule.objects.update(paused_at=datetime.now(UTC))
    _, said, status = recover()
    assert (f"Rule {road.rule.name} is left out: it is paused." in said, status) == (True, 2)
    ReplicationRule.objects.update(paused_at=None)
    Source.objects.update(kind=SourceKind.HTTP, bucket="", endpoint_url="http://example.com")
    _, said, status = recover()
    assert ("its source is a web server" in said, "verify" in said, status) == (True, True, 2)


def test_unfinished_uploads_that_no_record_names_are_told_and_aborted_on_request(
    road: Road,
) -> None:
    upload_id = road.replicas.init_multipart_upload("large").upload_id
    printed, _, status = recover()
    assert ("OSS bills their parts: 1 ('large')" in printed, status) == (True, 0)
    assert not UploadToAbort.objects.exists()
    printed, _, _ = recover("--abort-uploads")
    assert "Unfinished uploads that are aborted within minutes: 1" in printed
    assert UploadToAbort.objects.get().upload_id == upload_id
    road.oss.add_fault(Fault(operation="ListMultipartUploads", status=403, code="AccessDenied"))
    printed, _, _ = recover()
    assert "Grant oss:ListMultipartUploads" in printed


def test_a_database_that_knows_of_nothing_is_asked_for_the_time(road: Road) -> None:
    with pytest.raises(CommandError, match="is it the restored one"):
        call_command("recover")


def test_the_default_time_is_the_last_of_which_the_database_knows(road: Road) -> None:
    jobs.enqueue([jobs.JobOrder(road.rule.pk, "a")], origin=JobOrigin.API, priority=0)
    assert recovery.remembered_until() == Job.objects.get().enqueued_at
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        [now] = cursor.fetchone()
    with lanes():
        latest = eventually(recovery.remembered_until)
        assert latest is not None
        eventually(lambda: (recovery.remembered_until() or latest) > now)
