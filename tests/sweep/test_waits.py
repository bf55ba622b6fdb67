"""How long sweeps wait is a matter of settings."""

from collections.abc import Callable

import pytest
from django.db import connection

from replication.errors import ErrorCode, ReplicationError
from replication.models import SweepKind
from replication.sweep import lifecycle, slices
from tests.support.road import Road

pytestmark = pytest.mark.django_db(transaction=True)


def held_seconds(slice_id: int) -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM held_until - now())::float8 "
            "FROM replication_sweepslice WHERE id = %s",
            [slice_id],
        )
        return float(cursor.fetchone()[0])


def test_a_sweep_settles_after_the_time_of_its_setting_unless_a_person_says_otherwise(
    road: Road, limits: Callable[..., None]
) -> None:
    limits(sweep_settle_seconds=77)
    scrub = lifecycle.start(road.rule, SweepKind.SCRUB)
    assert scrub.settle_seconds == 77
    assert lifecycle.start(road.rule, SweepKind.RECONCILE, settle_seconds=5).settle_seconds == 5


def test_a_slice_that_failed_waits_no_longer_than_any_retry(
    road: Road, limits: Callable[..., None]
) -> None:
    lifecycle.start(road.rule, SweepKind.SCRUB)
    held = slices.hold_one()
    assert held is not None
    error = ReplicationError(ErrorCode.SOURCE_UNREACHABLE, "it is away")
    slices.fail(held, error, gives_up=False)
    assert 3 < held_seconds(held.pk) <= 5
    limits(retry_cap_seconds=2)
    slices.fail(held, error, gives_up=False)
    assert held_seconds(held.pk) <= 2
