"""The brake of a rule: which deletes wait for a person, and what ends the wait."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from replication import jobs
from replication.errors import ErrorCode, ReplicationError
from replication.intake.matching import look_again
from replication.jobs import ClaimedJob, delete_brake
from replication.models import (
    CompletedMinute,
    DeletePermit,
    DeletePolicy,
    Job,
    JobState,
    Outcome,
    ReplicationRule,
    TransferAttempt,
    TransferJob,
)
from replication.monitoring.status import read_status
from replication.transfer.results import Completion
from sandbox.oss import Fault
from tests.support.examples import a_job, a_rule
from tests.support.held import confirm_all, held_keys
from tests.support.road import Road, work
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

DELETED = Completion(Outcome.DELETED)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(delete_policy=DeletePolicy.MIRROR, max_deletes_per_hour=3)


@pytest.fixture
def braking_road(make_road: Callable[..., Road]) -> Road:
    """A road whose rule permits two deletes an hour."""
    return make_road(delete_policy=DeletePolicy.MIRROR, max_deletes_per_hour=2)


def running(rule: ReplicationRule, count: int, *, since: str = "") -> list[ClaimedJob]:
    """Create and claim so many jobs of the rule."""
    for number in range(count):
        a_job(rule, f"{since}{number}-{uuid4()}")
    return jobs.claim(uuid4(), limit=count, lease_seconds=60)


def ask(rule: ReplicationRule, wanting: list[ClaimedJob]) -> list[ClaimedJob]:
    """The jobs that may delete; reads the rule anew, as a lane does now and then."""
    rule.refresh_from_db()
    permitted = delete_brake.ask([(job, rule) for job in wanting])
    return [job for job in wanting if job.id in permitted]


def is_braked(rule: ReplicationRule) -> bool:
    rule.refresh_from_db()
    return rule.braked_at is not None


def note_traffic(rule: ReplicationRule, *, jobs: int, deletes: int, minutes_ago: float) -> None:
    CompletedMinute.objects.create(
        rule=rule,
        minute=datetime.now(UTC) - timedelta(minutes=minutes_ago),
        jobs=jobs,
        copied_bytes=0,
        charged_deletes=deletes,
        lag_counts=[0] * 50,
    )


# -- when it brakes ----------------------------------------------------------------------------


def test_a_rule_without_a_limit_is_not_braked(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=None)
    assert len(ask(rule, running(rule, 50))) == 50
    assert not is_braked(rule)


def test_the_delete_that_exceeds_the_limit_brakes_the_rule(rule: ReplicationRule) -> None:
    assert len(ask(rule, running(rule, 3))) == 3
    assert not is_braked(rule)
    assert ask(rule, running(rule, 1)) == []
    assert is_braked(rule)


def test_with_a_limit_of_zero_each_delete_waits(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    assert ask(rule, running(rule, 1)) == []


def test_deletes_count_both_before_and_after_they_are_done(rule: ReplicationRule) -> None:
    first, second = ask(rule, running(rule, 2))
    jobs.complete([(first, DELETED)])
    error = ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE)
    assert jobs.retry_later(second, error) == JobState.PENDING  # it may still delete later
    assert len(ask(rule, running(rule, 2))) == 1


def test_one_permit_is_valid_for_all_attempts_of_a_job(rule: ReplicationRule) -> None:
    [job] = ask(rule, running(rule, 1))
    jobs.retry_later(job, ReplicationError(ErrorCode.DESTINATION_UNAVAILABLE))
    TransferJob.objects.update(available_at=Now())
    [again] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert ask(rule, [again]) == [again]
    assert len(ask(rule, running(rule, 3))) == 2


def test_a_permit_that_did_not_end_in_a_delete_does_not_count(rule: ReplicationRule) -> None:
    granted = ask(rule, running(rule, 3))
    jobs.complete([(job, Completion(Outcome.COPIED, size_bytes=1)) for job in granted])
    assert len(ask(rule, running(rule, 3))) == 3


def test_deletes_older_than_an_hour_do_not_count(rule: ReplicationRule) -> None:
    note_traffic(rule, jobs=3, deletes=3, minutes_ago=62)
    assert len(ask(rule, running(rule, 3))) == 3


def test_deletes_done_before_a_limit_was_set_count_towards_it(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=None)
    jobs.complete([(job, DELETED) for job in ask(rule, running(rule, 3))])
    ReplicationRule.objects.update(max_deletes_per_hour=3)
    assert ask(rule, running(rule, 1)) == []


@pytest.mark.parametrize(
    ("settled", "deletes", "asked", "granted"),
    [
        (0, 0, 99, 99),  # the percentage does not apply below a hundred jobs
        (0, 0, 100, 99),
        (90, 40, 10, 9),
        (90, 0, 20, 10),  # 10 of 100 are 10 percent, 11 of 101 are more
        (990, 99, 1, 0),
        (990, 98, 2, 1),
        (1000, 0, 64, 64),
    ],
)
def test_the_percentage_applies_from_the_hundredth_job_on(
    rule: ReplicationRule, settled: int, deletes: int, asked: int, granted: int
) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=None, max_delete_percent=10)
    if settled:
        note_traffic(rule, jobs=settled, deletes=deletes, minutes_ago=5)
    assert len(ask(rule, running(rule, asked))) == granted
    assert is_braked(rule) == (granted < asked)


def test_deletes_of_other_rules_do_not_count(rule: ReplicationRule) -> None:
    other = a_rule("other", max_deletes_per_hour=1)
    assert len(ask(rule, running(rule, 3))) == 3
    assert len(ask(other, running(other, 1))) == 1


def test_all_lanes_together_are_granted_no_more_than_the_limit(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=50)
    rule.refresh_from_db()
    shares = [running(rule, 20) for _ in range(6)]

    def asker(share: list[ClaimedJob]) -> Callable[[], int]:
        def ask_in_pieces() -> int:
            granted = 0
            for job in share:
                permitted = delete_brake.ask([(job, rule)])
                if permitted:
                    jobs.complete([(job, DELETED)])
                granted += len(permitted)
            return granted

        return ask_in_pieces

    assert sum(at_once(*map(asker, shares))) == 50
    assert is_braked(rule)


# -- what waits --------------------------------------------------------------------------------


def test_a_held_job_is_pending_and_never_claimed_and_keeps_its_attempts(
    rule: ReplicationRule,
) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    [job] = running(rule, 1)
    assert ask(rule, [job]) == []
    assert jobs.await_confirmation([job]) == {job.id: JobState.PENDING}
    assert jobs.claim(uuid4(), limit=1, lease_seconds=60) == []
    row = Job.objects.get()
    assert (row.attempt, row.delete_permit) == (0, DeletePermit.AWAITED)
    assert not TransferAttempt.objects.exists()


def test_a_job_that_is_not_ours_any_more_is_not_held(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    [job] = running(rule, 1)
    ask(rule, [job])
    assert jobs.hand_over(job)
    [again] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert jobs.await_confirmation([job]) == {}  # the attempt is the same, but the claim is another
    assert Job.objects.get(id=again.id).state == JobState.RUNNING


def test_a_job_is_superseded_instead_of_held_if_its_key_has_a_pending_job(
    rule: ReplicationRule,
) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    [job] = running(rule, 1)
    ask(rule, [job])
    look_again(rule, [job.key])
    old = Job.objects.get(id=job.id).event_at
    assert jobs.await_confirmation([job]) == {job.id: JobState.SUPERSEDED}
    waiting = Job.objects.get(state=JobState.PENDING)
    assert (waiting.event_at, waiting.delete_permit) == (old, DeletePermit.NONE)


def test_a_job_that_is_held_after_a_confirmation_is_due_at_once(
    rule: ReplicationRule,
) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    [job] = running(rule, 1)
    assert ask(rule, [job]) == []
    assert confirm_all(rule) == 0
    jobs.await_confirmation([job])
    assert len(jobs.claim(uuid4(), limit=1, lease_seconds=60)) == 1


def test_confirmed_deletes_do_not_count_towards_the_next_brake(rule: ReplicationRule) -> None:
    granted, wanting = ask(rule, running(rule, 3)), running(rule, 5)
    jobs.complete([(job, DELETED) for job in granted])
    assert ask(rule, wanting) == []
    jobs.await_confirmation(wanting)
    confirm_all(rule)
    again = jobs.claim(uuid4(), limit=20, lease_seconds=60)
    assert len(ask(rule, again)) == 5
    jobs.complete([(job, DELETED) for job in again])
    assert len(ask(rule, running(rule, 3))) == 3


def test_a_held_job_can_be_cancelled(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    [job] = running(rule, 1)
    ask(rule, [job])
    jobs.await_confirmation([job])
    assert jobs.cancel(TransferJob.objects.all()) == 1
    assert held_keys(rule) == set()


def test_a_failed_job_that_is_retried_asks_again(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=1)
    [job] = ask(rule, running(rule, 1))
    jobs.fail(job, ReplicationError(ErrorCode.DESTINATION_REFUSED))
    [other] = ask(rule, running(rule, 1))
    jobs.complete([(other, DELETED)])
    jobs.retry(TransferJob.objects.filter(id=job.id))
    [again] = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    assert ask(rule, [again]) == []


# -- from end to end ---------------------------------------------------------------------------


def delete(road: Road, *keys: str) -> None:
    for key in keys:
        road.s3.delete_object(Bucket=road.source.bucket, Key=key)


def replicas(road: Road, *keys: str) -> set[str]:
    return {key for key in keys if road.replica(key) is not None}


def test_deletes_beyond_the_limit_wait_and_copies_go_on(braking_road: Road) -> None:
    road, keys = braking_road, [f"{number}" for number in range(6)]
    for key in keys:
        road.put(key)
    work()
    delete(road, *keys)
    work()
    assert len(replicas(road, *keys)) == 4
    assert held_keys(road.rule) == replicas(road, *keys)
    road.put("new")
    work()
    assert road.replica("new") == b"content"
    delete(road, "new")
    work()
    assert road.replica("new") == b"content"
    assert not any(job.tries for job in Job.objects.all())

    [problem] = [p for p in read_status().problems if p.code == "deletes_braked"]
    assert "5 deletes waiting" in problem.detail
    numbers = read_status().rules[0].jobs
    assert (numbers.pending, numbers.deletes_held) == (5, 5)
    assert numbers.oldest_pending_seconds is None  # the rule is not late: it waits for a person


def test_confirmed_deletes_are_done_and_the_count_starts_anew(braking_road: Road) -> None:
    road, keys = braking_road, [f"{number}" for number in range(10)]
    for key in keys:
        road.put(key)
    work()
    delete(road, *keys[:6])
    work()
    assert confirm_all(road.rule) == 4
    work()
    assert replicas(road, *keys) == set(keys[6:])
    assert not is_braked(road.rule)
    delete(road, *keys[6:])
    work()
    assert len(replicas(road, *keys)) == 2
    assert is_braked(road.rule)


def test_a_held_key_that_comes_back_is_copied_at_once_and_not_deleted_later(
    braking_road: Road,
) -> None:
    road, keys = braking_road, [f"{number}" for number in range(4)]
    for key in keys:
        road.put(key, b"old")
    work()
    delete(road, *keys)
    work()
    back = sorted(held_keys(road.rule))[0]
    road.put(back, b"new")
    work()
    assert road.replica(back) == b"new"
    assert confirm_all(road.rule) == 1
    work()
    assert replicas(road, *keys) == {back}


def test_another_event_of_a_held_key_that_is_still_gone_leaves_it_held(braking_road: Road) -> None:
    road = braking_road
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    road.put("a")
    work()
    delete(road, "a")
    work()
    look_again(road.rule, ["a"])
    work()
    assert held_keys(road.rule) == {"a"}
    assert road.replica("a") == b"content"


def test_a_delete_that_fails_at_first_is_counted_once(braking_road: Road) -> None:
    road = braking_road
    for key in "ab":
        road.put(key)
    work()
    road.oss.add_fault(Fault(operation="DeleteObject", times=3, status=503, code="InternalError"))
    delete(road, "a", "b")
    while Job.objects.filter(state=JobState.PENDING).exists() or replicas(road, "a", "b"):
        work()
        TransferJob.objects.filter(state=JobState.PENDING).update(available_at=Now())
        assert not is_braked(road.rule)


# -- in the admin ------------------------------------------------------------------------------


def brake_with_one_delete(road: Road) -> None:
    ReplicationRule.objects.update(max_deletes_per_hour=0)
    road.put("a")
    work()
    delete(road, "a")
    work()


def test_held_jobs_are_listed_and_say_why_they_wait(
    braking_road: Road, admin_client: Client
) -> None:
    brake_with_one_delete(braking_road)
    job = Job.objects.get(delete_permit=DeletePermit.AWAITED)
    listed = admin_client.get("/admin/replication/transferjob/?state=held").content.decode()
    assert f"/admin/replication/transferjob/{job.pk}/change/" in listed
    page = admin_client.get(f"/admin/replication/transferjob/{job.pk}/change/").content.decode()
    assert "Its replica was not deleted" in page
    assert "1 delete waiting" in admin_client.get("/admin/").content.decode()
