"""The sweeper of a cluster carries sweeps to their end."""

from datetime import timedelta

import pytest
from pytest import MonkeyPatch

from replication.cluster import loops
from replication.models import LoopKind, Sweep, SweepKind, SweepState
from replication.sweep import causes, lifecycle, settling, sweeper
from tests.support.lanes import lanes
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sweeper_stays_for_a_second_look_that_is_due_soon(
    road: Road, monkeypatch: MonkeyPatch
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
