"""Only replicas that are known to be of the rule are deleted; all others wait for a person."""

from collections.abc import Callable

import pytest

from replication.intake.matching import look_again
from replication.jobs import held_deletes
from replication.models import (
    DeletePermit,
    DeletePolicy,
    HoldReason,
    Job,
    JobState,
    Outcome,
    ReplicationRule,
    UnmarkedPolicy,
)
from replication.monitoring.status import read_status
from replication.operations import confirmations
from replication.operations.audit import command_line_actor
from replication.operations.confirmations import Seen
from tests.support.looking import look_at
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)

FOREIGN = b"written by another program"


@pytest.fixture
def road(make_road: Callable[..., Road]) -> Road:
    return make_road(delete_policy=DeletePolicy.MIRROR)


def metadata(road: Road, key: str) -> dict[str, str]:
    headers = road.replicas.head_object(key).headers
    prefix = "x-oss-meta-"
    return {
        name.lower().removeprefix(prefix): value
        for name, value in headers.items()
        if name.lower().startswith(prefix)
    }


def is_held(job: Job, reason: HoldReason) -> bool:
    return (job.state, job.delete_permit, job.hold_reason) == (
        JobState.PENDING,
        DeletePermit.AWAITED,
        reason,
    )


def confirm(rule: ReplicationRule) -> None:
    """Confirm what a page shows now."""
    shown = held_deletes.read(rule.pk)
    confirmation = confirmations.begin(rule, Seen(shown.count, shown.last), by=command_line_actor())
    while not confirmations.progress(confirmation).is_complete:
        confirmations.go_on(confirmation)


def test_a_replica_names_its_source(road: Road) -> None:
    road.put("a b/图")
    look_at(road, "a b/图")
    assert metadata(road, "a b/图")["s3sync-source"] == f"{road.source.bucket}/a%20b/%E5%9B%BE"


def test_our_replica_is_deleted_by_one_head_and_one_delete(road: Road) -> None:
    road.put("a")
    look_at(road, "a")
    assert [each.operation for each in road.oss.requests()] == ["PutObject"]
    road.s3.delete_object(Bucket=road.source.bucket, Key="a")
    assert look_at(road, "a").outcome == Outcome.DELETED
    assert [each.operation for each in road.oss.requests()][1:] == ["HeadObject", "DeleteObject"]


def test_a_file_of_another_program_is_kept_until_a_person_confirms(road: Road) -> None:
    road.replicas.put_object("report.pdf", FOREIGN)
    job = look_at(road, "report.pdf")
    assert is_held(job, HoldReason.UNMARKED)
    assert road.replica("report.pdf") == FOREIGN
    assert road.oss.requests(operation="DeleteObject") == []
    [problem] = [each for each in read_status().problems if each.code == "deletes_held"]
    assert road.rule.name in problem.detail

    confirm(road.rule)
    work()
    assert Job.objects.get().outcome == Outcome.DELETED
    assert road.replica("report.pdf") is None


def test_a_replica_of_another_object_is_kept(road: Road) -> None:
    road.replicas.put_object("a", FOREIGN, headers={"x-oss-meta-s3sync-source": "another/a"})
    assert is_held(look_at(road, "a"), HoldReason.OTHER_MARK)
    assert road.replica("a") == FOREIGN


def test_an_event_that_brings_the_object_back_ends_the_hold(road: Road) -> None:
    road.replicas.put_object("a", FOREIGN)
    look_at(road, "a")
    road.put("a", b"ours")
    work()
    assert road.replica("a") == b"ours"
    job = Job.objects.get()
    assert (job.outcome, job.delete_permit) == (Outcome.COPIED, DeletePermit.NONE)


def test_a_replica_of_an_earlier_version_is_known_by_the_record_of_its_copy(road: Road) -> None:
    road.put("a")
    look_at(road, "a")
    unmarked = metadata(road, "a")
    del unmarked["s3sync-source"]
    headers = {f"x-oss-meta-{name}": value for name, value in unmarked.items()}
    road.replicas.put_object("a", b"content", headers=headers)  # with the ETag that it had
    road.s3.delete_object(Bucket=road.source.bucket, Key="a")
    assert look_at(road, "a").outcome == Outcome.DELETED


def test_a_rule_may_say_that_replicas_without_a_mark_are_its_own(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR, unmarked_policy=UnmarkedPolicy.DELETE)
    road.replicas.put_object("a", b"the first copy, by another tool")
    road.replicas.put_object("b", FOREIGN, headers={"x-oss-meta-s3sync-source": "another/b"})
    assert look_at(road, "a").outcome == Outcome.DELETED
    assert is_held(look_at(road, "b"), HoldReason.OTHER_MARK)


def test_a_large_replica_without_a_mark_is_not_copied_again(
    road: Road, limits: Callable[..., None]
) -> None:
    """The first look after an upgrade must not copy every large object once more."""
    limits(multipart_threshold_bytes=1024**2, multipart_chunksize_bytes=1024**2)
    content = bytes(2 * 1024**2)
    road.put("a", content)
    look_again(road.rule, ["a"])
    work()
    kept = metadata(road, "a")
    del kept["s3sync-source"]
    headers = {f"x-oss-meta-{name}": value for name, value in kept.items()}
    headers["Content-Type"] = road.replicas.head_object("a").headers["Content-Type"]
    road.replicas.put_object("a", content, headers=headers)
    look_again(road.rule, ["a"])
    work()
    assert Job.objects.latest("id").outcome == Outcome.UNCHANGED
