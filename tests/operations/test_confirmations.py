"""Confirming held deletes covers exactly what was seen, in steps that may be interrupted."""

from threading import Event
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from replication import jobs
from replication.intake.matching import look_again
from replication.jobs import delete_brake, held_deletes
from replication.models import (
    ActorKind,
    AuditAction,
    AuditEntry,
    CompletedMinute,
    Outcome,
    ReplicationRule,
)
from replication.operations import confirmations
from replication.operations.audit import Actor
from replication.operations.confirmations import Confirmation, NotAllSeen, Seen
from replication.transfer.results import Completion
from tests.support.examples import a_rule
from tests.support.held import claim_deletes, confirmed_keys, held_keys, hold, hold_many
from tests.support.processes import eventually
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ON_CALL = Actor(ActorKind.USER, "on-call")


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule(max_deletes_per_hour=3)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deletes a batch, two batches a step."""
    monkeypatch.setattr(confirmations, "BATCH", 2)
    monkeypatch.setattr(confirmations, "BATCHES_PER_STEP", 2)


def see(rule: ReplicationRule) -> Seen:
    held = held_deletes.read(rule.pk)
    return Seen(held.count, held.last)


def begin(rule: ReplicationRule, seen: Seen | None = None) -> Confirmation:
    return confirmations.begin(rule, seen or see(rule), by=ON_CALL)


def finish(confirmation: Confirmation) -> int:
    """Go on to the end; returns how many were confirmed."""
    while not (progress := confirmations.progress(confirmation)).is_complete:
        confirmations.go_on(confirmation)
    return progress.confirmed


def is_braked(rule: ReplicationRule) -> bool:
    rule.refresh_from_db()
    return rule.braked_at is not None


# -- what is confirmed -------------------------------------------------------------------------


def test_nothing_is_confirmed_if_more_deletes_are_held_than_were_seen(
    rule: ReplicationRule,
) -> None:
    hold(rule, "seen")
    seen = see(rule)
    hold(rule, *(f"{number}" for number in range(39)))
    with pytest.raises(NotAllSeen) as error:
        begin(rule, seen)
    assert error.value.unseen == 39
    assert confirmed_keys(rule) == set()
    assert not AuditEntry.objects.exists()


def test_nothing_is_confirmed_if_another_delete_took_the_place_of_one_that_was_seen(
    rule: ReplicationRule,
) -> None:
    hold(rule, "a", "b")
    seen = see(rule)
    look_again(rule, ["a"])
    hold(rule, "c")
    with pytest.raises(NotAllSeen):
        begin(rule, seen)


def test_what_is_held_while_the_seen_deletes_are_confirmed_stays_held_and_keeps_the_brake(
    rule: ReplicationRule, small_steps: None
) -> None:
    keys = {f"{number}" for number in range(10)}
    hold(rule, *keys)
    confirmation = begin(rule)
    hold(rule, "x")
    confirmations.go_on(confirmation)
    assert len(confirmed_keys(rule)) == 4
    hold(rule, "y")
    assert finish(confirmation) == 10
    assert confirmed_keys(rule) == keys
    assert held_keys(rule) == {"x", "y"}
    assert is_braked(rule)


def test_a_key_that_is_held_anew_was_not_seen(rule: ReplicationRule, small_steps: None) -> None:
    hold(rule, "a", "b")
    confirmation = begin(rule)
    look_again(rule, ["a"])
    jobs.await_confirmation(jobs.claim(uuid4(), limit=1, lease_seconds=60))
    assert finish(confirmation) == 1
    assert held_keys(rule) == {"a"}


def test_a_hold_that_began_before_the_page_was_made_and_ended_after_it_was_not_seen(
    rule: ReplicationRule,
) -> None:
    hold(rule, "seen")
    [late] = claim_deletes(rule, "late")
    has_begun, page_is_made = Event(), Event()

    def hold_late() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT now()")  # the transaction's time from here on
            has_begun.set()
            assert page_is_made.wait(30)
            jobs.await_confirmation([late])

    def see_and_confirm() -> Confirmation:
        assert has_begun.wait(30)
        hold(rule, "seen too")
        confirmation = begin(rule)
        page_is_made.set()
        eventually(lambda: "late" in held_keys(rule))
        finish(confirmation)
        return confirmation

    at_once(hold_late, see_and_confirm)
    assert confirmed_keys(rule) == {"seen", "seen too"}
    assert held_keys(rule) == {"late"}


def test_deletes_of_other_rules_stay_held(rule: ReplicationRule) -> None:
    other = a_rule("other")
    hold(other, "a")
    hold(rule, "a")
    assert finish(begin(rule)) == 1
    assert held_keys(other) == {"a"}
    assert is_braked(other)


def test_more_than_a_page_shows_are_confirmed_in_portions(
    rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (held_deletes, confirmations):
        monkeypatch.setattr(module, "MAX_SHOWN", 10)
    hold_many(rule, 25)
    hold(rule, "newest")
    portions = []
    while held_keys(rule):
        seen = see(rule)
        assert finish(begin(rule, seen)) == seen.count
        portions.append(seen.count)
    assert portions == [10, 10, 6]
    assert not is_braked(rule)


# -- steps -------------------------------------------------------------------------------------


def test_a_step_is_bounded_and_the_audit_follows(rule: ReplicationRule, small_steps: None) -> None:
    hold(rule, *"abcdefghi")
    confirmation = begin(rule)
    for confirmed in (4, 8):
        confirmations.go_on(confirmation)
        assert len(confirmed_keys(rule)) == confirmed
        assert AuditEntry.objects.get().affected == confirmed
        assert AuditEntry.objects.get().ended_at is None
        assert is_braked(rule)
    confirmations.go_on(confirmation)
    entry = AuditEntry.objects.get()
    assert (entry.affected, entry.ended_at is None) == (9, False)
    assert not is_braked(rule)


def test_the_audit_says_who_confirmed_how_many_and_held_until_when(rule: ReplicationRule) -> None:
    hold(rule, "a", "b")
    last = see(rule).last
    assert last
    finish(begin(rule))
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action) == ("on-call", AuditAction.DELETES_CONFIRMED)
    assert entry.about == (
        f"rule photos: 2 deletes held until {last.held_at:%Y-%m-%d %H:%M:%S.%f} UTC"
    )
    assert entry.affected == 2


def test_steps_at_the_same_time_confirm_each_delete_once(
    rule: ReplicationRule, small_steps: None
) -> None:
    hold(rule, *(f"{number}" for number in range(30)))
    confirmation = begin(rule)
    at_once(*[lambda: finish(confirmation)] * 4)
    assert AuditEntry.objects.get().affected == 30
    assert not is_braked(rule)


def test_an_interrupted_confirmation_leaves_the_rest_held_and_is_recorded_as_such(
    rule: ReplicationRule, small_steps: None
) -> None:
    hold(rule, *"abcdefg")
    confirmations.go_on(begin(rule))
    assert finish(begin(rule)) == 3
    first, second = AuditEntry.objects.order_by("pk")
    assert (first.affected, first.ended_at) == (4, None)
    assert (second.affected, second.ended_at is None) == (3, False)


def test_a_complete_confirmation_changes_nothing_when_it_is_repeated(
    rule: ReplicationRule,
) -> None:
    hold(rule, "a")
    confirmation = begin(rule)
    finish(confirmation)
    ReplicationRule.objects.update(braked_at=Now())  # braked again, and nothing held yet
    confirmations.go_on(confirmation)
    assert is_braked(rule)


# -- the end of the brake ----------------------------------------------------------------------


def test_a_brake_without_held_deletes_is_ended_by_a_person_too(rule: ReplicationRule) -> None:
    ReplicationRule.objects.update(braked_at=Now())
    assert finish(begin(rule)) == 0
    assert not is_braked(rule)


def blocks_another() -> bool:
    """Whether another connection waits for this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) > 0 FROM pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def test_the_end_of_the_brake_does_not_deadlock_with_a_completion_in_doubt(
    rule: ReplicationRule,
) -> None:
    earlier, job = claim_deletes(rule, "earlier", "a")
    jobs.complete([(earlier, Completion(Outcome.DELETED))])
    is_counted = Event()

    def complete() -> None:
        with transaction.atomic():
            jobs.complete([(job, Completion(Outcome.DELETED))])
            is_counted.set()
            eventually(blocks_another)
            look_again(rule, ["a"])  # as jobs.complete has a key in doubt looked at again

    def end_brake() -> None:
        assert is_counted.wait(30)
        assert delete_brake.end(rule.pk)

    at_once(complete, end_brake)
    assert not is_braked(rule)
    assert CompletedMinute.objects.aggregate(Sum("charged_deletes"))["charged_deletes__sum"] == 0


# -- what a page reads -------------------------------------------------------------------------


def test_prefixes_are_counted_one_level_below_the_common_folder(rule: ReplicationRule) -> None:
    keys = ["photos/2019/a", "photos/2019/b/c", "photos/2019/d", "photos/tmp/e", "photos/f"]
    hold(rule, *keys)
    held = held_deletes.read(rule.pk)
    assert held.folder == "photos/"
    prefixes = held_deletes.by_prefix(rule.pk, held, limit=10)
    assert [(each.prefix, each.count, each.is_exact) for each in prefixes] == [
        ("photos/2019/", 3, False),
        ("photos/", 1, True),
        ("photos/tmp/", 1, False),
    ]


@pytest.mark.parametrize(
    ("keys", "folder"),
    [
        (["a/b"], "a/"),
        (["a"], ""),
        (["a/b", "a/bc"], "a/"),
        (["a/b/c", "a/b"], "a/"),
        (["客户/华东/1", "客户/华北/2"], "客户/"),
        (["/a", "/b"], "/"),
        (["a", "z/b"], ""),
    ],
)
def test_the_common_folder_is_the_longest_of_all_keys(
    rule: ReplicationRule, keys: list[str], folder: str
) -> None:
    hold(rule, *keys)
    held = held_deletes.read(rule.pk)
    assert held.folder == folder
    counts = held_deletes.by_prefix(rule.pk, held, limit=10)
    assert sum(each.count for each in counts) == len(keys)


def test_the_list_has_each_delete_once_also_where_many_are_held_at_one_instant(
    rule: ReplicationRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_deletes, "PAGE", 7)
    hold_many(rule, 50)
    last = see(rule).last
    assert last
    hold(rule, "later")
    listed = [each.key for each in held_deletes.each(rule.pk, last=last)]
    assert len(listed) == 50
    assert set(listed) == held_keys(rule) - {"later"}


def test_each_query_of_a_page_reads_the_held_deletes_of_the_rule_alone(
    rule: ReplicationRule,
) -> None:
    hold_many(a_rule("others"), 20_000)
    hold_many(rule, 2_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE replication_transferjob")
    with CaptureQueriesContext(connection) as captured:
        held = held_deletes.read(rule.pk)
        assert held.last
        held_deletes.by_prefix(rule.pk, held, limit=10)
        held_deletes.count(rule.pk)
        held_deletes.count(rule.pk, after=held.last)
        held_deletes.oldest(rule.pk, limit=20)
        next(held_deletes.each(rule.pk, last=held.last))
        jobs.confirm_deletes(rule.pk, last=held.last, limit=100)
    queries = [each["sql"] for each in captured if "replication_transferjob" in each["sql"]]
    assert len(queries) == 10
    for query in queries:
        with held_deletes.in_order() as cursor:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "job_held" in plan, plan
        assert "Seq Scan on replication_transferjob" not in plan, plan
        if "ORDER BY available_at" in query:
            assert "Sort" not in plan, plan
