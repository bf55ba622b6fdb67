"""What a sweep had copied before it ended early is still told, and nothing more is done for it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from replication.models import (
    DeletePermit,
    DeletePolicy,
    FindingState,
    Job,
    JobState,
    ReplicationRule,
    Sweep,
    SweepFinding,
    TransferJob,
)
from replication.sweep import causes, lifecycle
from tests.support.road import Road, work
from tests.support.sweeping import carry_on, later, scrub

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just changed counts too."""
    monkeypatch.setattr(causes, "GRACE", timedelta(0))


@pytest.fixture
def ordered(road: Road) -> SweepFinding:
    """A lost event that a scrub has found; its job waits."""
    road.put("lost")
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    return scrub().findings.get()


def look_again(finding: SweepFinding) -> None:
    later()
    carry_on()
    finding.refresh_from_db()


def test_a_lost_event_is_told_though_its_sweep_was_cancelled(
    road: Road, ordered: SweepFinding, limits: Callable[..., None]
) -> None:
    limits(scrub_days=0)
    lifecycle.cancel(Sweep.objects.all())
    work()
    assert lifecycle.is_due()
    look_again(ordered)
    assert (ordered.cause, ordered.state) == ("lost", FindingState.MENDED)
    assert ordered.sweep.lost == 1
    assert not lifecycle.is_due()


def test_a_lost_event_is_told_though_its_rule_was_changed(
    road: Road, ordered: SweepFinding
) -> None:
    ReplicationRule.objects.update(exclude="*.tmp")
    lifecycle.restart_if_changed(ordered.sweep)
    work()
    look_again(ordered)
    assert (ordered.cause, ordered.state) == ("lost", FindingState.MENDED)


def test_a_cancelled_sweep_orders_no_more(road: Road, ordered: SweepFinding) -> None:
    lifecycle.cancel(Sweep.objects.all())
    work()
    road.replicas.delete_object("lost")
    look_again(ordered)
    assert (ordered.cause, ordered.state) == ("lost", FindingState.CONFIRMED)
    assert not Job.objects.filter(state=JobState.PENDING).exists()


def test_what_a_cancelled_sweep_has_only_seen_is_looked_at_no_more(
    road: Road, ordered: SweepFinding
) -> None:
    SweepFinding.objects.update(is_ordered=False)
    lifecycle.cancel(Sweep.objects.all())
    work()
    look_again(ordered)
    assert ordered.state == FindingState.SEEN


@pytest.mark.parametrize("ends_early", [False, True])
def test_a_lost_event_is_told_though_the_key_s_delete_awaits_a_person(
    road: Road, limits: Callable[..., None], ends_early: bool
) -> None:
    """Nobody may come for days; the sweep, and who reads its report, need not wait."""
    ReplicationRule.objects.update(delete_policy=DeletePolicy.MIRROR)
    road.put("a")
    work()
    road.put("a", b"changed")
    road.aws.client("sqs").purge_queue(QueueUrl=road.queue.url)
    finding = scrub().findings.get()
    limits(scrub_days=0)
    # Before the job that was ordered looks, the object is deleted, and the brake holds its delete.
    road.s3.delete_object(Bucket=road.source.bucket, Key="a")
    TransferJob.objects.update(delete_permit=DeletePermit.AWAITED)
    if ends_early:
        lifecycle.cancel(Sweep.objects.all())
    look_again(finding)
    assert (finding.cause, finding.state) == ("lost", FindingState.CONFIRMED)
    assert finding.verdict == "extra"
    assert not lifecycle.is_due()
    assert not Job.objects.exclude(delete_permit=DeletePermit.AWAITED).filter(
        state=JobState.PENDING
    )


@pytest.mark.parametrize("ends_early", [False, True])
def test_a_lost_event_is_told_though_the_rule_leaves_its_key_out_by_now(
    road: Road, ordered: SweepFinding, limits: Callable[..., None], ends_early: bool
) -> None:
    limits(scrub_days=0)
    if ends_early:
        lifecycle.cancel(Sweep.objects.all())
    work()
    ReplicationRule.objects.update(exclude="lost")
    look_again(ordered)
    assert (ordered.cause, ordered.state) == ("lost", FindingState.CONFIRMED)
    assert ordered.verdict == "left out"
    assert (ordered.sweep.lost, ordered.sweep.missing, ordered.sweep.left_out) == (1, 0, 1)
    assert not lifecycle.is_due()
