"""The sweeper of a cluster carries sweeps to their end."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest

from replication.cluster import loops
from replication.models import Heartbeat, LoopKind, Sweep, SweepKind, SweepSlice, SweepState
from replication.stores.s3.store import S3Store
from replication.sweep import causes, comparing, lifecycle, recording, settling, sweeper
from replication.sweep.comparing import Batch
from replication.sweep.recording import Recorded
from tests.support.lanes import lanes
from tests.support.road import Road
from tests.support.sweeping import carry_on

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sweeper_stays_for_a_second_look_that_is_due_soon(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    monkeypatch.setattr(settling, "AGAIN_SECONDS", 1)
    road.put("lost")
    lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True, settle_seconds=0)
    with lanes(), loops.running(LoopKind.SWEEPER) as loop:
        assert loop is not None
        sweeper.run(loop, seconds=60)
    assert Sweep.objects.get().state == SweepState.COMPLETED
    assert road.replica("lost") == b"content"


def test_a_sweeper_does_not_stay_for_one_that_is_due_later(road: Road) -> None:
    road.put("lost")
    lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)
    with loops.running(LoopKind.SWEEPER) as loop:
        assert loop is not None
        sweeper.run(loop, seconds=60)
    assert Sweep.objects.get().state == SweepState.SETTLING
    assert not settling.is_due_soon(seconds=sweeper.STAY_SECONDS)


def test_a_sweep_stops_when_its_time_of_the_day_is_over(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "BATCH_KEYS", 1)
    for key in "abc":
        road.put(key)
    page = S3Store.list_page
    monkeypatch.setattr(
        S3Store, "list_page", lambda self, **query: page(self, **query | {"limit": 1})
    )
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE)
    hour = datetime.now(UTC).hour
    record = recording.record

    def close_window(held: SweepSlice, batch: Batch) -> Recorded:
        if batch.cursor == "b":
            times = {"window_from": time((hour + 2) % 24), "window_until": time((hour + 3) % 24)}
            Sweep.objects.update(**times)
        return record(held, batch)

    monkeypatch.setattr(recording, "record", close_window)
    carry_on()
    [left] = SweepSlice.objects.all()
    assert (left.cursor, left.held_by, left.is_done) == ("b", "", False)
    Sweep.objects.update(window_from=None, window_until=None)
    carry_on()
    sweep.refresh_from_db()
    assert (sweep.state, sweep.missing) == (SweepState.SETTLING, 3)


@pytest.mark.parametrize("more", ["", "bcdefg"])
def test_a_sweeper_asks_other_clusters_to_take_a_share(road: Road, more: str) -> None:
    sweep = lifecycle.start(road.rule, SweepKind.RECONCILE)
    Heartbeat.objects.all().delete()  # the sweep asks for its first sweeper
    if more:
        SweepSlice.objects.update(until_key=more[0])
    SweepSlice.objects.bulk_create(
        SweepSlice(sweep=sweep, after_key=after, cursor=after, until_key=until)
        for after, until in pairwise([*more, None])
    )
    with loops.running(LoopKind.SWEEPER) as loop:
        assert loop is not None
        sweeper.run(loop, seconds=60)
    asked_for = Heartbeat.objects.filter(kind=LoopKind.SWEEPER, started_at__isnull=True)
    assert asked_for.exists() is bool(more)
