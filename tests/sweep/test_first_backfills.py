"""A cluster starts the backfill that a rule asks for, once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from replication.cluster import loops
from replication.models import Job, LoopKind, ReplicationRule, Sweep, SweepKind
from replication.sweep import lifecycle, sweeper
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def sweep_once(*, seconds: float = 60) -> None:
    with loops.running(LoopKind.SWEEPER) as loop:
        assert loop is not None
        sweeper.run(loop, seconds=seconds)  # ends as soon as nothing is left to do


def test_what_is_older_than_the_rule_is_copied_if_the_rule_asks_for_that(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(sweep_settle_seconds=0)
    road.put("old")
    ReplicationRule.objects.update(created_at=Now() + timedelta(minutes=5))
    sweep_once()  # a scrub, which leaves it alone
    assert not Job.objects.exists()
    ReplicationRule.objects.update(backfill=True)
    assert lifecycle.is_due()
    sweep_once(seconds=15)  # its job waits, as nobody carries it out
    assert Job.objects.get().key == "old"
    lifecycle.cancel(Sweep.objects.all())
    sweep_once()
    assert Sweep.objects.filter(kind=SweepKind.BACKFILL).count() == 1
