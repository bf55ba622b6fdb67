"""Sweeps are carried on by any cluster, from where the last one stopped."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from replication.models import (
    JobOrigin,
    JobState,
    ReplicationRule,
    Sweep,
    SweepKind,
    SweepState,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.stores.listing import ListedObject, ListedPage
from replication.stores.s3.store import S3Store
from replication.sweep import causes, comparing, running
from sandbox.oss import Fault
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too, and batches are small."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    monkeypatch.setattr(comparing, "BATCH", 3)
    monkeypatch.setattr(running, "SCRUB_PAUSE_SECONDS", 0)


def put_unannounced(road: Road, *keys: str) -> None:
    """Put objects whose events are lost."""
    for key in keys:
        road.put(key)
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)


def scrub(*, seconds: float = 60) -> Sweep:
    running.carry_on(seconds=seconds)
    return Sweep.objects.get(kind=SweepKind.SCRUB)


def test_a_scrub_finds_what_no_event_told_of_and_has_it_copied(road: Road) -> None:
    road.put("announced")
    work()
    put_unannounced(road, "lost")
    assert running.is_due()
    sweep = scrub()
    assert (sweep.state, sweep.equal, sweep.missing, sweep.lost) == ("completed", 1, 1, 1)
    assert [one["key"] for one in sweep.findings] == ["lost"]
    [job] = TransferJob.objects.filter(state=JobState.PENDING)
    assert (job.key, job.origin) == ("lost", JobOrigin.SWEEP)
    [problem] = [each for each in read_status().problems if each.code == "events_lost"]
    assert "found 1 change that no event told of" in problem.detail
    work()
    assert road.replica("lost") == b"content"
    assert not running.is_due()  # for a week
    Sweep.objects.update(began_at=Now() - timedelta(days=8))
    assert running.is_due()


def test_a_scrub_leaves_alone_what_is_older_than_the_rule_and_a_backfill_copies_it(
    road: Road,
) -> None:
    put_unannounced(road, "a", "b")
    ReplicationRule.objects.update(created_at=Now() + timedelta(minutes=5))
    sweep = scrub()
    assert (sweep.missing, sweep.lost, sweep.ordered) == (2, 0, 0)
    call_command("backfill", road.rule.name, stdout=io.StringIO())
    running.carry_on(seconds=60)
    work()
    assert road.replica("a") == road.replica("b") == b"content"


def test_a_sweep_goes_on_where_it_was_and_misses_no_key(road: Road) -> None:
    put_unannounced(road, *(f"{number:02d}" for number in range(10)))
    road.replicas.put_object("05x", b"extra")
    cursors = []
    for _ in range(10):
        sweep = scrub(seconds=0.0001)  # a batch each time
        cursors.append(sweep.cursor)
        if sweep.state == SweepState.COMPLETED:
            break
    assert cursors[:4] == ["02", "05", "07", "09"]
    assert (sweep.state, sweep.missing, sweep.extra, sweep.ordered) == ("completed", 10, 1, 10)
    assert set(TransferJob.objects.values_list("key", flat=True)) == {
        f"{number:02d}" for number in range(10)
    }


def test_a_cluster_that_was_taken_for_dead_changes_nothing_more(road: Road) -> None:
    put_unannounced(road, "a")
    running.start(road.rule, SweepKind.SCRUB)
    zombie = running._hold_one()
    assert zombie is not None
    assert running._hold_one() is None  # it is held
    Sweep.objects.update(held_until=Now() - timedelta(seconds=1))
    assert running._hold_one() is not None
    with pytest.raises(running._Lost):
        running._carry_on(zombie, ends_at=0)
    assert Sweep.objects.get().cursor == ""
    assert not TransferJob.objects.exists()


def test_a_changed_rule_is_swept_from_the_start(road: Road) -> None:
    put_unannounced(road, *"abcdef")
    assert scrub(seconds=0.0001).cursor == "c"
    ReplicationRule.objects.filter(pk=road.rule.pk).update(exclude="zzz")
    running.carry_on(seconds=60)
    old, new = Sweep.objects.order_by("pk")
    assert (old.state, old.error) == (SweepState.CANCELLED, "The rule was changed.")
    # Jobs of the first three are waiting already.
    assert (new.state, new.source_keys, new.missing) == (SweepState.COMPLETED, 6, 3)


def test_a_side_that_is_away_delays_a_sweep_and_one_without_order_ends_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.oss.add_fault(Fault(operation="ListObjectsV2", status=503))
    sweep = scrub()
    assert (sweep.state, sweep.error.split(":")[0]) == ("running", "destination_unavailable")
    assert not running.is_due()  # for a minute
    Sweep.objects.update(held_until=None)

    def refuse(*_: Any, **__: Any) -> Any:
        raise comparing.CantCompare("out of order")

    monkeypatch.setattr(running, "compare", refuse)
    sweep = scrub()
    assert (sweep.state, sweep.error) == ("failed", "out of order")
    assert "sweep_failed" in {each.code for each in read_status().problems}


def test_a_rule_that_is_not_at_work_is_not_swept(road: Road) -> None:
    ReplicationRule.objects.update(paused_at=Now())
    assert not running.is_due()
    with pytest.raises(CommandError, match="there is no rule"):
        call_command("backfill", "nothing")
    ReplicationRule.objects.update(enabled=False)
    with pytest.raises(CommandError, match="is disabled"):
        call_command("backfill", road.rule.name)


def test_scrubs_can_be_switched_off(road: Road, limits: Callable[..., None]) -> None:
    limits(scrub_days=0)
    assert not running.is_due()


def test_sweeps_are_listed_reported_and_cancelled(road: Road) -> None:
    put_unannounced(road, *"abcdef")
    sweep = scrub(seconds=0.0001)
    out = io.StringIO()
    call_command("sweeps", stdout=out)
    assert f"{sweep.pk}  scrub of {road.rule.name}: running since" in out.getvalue()
    call_command("sweeps", "--cancel", str(sweep.pk), stdout=io.StringIO())
    with pytest.raises(CommandError, match="it is cancelled"):
        call_command("sweeps", "--cancel", str(sweep.pk))
    out = io.StringIO()
    call_command("sweeps", "--report", str(sweep.pk), stdout=out)
    report = json.loads(out.getvalue())
    assert (report["rule"], report["state"], report["missing"]) == (road.rule.name, "cancelled", 3)


def test_a_sweep_waits_while_the_lanes_are_behind(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_PENDING", 3)
    put_unannounced(road, *"abcdefghi")
    scrub()
    assert TransferJob.objects.count() == 3
    assert not running.is_due()  # for a minute
    Sweep.objects.update(held_until=None)
    scrub()
    assert TransferJob.objects.count() == 3
    work()
    Sweep.objects.update(held_until=None)
    assert scrub().cursor == "f"


@pytest.mark.parametrize("key_policy", ["fail", "rewrite"])
def test_a_key_that_no_table_can_hold_stops_no_sweep(
    make_road: Callable[..., Road], monkeypatch: pytest.MonkeyPatch, key_policy: str
) -> None:
    make_road(key_policy=key_policy)
    objects = [
        ListedObject(key, 7, "", "2026-01-01T00:00:00.000Z", "") for key in ("a", "b\0", "c\0")
    ]
    page = ListedPage(objects, is_truncated=False)
    monkeypatch.setattr(S3Store, "list_page", lambda *_, **__: page)
    sweep = scrub()
    assert (sweep.state, sweep.cursor, sweep.missing) == ("completed", "a", 1)
