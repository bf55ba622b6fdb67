"""A job runs under its rule as the rule is now, not as it was when the job was made or claimed."""

from collections.abc import Callable

import pytest

from replication.intake.matching import KeysOutsideRule, look_again
from replication.models import (
    Circuit,
    DeletePolicy,
    Job,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
)
from replication.worker import capacity, transfers
from sandbox.oss import Fault
from tests.support.lanes import lanes
from tests.support.looking import look_at
from tests.support.pollers import poll_until_empty
from tests.support.processes import eventually
from tests.support.road import Road, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def only_versions_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane reads its rules once; after that, only the version of a claim tells it of a change."""
    monkeypatch.setattr(capacity, "RULES_SECONDS", 3600)
    monkeypatch.setattr(transfers, "CHECK_RULES_SECONDS", 3600)


def change(road: Road, **fields: object) -> None:
    ReplicationRule.objects.filter(pk=road.rule.pk).update(**fields)
    road.rule.refresh_from_db()


def completed(count: int) -> Callable[[], bool]:
    return lambda: Job.objects.filter(state=JobState.COMPLETED).count() == count


def outcomes() -> dict[str, str | None]:
    """The outcome of each key's last job."""
    return dict(Job.objects.order_by("id").values_list("key", "outcome"))


# -- changed before the job runs ---------------------------------------------------------------


def test_an_object_that_changes_right_after_the_prefix_goes_to_the_new_place(road: Road) -> None:
    with lanes():
        road.put("a", b"v1")
        look_again(road.rule, ["a"])
        eventually(completed(1))
        change(road, destination_prefix="new/")
        road.put("a", b"v2")
        look_again(road.rule, ["a"])
        eventually(completed(2))
    assert road.replica("new/a") == b"v2"
    assert road.replica("a") == b"v1"


def test_a_replica_is_kept_once_the_rule_says_so(make_road: Callable[..., Road]) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    with lanes():
        road.put("a")
        look_again(road.rule, ["a"])
        eventually(completed(1))
        change(road, delete_policy=DeletePolicy.KEEP)
        road.s3.delete_object(Bucket=road.source.bucket, Key="a")
        look_again(road.rule, ["a"])
        eventually(completed(2))
    assert outcomes() == {"a": Outcome.ABSENT}
    assert road.replica("a") == b"content"


def test_a_waiting_job_whose_key_is_excluded_meanwhile_copies_nothing(road: Road) -> None:
    road.put("private/salaries.csv")
    road.put("public/a")
    with lanes():
        look_again(road.rule, ["public/a"])
        eventually(completed(1))  # the lane knows the rule as it was
        change(road, paused_at="2026-01-01T00:00:00Z")
        poll_until_empty(road.queue)
        change(road, paused_at=None, exclude="private/**")
        eventually(completed(3))
    assert outcomes()["private/salaries.csv"] == Outcome.UNWANTED
    assert road.replica("private/salaries.csv") is None


def test_a_waiting_job_outside_the_new_prefix_copies_nothing(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(source_prefix="photos/", strip_source_prefix=True)
    road.put("photos/a")
    look_again(road.rule, ["photos/a"])
    change(road, source_prefix="documents/")
    work()
    assert outcomes() == {"photos/a": Outcome.UNWANTED}
    assert road.oss.requests(operation="PutObject") == []


# -- changed while the job runs ----------------------------------------------------------------


def test_a_write_under_way_is_broken_off_when_its_rule_changes(road: Road) -> None:
    road.put("a", b"x" * 8_000_000)
    road.oss.add_fault(Fault(operation="PutObject", bytes_per_second=1_000_000))
    with lanes():
        look_again(road.rule, ["a"])
        eventually(Job.objects.filter(state=JobState.RUNNING).exists)
        change(road, destination_prefix="new/")
        eventually(completed(1))
    assert road.replica("new/a") == b"x" * 8_000_000
    assert road.replica("a") is None
    job = Job.objects.get()
    assert (job.attempt, job.error_code) == (0, "")


def test_what_was_written_under_the_old_version_is_looked_at_once_more(road: Road) -> None:
    road.put("a")
    road.oss.add_fault(Fault(operation="PutObject", hold=True, when="after"))
    with lanes():
        look_again(road.rule, ["a"])
        eventually(lambda: road.oss.held_requests == 1)
        change(road, destination_prefix="new/")
        road.oss.clear_faults()
        eventually(completed(2))
    assert road.replica("new/a") == b"content"
    last = Job.objects.latest("id")
    assert (last.origin, last.outcome) == (JobOrigin.RULE_CHANGED, Outcome.COPIED)


def test_a_refusal_under_the_old_version_fails_nothing(road: Road) -> None:
    road.put("a", Metadata={"snake_case": "refused by OSS"})
    road.oss.add_fault(Fault(operation="PutObject", hold=True, status=403, code="AccessDenied"))
    change(road, metadata_policy="drop")
    with lanes():
        look_again(road.rule, ["a"])
        eventually(lambda: road.oss.held_requests == 1)
        change(road, acl="private")
        road.oss.clear_faults()
        eventually(completed(1))
    job = Job.objects.get()
    assert (job.outcome, job.attempt) == (Outcome.COPIED, 0)
    assert not Circuit.objects.exists()


def test_no_replica_is_deleted_under_a_version_that_ended_between_look_and_delete(
    make_road: Callable[..., Road], monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(delete_policy=DeletePolicy.MIRROR)
    road.put("a")
    look_at(road, "a")
    road.s3.delete_object(Bucket=road.source.bucket, Key="a")
    asked = capacity.Rulebook.of

    def of(self: capacity.Rulebook, rule_id: int) -> ReplicationRule:
        """The lane has its answer of the source when somebody changes the rule."""
        rule = asked(self, rule_id)
        ReplicationRule.objects.filter(delete_policy=DeletePolicy.MIRROR).update(
            delete_policy=DeletePolicy.KEEP
        )
        return rule

    monkeypatch.setattr(capacity.Rulebook, "of", of)
    look_again(road.rule, ["a"])
    with lanes():
        eventually(completed(2))
    assert outcomes() == {"a": Outcome.ABSENT}
    assert road.replica("a") == b"content"


# -- what a person asks for --------------------------------------------------------------------


def test_a_key_outside_the_prefix_is_made_no_job(make_road: Callable[..., Road]) -> None:
    """Without its prefix, `a.jpg` would have the replica of `photos/a.jpg`, which exists."""
    road = make_road(
        source_prefix="photos/", strip_source_prefix=True, delete_policy=DeletePolicy.MIRROR
    )
    road.put("photos/a.jpg")
    look_at(road, "photos/a.jpg")
    with pytest.raises(KeysOutsideRule, match=f"rule {road.rule.name} is for keys that begin with"):
        look_again(road.rule, ["photos/b.jpg", "a.jpg"])
    assert Job.objects.count() == 1
    assert road.replica("a.jpg") == b"content"


def test_an_excluded_key_that_a_person_asks_for_is_copied_but_never_deleted(
    make_road: Callable[..., Road],
) -> None:
    road = make_road(exclude="*.tmp", delete_policy=DeletePolicy.MIRROR)
    road.put("a.tmp")
    assert look_at(road, "a.tmp").outcome == Outcome.COPIED
    road.s3.delete_object(Bucket=road.source.bucket, Key="a.tmp")
    assert look_at(road, "a.tmp").outcome == Outcome.ABSENT
    assert road.replica("a.tmp") == b"content"
