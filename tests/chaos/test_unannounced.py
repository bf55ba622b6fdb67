"""What counts as reported, as a false alarm and as a needless delete."""

import random

import pytest

from tests.chaos.rules import Rule
from tests.chaos.unannounced import (
    LOOK_TO_DELETE_SECONDS,
    STALE_SECONDS,
    Deletion,
    Ended,
    Finding,
    Record,
    Reported,
    choose,
)
from tests.chaos.writer import Change, Made, Step, plan

PUT, DELETE = Change.PUT, Change.DELETE
LATER = 100.0


def made(change: Change, at: float, key: str = "key") -> Made:
    return Made(Step(at, key, change, 1), at, at + 0.1, "etag")


def report(
    *log: Made,
    lost: tuple[Made, ...] = (),
    found_at: float | None = None,
    jobs: tuple[tuple[str, float], ...] = (),
    deleted_at: float | None = None,
    states: tuple[tuple[Rule, ...], ...] = ((Rule("mirror"),),),
) -> Reported:
    return Record(
        log=log,
        unannounced=frozenset(one.step for one in lost),
        states=states,
        findings=[Finding("mirror", "key", "mended", found_at)] if found_at is not None else [],
        jobs=[Ended("mirror", "key", origin, at) for origin, at in jobs],
        deletions=[Deletion("key", deleted_at, deleted_at + 1)] if deleted_at is not None else [],
    ).report()


def test_a_lost_event_must_be_found_after_its_change() -> None:
    put = made(PUT, 10)
    assert not report(put, lost=(put,), found_at=11).unreported
    assert report(put, lost=(put,)).unreported
    assert report(put, lost=(put,), found_at=9).unreported


def test_a_lost_event_need_not_be_found_if_another_one_had_the_key_looked_at() -> None:
    put = made(PUT, 10)
    assert not report(put, lost=(put,), jobs=(("event", 11), ("sweep", 12))).unreported
    assert report(put, lost=(put,), jobs=(("sweep", 11), ("event", 12))).unreported
    assert report(put, lost=(put,), jobs=(("event", 9),)).unreported


def test_a_rule_need_not_find_what_it_does_not_ask_for_or_leaves_elsewhere() -> None:
    put, delete = made(PUT, 10), made(DELETE, 20)
    before, after = Rule("mirror"), Rule("mirror", exclude="key")
    moved = Rule("mirror", destination_prefix="moved/")
    assert not report(put, lost=(put,), states=((before,), (after,))).unreported
    assert report(put, lost=(put,), states=((after,), (before,))).unreported
    assert not report(put, delete, lost=(delete,), states=((before,), (moved,))).unreported


def test_what_was_announced_is_a_false_alarm() -> None:
    first, second = made(PUT, 10), made(PUT, 20)
    assert report(first, found_at=11).false_alarms
    assert not report(first, lost=(first,), found_at=11).false_alarms
    assert report(first, second, lost=(first,), found_at=20 + LATER).false_alarms
    # The listing may be older than the second change.
    assert not report(first, second, lost=(first,), found_at=19 + STALE_SECONDS).false_alarms


def test_a_delete_is_needless_if_the_object_was_there_all_the_time() -> None:
    put, delete = made(PUT, 10), made(DELETE, 50)
    assert report(put, deleted_at=40).needless_deletes
    assert not report(put, delete, deleted_at=51).needless_deletes
    assert not report(put, deleted_at=10 + LOOK_TO_DELETE_SECONDS).needless_deletes
    again = made(PUT, 60)
    assert not report(put, delete, again, deleted_at=61).needless_deletes
    assert report(put, delete, again, deleted_at=60 + LATER).needless_deletes


@pytest.mark.parametrize("seed", range(5))
def test_puts_and_deletes_go_unannounced_each_of_a_key_of_its_own(seed: int) -> None:
    steps = plan(random.Random(seed), keys=500, seconds=60)
    chosen = choose(random.Random(seed), steps)
    assert len({step.key for step in chosen}) == len(chosen)
    puts = [step for step in chosen if step.change is PUT]
    deletes = [step for step in chosen if step.change is DELETE]
    assert 0.009 <= len(puts) / sum(step.change is PUT for step in steps) <= 0.011
    assert len(deletes) == 3
    assert chosen == choose(random.Random(seed), steps)
