"""Sweeps are carried on by any worker, from where the last one stopped."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from replication.models import (
    Job,
    JobOrigin,
    JobState,
    ReplicationRule,
    Sweep,
    SweepKind,
    SweepSlice,
    SweepState,
)
from replication.monitoring.status import read_status
from replication.stores import listing
from replication.stores.listing import ListedObject, ListedPage, Unlistable
from replication.stores.s3.store import S3Store
from replication.sweep import causes, comparing, lifecycle, recording, slices
from replication.sweep.comparing import Batch
from replication.sweep.sorting import sorted_listing
from sandbox.oss import Fault
from tests.support.road import Road, work
from tests.support.sweeping import carry_on, later, scrub, settled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too, and nobody waits for a scrub's rate."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    monkeypatch.setattr(lifecycle, "SCRUB_REQUESTS_PER_SECOND", 1000.0)


@pytest.fixture
def three_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have three keys, and each is a batch."""
    from replication.stores.oss.store import OssStore

    for store in (S3Store, OssStore):
        whole = store.list_page

        def three(self: Any, *, prefix: str, after: str, limit: int = 3, _whole=whole) -> Any:
            return _whole(self, prefix=prefix, after=after, limit=min(limit, 3))

        monkeypatch.setattr(store, "list_page", three)
    monkeypatch.setattr(comparing, "BATCH_PAGES", 1)


def put_unannounced(road: Road, *keys: str) -> None:
    """Put objects whose events are lost."""
    for key in keys:
        road.put(key)
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)


def test_a_scrub_finds_what_no_event_told_of_and_has_it_copied(road: Road) -> None:
    road.put("announced")
    work()
    put_unannounced(road, "lost")
    assert lifecycle.is_due()
    sweep = scrub()
    assert (sweep.state, sweep.equal, sweep.missing, sweep.ordered) == ("settling", 1, 1, 1)
    [job] = Job.objects.filter(state=JobState.PENDING)
    assert (job.key, job.origin) == ("lost", JobOrigin.SWEEP)
    later()
    carry_on()  # the job has not run yet
    assert sweep.findings.get().state == "seen"
    work()
    sweep = settled(sweep)
    assert (sweep.missing, sweep.lost) == (1, 1)
    [finding] = sweep.findings.all()
    assert (finding.key, finding.cause, finding.state) == ("lost", "lost", "mended")
    [problem] = [each for each in read_status().problems if each.code == "events_lost"]
    assert "found 1 change that no event told of" in problem.detail
    assert road.replica("lost") == b"content"
    assert not lifecycle.is_due()  # for a week
    Sweep.objects.update(began_at=Now() - timedelta(days=8))
    assert lifecycle.is_due()


def test_an_event_that_comes_late_is_no_lost_one(road: Road) -> None:
    road.put("late")
    sweep = scrub()
    work()  # the event joins the job of the scrub
    sweep = settled(sweep)
    assert (sweep.missing, sweep.lost, sweep.found_again) == (0, 0, 1)
    assert sweep.findings.get().state == "gone"
    assert Job.objects.get().origin == JobOrigin.EVENT
    assert "events_lost" not in {each.code for each in read_status().problems}


def test_what_a_job_copies_between_the_listing_and_the_record_is_not_copied_again(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.put("a")
    record = recording.record

    def after_the_event(held: SweepSlice, batch: Batch) -> recording.Recorded:
        assert [one.verdict for one in batch.judged] == ["missing"]
        work()
        return record(held, batch)

    monkeypatch.setattr(recording, "record", after_the_event)
    sweep = scrub()
    assert (sweep.state, sweep.under_way, sweep.ordered) == ("completed", 1, 0)
    assert Job.objects.count() == 1


def test_a_scrub_leaves_alone_what_is_older_than_the_rule_and_a_backfill_copies_it(
    road: Road,
) -> None:
    put_unannounced(road, "a", "b")
    ReplicationRule.objects.update(created_at=Now() + timedelta(minutes=5))
    sweep = settled(scrub())
    assert (sweep.missing, sweep.lost, sweep.ordered) == (2, 0, 0)
    sweep = lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)
    carry_on()
    assert not sweep.findings.exists()  # it is there to copy them
    work()
    sweep = settled(sweep)
    assert (sweep.missing, sweep.ordered, sweep.lost) == (2, 2, 0)
    assert road.replica("a") == road.replica("b") == b"content"


@pytest.mark.usefixtures("three_a_page")
def test_a_sweep_goes_on_where_it_was_and_misses_no_key(road: Road) -> None:
    put_unannounced(road, *(f"{number:02d}" for number in range(10)))
    road.replicas.put_object("05x", b"extra")
    cursors: list[str] = []
    while not cursors or not SweepSlice.objects.get().is_done:
        later()
        sweep = scrub(batches=1)
        cursors.append(SweepSlice.objects.get().cursor)
    assert cursors == sorted(cursors)
    assert len(set(cursors)) >= 4
    # The rule keeps replicas whose objects are gone.
    assert (sweep.missing, sweep.kept, sweep.ordered, sweep.source_keys) == (10, 1, 10, 10)
    assert set(Job.objects.values_list("key", flat=True)) == {
        f"{number:02d}" for number in range(10)
    }


def test_a_worker_that_was_taken_for_dead_changes_nothing_more(road: Road) -> None:
    put_unannounced(road, "a")
    lifecycle.start_scrub()
    zombie = slices.hold_one()
    assert zombie is not None
    assert slices.hold_one() is None  # it is held
    SweepSlice.objects.update(held_until=Now() - timedelta(seconds=1))
    assert slices.hold_one() is not None
    with pytest.raises(slices.Lost):
        recording.record(zombie, Batch("z"))
    with pytest.raises(slices.Lost):
        recording.end_slice(zombie)
    slices.release(zombie)
    found = SweepSlice.objects.get()
    assert (found.cursor, found.is_done, found.held_by != "") == ("", False, True)


def test_a_database_that_fails_for_a_moment_ends_no_sweep(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_unannounced(road, "a")
    record = recording.record

    def fail(*_: Any) -> Any:
        raise OperationalError("the connection was closed")

    monkeypatch.setattr(recording, "record", fail)
    scrub()
    held = SweepSlice.objects.get()
    assert (held.cursor, held.held_by != "") == ("", True)  # until the end of its lease
    monkeypatch.setattr(recording, "record", record)
    SweepSlice.objects.update(held_until=Now() - timedelta(seconds=1))
    assert scrub().missing == 1


@pytest.mark.usefixtures("three_a_page")
def test_a_changed_rule_is_swept_from_the_start(road: Road) -> None:
    put_unannounced(road, *"abcdef")
    scrub(batches=1)
    ReplicationRule.objects.filter(pk=road.rule.pk).update(exclude="zzz")
    later()
    carry_on()
    later()
    carry_on()
    old, new = Sweep.objects.order_by("pk")
    assert (old.state, old.error) == (SweepState.CANCELLED, "The rule was changed.")
    # Jobs of the first three are waiting already.
    assert (new.state, new.source_keys, new.missing + new.under_way) == ("settling", 6, 6)
    assert (new.requests_per_second, new.mends) == (old.requests_per_second, True)


def test_a_side_that_is_away_delays_a_sweep_for_as_long_as_that_lasts(road: Road) -> None:
    road.put("a")
    work()
    fault = road.oss.add_fault(Fault(operation="ListObjectsV2", status=503, times=None))
    for _ in range(8):
        sweep = scrub()
        later()
    assert (sweep.state, sweep.error.split(":")[0]) == ("running", "destination_unavailable")
    road.oss.clear_faults()
    del fault
    assert settled(scrub()).equal == 1


def test_a_listing_without_order_is_sorted(
    road: Road, monkeypatch: pytest.MonkeyPatch, three_a_page: None
) -> None:
    """Neither side has an order here, as directory buckets and some gateways have none."""
    for number in range(10):
        road.put(f"{number} é")
    work()
    put_unannounced(road, "lost")
    road.replicas.delete_object("7 é")
    entries = listing._entries
    monkeypatch.setattr(listing, "_entries", lambda text: entries(text)[::-1])
    sweep = scrub()
    assert (sweep.state, sweep.equal, sweep.missing, sweep.ordered) == ("settling", 9, 2, 2)
    assert set(sweep.findings.values_list("key", flat=True)) == {"lost", "7 é"}
    work()
    assert settled(sweep).findings.filter(state="mended").count() == 2


def test_a_sorted_listing_is_in_the_order_of_bytes() -> None:
    keys = ["b", "a", "\ue000", "\U0001f600", "\ufffd", "a\0", "a ", "中", "é"]

    class Shuffled:
        def list_page(self, **_: Any) -> ListedPage:
            raise Unlistable("no order")

        def list_page_in_any_order(self, *, prefix: str, token: str) -> ListedPage:
            at = int(token or 0)
            page = [ListedObject(key, 1, "e", "", "") for key in keys[at : at + 2]]
            return ListedPage.of(page, is_truncated=at + 2 < len(keys), next_token=str(at + 2))

    with sorted_listing(Shuffled(), prefix="", on_page=lambda: None) as found:
        assert [one.key for one in found.list_page(prefix="", after="").objects] == sorted(keys)
        page = found.list_page(prefix="", after="a", limit=2)
        assert ([one.key for one in page.objects], page.is_truncated) == (["a\0", "a "], True)
        assert [one.key for one in found.list_page(prefix="a", after="").objects] == [
            *("a", "a\0", "a ")
        ]


def test_denied_looks_are_told_and_do_not_stop_a_scrub(road: Road) -> None:
    road.put("a")
    work()
    road.replicas.put_object("a", b"CONTENT")
    road.oss.add_fault(Fault(operation="HeadObject", status=403, code="AccessDenied", times=None))
    sweep = settled(scrub())
    assert (sweep.unknown, sweep.different) == (1, 0)
    [finding] = sweep.findings.all()
    assert (finding.verdict, finding.reason.split(":")[0]) == (
        "unknown",
        "destination_access_denied",
    )


def test_a_rule_that_is_not_at_work_is_not_swept(road: Road) -> None:
    ReplicationRule.objects.update(paused_at=Now())
    assert not lifecycle.is_due()
    ReplicationRule.objects.update(enabled=False)
    road.rule.refresh_from_db()
    with pytest.raises(lifecycle.CantStart, match="is disabled"):
        lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)


def test_scrubs_can_be_switched_off(road: Road, limits: Callable[..., None]) -> None:
    limits(scrub_days=0)
    assert not lifecycle.is_due()


def test_a_persons_sweep_makes_a_scrub_give_way_and_no_two_run_at_once(road: Road) -> None:
    lifecycle.start_scrub()
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE)
    with pytest.raises(lifecycle.CantStart, match=f"sweep {sweep.pk}"):
        lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)
    assert lifecycle.start_scrub() is None
    settled(sweep)
    assert lifecycle.start_scrub() is not None  # the one that gave way starts anew


def test_a_sweep_waits_while_the_lanes_are_behind(
    road: Road, monkeypatch: pytest.MonkeyPatch, three_a_page: None
) -> None:
    monkeypatch.setattr(slices, "MOST_PENDING", 2)
    monkeypatch.setattr(slices, "RESUME_AT_PENDING", 1)
    put_unannounced(road, *"abcdefghi")
    sweep = scrub()
    assert Job.objects.count() == 3
    assert sweep.waits_for == slices.WAITS_FOR_LANES
    later()
    carry_on()
    assert Job.objects.count() == 3
    work()
    later()
    carry_on()
    assert Job.objects.count() == 6


@pytest.mark.parametrize("key_policy", ["fail", "rewrite"])
def test_a_key_that_no_table_can_hold_stops_no_sweep(
    make_road: Callable[..., Road], monkeypatch: pytest.MonkeyPatch, key_policy: str
) -> None:
    make_road(key_policy=key_policy)
    objects = [
        ListedObject(key, 7, "", "2026-01-01T00:00:00.000Z", "") for key in ("a", "b\0", "c\0")
    ]
    page = ListedPage.of(objects, is_truncated=False)
    monkeypatch.setattr(S3Store, "list_page", lambda *_, **__: page)
    sweep = scrub()
    # The second look is for the real bucket, which has no "a".
    assert (sweep.state, sweep.refused, sweep.found_again) == ("completed", 2, 1)


@pytest.mark.usefixtures("three_a_page")
def test_a_sweep_is_paused_resumed_and_cancelled(road: Road) -> None:
    put_unannounced(road, *"abcdef")
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE)
    one = Sweep.objects.filter(pk=sweep.pk)
    carry_on(batches=1)
    assert lifecycle.pause(one) == 1
    later()
    carry_on()
    assert one.get().source_keys == 3
    assert lifecycle.resume(one) == 1
    carry_on()
    assert (one.get().source_keys, one.get().missing) == (6, 6)
    assert lifecycle.cancel(one) == 1
    assert lifecycle.cancel(one) == 0


@pytest.mark.usefixtures("three_a_page")
def test_a_sweep_pauses_when_its_budget_is_spent_and_gets_as_much_again(road: Road) -> None:
    put_unannounced(road, *"abcdefghijkl")
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE, most_requests=4)
    carry_on()
    sweep.refresh_from_db()
    assert (sweep.state, sweep.waits_for) == ("paused", slices.WAITS_FOR_A_PERSON)
    spent = sweep.source_requests + sweep.destination_requests
    assert 4 <= spent <= 5
    lifecycle.resume(Sweep.objects.all())
    sweep.refresh_from_db()
    assert sweep.most_requests == spent + 4


@pytest.mark.usefixtures("three_a_page")
def test_a_sweep_keeps_to_its_window_and_its_rate(road: Road) -> None:
    put_unannounced(road, *"abcdef")
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE, requests_per_second=0.001)
    one = Sweep.objects.filter(pk=sweep.pk)
    hour_ago, hour_ahead = Now() - timedelta(hours=2), Now() - timedelta(hours=1)
    one.update(window_from=_utc_time(hour_ago), window_until=_utc_time(hour_ahead))
    assert not slices.are_any_free()
    one.update(window_from=_utc_time(hour_ahead), window_until=_utc_time(hour_ago))  # past midnight
    assert slices.are_any_free()
    carry_on(batches=1)
    assert one.get().paced_until > one.get().began_at + timedelta(seconds=500)


def _utc_time(moment: Any) -> Any:
    from django.db.models import TimeField
    from django.db.models.functions import Cast

    return Cast(moment, TimeField())


def test_a_prefix_outside_the_rule_starts_no_sweep_of_the_whole_rule(
    make_road: Callable[..., Road],
) -> None:
    rule = make_road(source_prefix="p/").rule
    with pytest.raises(lifecycle.CantStart, match="begin with 'p/', so none begins with 'q/'"):
        lifecycle.start(rule, SweepKind.RECONCILE, prefix="q/", mends=True)
    for prefix in ("", "p", "p/", "p/2026/"):
        lifecycle.cancel(
            Sweep.objects.filter(pk=lifecycle.start(rule, SweepKind.RECONCILE, prefix=prefix).pk)
        )


def test_a_slice_is_split_only_at_keys_that_are_still_ahead_of_it(road: Road) -> None:
    """Whoever asks may have looked before the slice gave its rest away, or went on."""
    lifecycle.start(road.rule, SweepKind.RECONCILE)
    SweepSlice.objects.update(until_key="m", splits=["a", "c", "e", "m", "x"])
    held = slices.hold_one()
    assert held is not None
    ends_at, _ = slices.advance(held, cursor="b", keys=0, pages=1)
    assert ends_at == "c"
    ranges = SweepSlice.objects.order_by("id").values_list("after_key", "until_key", "splits")
    assert [*ranges] == [("", "c", []), ("c", "e", []), ("e", "m", [])]
