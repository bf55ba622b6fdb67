"""A change that a sweep mends is called lost if, and only if, no event told of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from replication.models import FindingState, SweepFinding, SweepKind
from replication.sweep import causes, lifecycle, settling
from tests.support.road import Road, work
from tests.support.sweeping import carry_on, later

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def recent(road: Road) -> SweepFinding:
    """A change of a moment ago, whose event may still come; a backfill has ordered it."""
    road.put("key")
    lifecycle.start(road.rule, SweepKind.BACKFILL, mends=True)
    carry_on()
    finding = SweepFinding.objects.get()
    assert (finding.cause, finding.is_ordered) == ("recent", True)
    return finding


def lose_events(road: Road) -> None:
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)


def settle(finding: SweepFinding) -> None:
    later()
    carry_on()
    finding.refresh_from_db()


def test_a_recent_change_is_lost_if_its_event_has_not_come_by_the_second_look(
    road: Road, recent: SweepFinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_events(road)
    work()
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    settle(recent)
    assert (recent.cause, recent.state) == ("lost", FindingState.MENDED)
    assert recent.sweep.lost == 1


def test_a_recent_change_is_not_yet_lost_within_the_grace(road: Road, recent: SweepFinding) -> None:
    lose_events(road)
    work()
    settle(recent)
    assert (recent.cause, recent.state) == ("recent", FindingState.MENDED)


def test_a_recent_change_whose_event_comes_is_not_lost(
    road: Road, recent: SweepFinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    work()
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    settle(recent)
    assert recent.state == FindingState.GONE
    assert recent.sweep.lost == 0


def test_an_event_that_comes_when_its_version_is_overwritten_is_not_lost(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job sees the version after it, and is not the last one of the key."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    road.put("key", b"first")
    lifecycle.start(road.rule, SweepKind.SCRUB, mends=True)
    carry_on()
    finding = SweepFinding.objects.get()
    assert finding.cause == "lost"
    road.put("key", b"second")
    work()
    road.put("key", b"third")
    work()
    settle(finding)
    assert finding.state == FindingState.GONE


def test_a_lost_event_is_told_though_the_key_is_announced_later(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    road.put("key", b"first")
    lose_events(road)
    lifecycle.start(road.rule, SweepKind.SCRUB, mends=True)
    carry_on()
    work()
    finding = SweepFinding.objects.get()
    SweepFinding.objects.update(source_modified="2020-01-01T00:00:00+00:00")
    road.put("key", b"second")
    work()
    settle(finding)
    assert (finding.cause, finding.state) == ("lost", FindingState.MENDED)


def test_of_two_workers_that_look_at_a_key_the_one_that_took_it_last_settles_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "GRACE", timedelta(0))
    road.put("key")
    lose_events(road)
    sweep = lifecycle.start(road.rule, SweepKind.SCRUB, mends=True)
    carry_on()
    work()
    took = []
    for _ in range(2):
        later()
        took.append(settling._take_due(sweep))
    with ThreadPoolExecutor() as lookers:
        for found in took:
            settling._look_again(sweep, found, lookers)
            settling._look_again(sweep, found, lookers)
    sweep.refresh_from_db()
    assert sweep.lost == 1
