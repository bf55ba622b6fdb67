"""Which jobs a claim chooses from many rules, alone and beside other lanes."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from replication import jobs
from replication.jobs import PRIORITY_BULK, PRIORITY_EVENT, PRIORITY_SWEEP, ClaimedJob, Turns
from replication.jobs import turns as turns_module
from replication.jobs.choosing import claim_statement
from replication.models import (
    DeletePermit,
    Destination,
    JobOrigin,
    JobState,
    Outcome,
    ReplicationRule,
    Source,
    TransferJob,
)
from replication.transfer.results import Completion
from tests.support.examples import a_job
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

LANES = 4


@pytest.fixture(autouse=True, params=["quick", "slow"])
def speed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test is run as if claims were quick, and as if each of them were slow for long."""
    is_slow = request.param == "slow"
    monkeypatch.setattr(turns_module, "SLOW_SECONDS", 0.0 if is_slow else math.inf)
    monkeypatch.setattr(turns_module, "REST", math.inf)
    monkeypatch.setattr(turns_module, "REST_SECONDS_AT_MOST", math.inf)
    return str(request.param)


def make_rules(count: int, *, destinations: int = 1) -> list[ReplicationRule]:
    targets = Destination.objects.bulk_create(
        Destination(name=f"{n}", bucket=f"to-{n}", endpoint="https://oss-cn-hangzhou.aliyuncs.com")
        for n in range(destinations)
    )
    sources = Source.objects.bulk_create(
        Source(name=f"{n}", bucket=f"from-{n}", region="ap-east-1") for n in range(count)
    )
    return ReplicationRule.objects.bulk_create(
        ReplicationRule(
            name=f"{n:04}",
            source=source,
            destination=targets[n % destinations],
            destination_prefix=f"{n}/",
        )
        for n, source in enumerate(sources)
    )


def make_jobs(rules: list[ReplicationRule], count: int, *, priority: int = PRIORITY_EVENT) -> None:
    """So many due jobs for each rule."""
    now = datetime.now(UTC)
    TransferJob.objects.bulk_create(
        TransferJob(
            rule=rule,
            key=f"{priority}/{number:05}",
            origin=JobOrigin.EVENT,
            priority=priority,
            attempt_limit=10,
            event_at=now,
            enqueued_at=now,
            available_at=now - timedelta(seconds=count - number),
        )
        for rule in rules
        for number in range(count)
    )


def claim(limit: int, turns: Turns | None = None, **options: Any) -> list[ClaimedJob]:
    return jobs.claim(uuid4(), limit=limit, lease_seconds=60, turns=turns, **options)


def by_rule(claimed: list[ClaimedJob]) -> Counter[int]:
    return Counter(job.rule_id for job in claimed)


# -- turns -------------------------------------------------------------------------------------


def test_claims_for_one_job_serve_one_rule_after_the_other() -> None:
    """A huge backlog, all of it older, does not starve the others."""
    rules = make_rules(5)
    make_jobs(rules[:1], 500)
    make_jobs(rules[1:], 3)
    turns = Turns()
    for _ in range(3):
        served = {job.rule_id for _ in rules for job in claim(1, turns)}
        assert served == {rule.pk for rule in rules}


def test_a_lane_that_serves_few_rules_at_a_time_serves_all_before_one_again() -> None:
    rules = make_rules(100)
    make_jobs(rules[:1], 500)
    make_jobs(rules[1:], 2)
    turns = Turns()
    first_round = [job for _ in range(10) for job in claim(10, turns)]
    assert by_rule(first_round) == {rule.pk: 1 for rule in rules}
    second_round = [job for _ in range(10) for job in claim(10, turns)]
    assert by_rule(second_round) == {rule.pk: 1 for rule in rules}
    assert by_rule(claim(10, turns)) == {rules[0].pk: 10}  # nothing else is left


@pytest.mark.parametrize("limit", [1, 4, 7, 16])
def test_over_several_claims_all_rules_get_the_same(limit: int) -> None:
    rules = make_rules(3)
    make_jobs(rules, 100)
    turns = Turns()
    served: Counter[int] = Counter()
    for _ in range(6):
        served += by_rule(claim(limit, turns))
        assert (
            served.total() == 0
            or max(served.values()) - min(served[rule.pk] for rule in rules) <= 1
        )


def test_an_interruption_by_events_does_not_move_the_turn_of_a_backlog() -> None:
    rules = make_rules(6)
    make_jobs(rules, 10, priority=PRIORITY_SWEEP)
    turns, served = Turns(), Counter[int]()
    for number in range(6):
        a_job(rules[0], f"event/{number}")
        event, *rest = claim(2, turns)
        assert event.key == f"event/{number}"
        served += by_rule(rest)
    assert served == {rule.pk: 1 for rule in rules}


def test_what_one_rule_lacks_the_others_get() -> None:
    few, many, limited = make_rules(3)
    make_jobs([few], 2)
    make_jobs([many, limited], 50)
    claimed = by_rule(claim(20, room={few.pk: 24, many.pk: 24, limited.pk: 3}))
    assert claimed == {few.pk: 2, many.pk: 15, limited.pk: 3}


def test_lanes_begin_at_different_rules() -> None:
    rules = make_rules(40)
    make_jobs(rules, 3)
    room = {rule.pk: 24 for rule in rules}
    began = {claim(1, Turns(), room=room)[0].rule_id for _ in range(20)}
    assert len(began) > 2  # all the same: once in 10^30


def test_a_slow_claim_is_followed_by_some_that_begin_where_it_got(speed: str) -> None:
    [rule] = make_rules(1)
    make_jobs([rule], 30)
    turns = Turns()
    claim(10, turns)
    a_job(rule, "came late", available_at=datetime.now(UTC) - timedelta(hours=1))
    passed_over = [job.key for job in claim(10, turns)]
    assert ("came late" in passed_over) == (speed == "quick")
    rest = claim(20, turns)
    assert (len(rest), turns.may_have_missed) == ((11, False) if speed == "quick" else (10, True))
    assert [job.key for job in claim(20, turns)] == ([] if speed == "quick" else ["came late"])


def test_a_claim_that_begins_where_another_got_is_not_empty_while_jobs_are_due() -> None:
    [rule] = make_rules(1)
    make_jobs([rule], 3)
    turns = Turns()
    claim(3, turns)
    a_job(rule, "came late", available_at=datetime.now(UTC) - timedelta(hours=1))
    assert [job.key for job in claim(3, turns)] == ["came late"]


@pytest.mark.parametrize("speed", ["slow"], indirect=True)  # quick claims read it: it is little
def test_what_ran_beside_an_open_snapshot_is_not_read_again() -> None:
    [rule] = make_rules(1)
    make_jobs([rule], 640)
    turns = Turns()

    def index_entries_read() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes "
                "WHERE relname = 'replication_transferjob'"
            )
            return int(cursor.fetchone()[0])

    reader = connection.copy("reader")
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT FROM replication_replicationrule")
        read = [index_entries_read()]
        while claimed := claim(16, turns):
            completed = jobs.complete([(job, Completion(Outcome.COPIED)) for job in claimed])
            assert len(completed) == 16
            read.append(index_entries_read())
    finally:
        reader.close()
    cost = [after - before for before, after in pairwise(read)]
    assert cost[-2] < 2 * cost[2] < 1000


# -- priority ----------------------------------------------------------------------------------


def test_events_of_any_rule_go_before_all_sweeps() -> None:
    rules = make_rules(30)
    make_jobs(rules, 5, priority=PRIORITY_SWEEP)
    turns = Turns()
    for rule in (rules[29], rules[0], rules[14]):
        claim(10, turns)
        a_job(rule, "event")
        [event, *rest] = claim(5, turns)
        assert (event.rule_id, event.key) == (rule.pk, "event")
        assert len(rest) == 4


def test_a_backlog_of_higher_priority_leaves_nothing_for_a_lower_one() -> None:
    busy, *rest = make_rules(20)
    make_jobs([busy], 30, priority=PRIORITY_BULK)
    make_jobs(rest, 2, priority=PRIORITY_SWEEP)
    assert by_rule(claim(16)) == {busy.pk: 16}
    claimed = by_rule(claim(16))
    assert claimed[busy.pk] == 14
    assert claimed.total() == 16


def test_a_rule_whose_jobs_can_not_run_keeps_no_other_out() -> None:
    waiting, paused, held, running, large, free = make_rules(6)
    make_jobs([waiting, paused, held, running, large, free], 3)
    TransferJob.objects.filter(rule=waiting).update(available_at=Now() + timedelta(seconds=60))
    ReplicationRule.objects.filter(pk=paused.pk).update(paused_at=Now())
    TransferJob.objects.filter(rule=held).update(delete_permit=DeletePermit.AWAITED)
    for key in TransferJob.objects.filter(rule=running).values_list("key", flat=True):
        a_job(running, key, state=JobState.RUNNING)
    TransferJob.objects.filter(rule=large).update(size_bytes=10)
    assert by_rule(claim(20, known_bytes_at_most=9)) == {free.pk: 3}


def test_a_limited_destination_keeps_no_other_out() -> None:
    """The first rules that are visited could fill the claim, but not their destination."""
    rules = make_rules(40, destinations=2)
    make_jobs(rules, 5)
    limited = rules[0].destination_id
    Destination.objects.filter(pk=limited).update(width=3, width_at=Now())
    claimed = claim(20)
    assert len(claimed) == 20
    to_limited = [job for job in claimed if (job.rule_id - rules[0].pk) % 2 == 0]
    assert 3 <= len(to_limited) <= 4  # the width grows with time


def test_a_claim_reads_as_many_rules_as_it_needs() -> None:
    rules = make_rules(300)
    make_jobs(rules, 2)
    parameters: dict[str, Any] = {
        "limit": 8,
        "choice": 8,
        "lane": uuid4(),
        "lease": 60,
        "room": "{}",
        "after": json.dumps({PRIORITY_EVENT: rules[100].pk}),
        "begin": 0,
        "only": [],
        "bytes": None,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + claim_statement(is_probe=False), parameters
        )
        plan = cursor.fetchone()[0]
    visits = [node["Actual Rows"] for node in _nodes(plan[0]["Plan"]) if _is_visit(node)]
    assert visits == [10]  # eight rules, and where the walk and the priority begin


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _is_visit(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Recursive Union"


def test_a_claim_locks_only_the_jobs_that_it_takes() -> None:
    rules = make_rules(20)
    make_jobs(rules, 10)

    def count_unlocked() -> int:
        with transaction.atomic():
            return len(TransferJob.objects.select_for_update(skip_locked=True))

    with transaction.atomic():
        assert len(claim(16)) == 16
        assert at_once(count_unlocked) == [200 - 16]


# -- several lanes -----------------------------------------------------------------------------


def test_no_claim_is_empty_while_jobs_are_due_and_no_job_is_claimed_twice() -> None:
    """Few due jobs of many rules, and all lanes begin at the same rule."""
    rules = make_rules(200)
    for _ in range(3):
        TransferJob.objects.all().delete()
        make_jobs(rules[::4], 3)  # 150 jobs

        def work() -> list[ClaimedJob]:
            turns, claimed = Turns(), []
            for _ in range(8):
                got = claim(4, turns)
                assert got
                claimed += got
            return claimed

        claimed = [job for of_lane in at_once(*[work] * LANES) for job in of_lane]
        assert len({job.id for job in claimed}) == len(claimed)


def test_lanes_share_one_rules_jobs() -> None:
    rules = make_rules(1)
    make_jobs(rules, 120)
    claimed = at_once(*[lambda: [len(claim(6)) for _ in range(5)]] * LANES)
    assert claimed == [[6] * 5] * LANES


def test_a_claim_passes_over_rules_whose_jobs_are_all_locked() -> None:
    rules = make_rules(12)
    make_jobs(rules, 1)
    with transaction.atomic():
        locked = TransferJob.objects.select_for_update().filter(rule__in=rules[:6])
        assert len(locked) == 6
        [claimed] = at_once(lambda: claim(3))
    assert {job.rule_id for job in claimed} <= {rule.pk for rule in rules[6:]}
    assert len(claimed) == 3


def test_a_claim_that_gets_nothing_ends() -> None:
    rules = make_rules(2)
    make_jobs(rules, 1)
    with transaction.atomic():
        assert len(TransferJob.objects.select_for_update()) == 2
        assert at_once(lambda: claim(3)) == [[]]
    assert TransferJob.objects.filter(state=JobState.PENDING).count() == 2
