"""How often SQS is asked, as arithmetic."""

import time

import pytest

from replication.intake.receive_rate import (
    FIRST_PAUSE_SECONDS,
    FULL_RECEIVES,
    GULP_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_AT_ONCE,
    Appetite,
    Trouble,
    wait_seconds,
)
from replication.intake.sqs import MAX_BATCH, MAX_WAIT_SECONDS


def test_receives_that_are_full_bring_on_more_of_them_up_to_a_limit() -> None:
    appetite = Appetite()
    assert appetite.at_once == 1
    for _ in range(FULL_RECEIVES):
        appetite.is_fed(MAX_BATCH, asked_at=time.monotonic())
    assert appetite.at_once == 2
    for _ in range(1000):
        appetite.is_fed(MAX_BATCH, asked_at=time.monotonic())
    assert appetite.at_once == MOST_AT_ONCE
    assert appetite.next_at < 0  # there is more, so nobody waits


def test_over_a_distance_one_full_receive_brings_on_another() -> None:
    appetite = Appetite()
    appetite.is_fed(MAX_BATCH, asked_at=time.monotonic() - GULP_SECONDS)
    assert appetite.at_once == 2


def test_a_queue_that_falls_silent_is_asked_by_one_again_after_a_few_receives() -> None:
    appetite = Appetite()
    for _ in range(1000):
        appetite.is_fed(MAX_BATCH, asked_at=time.monotonic())
    receives = 0
    while appetite.at_once > 1:
        appetite.is_fed(0, asked_at=0.0)
        receives += 1
    assert receives <= MOST_AT_ONCE


def test_a_gulp_that_is_nearly_full_is_no_reason_to_ask_more_or_less() -> None:
    appetite = Appetite()
    for _ in range(3 * FULL_RECEIVES):
        appetite.is_fed(MAX_BATCH, asked_at=time.monotonic())
    for _ in range(100):
        appetite.is_fed(MAX_BATCH - 1, asked_at=0.0)
    assert appetite.at_once == 4


def test_single_events_are_taken_in_gulps_unless_they_were_waited_for() -> None:
    appetite = Appetite()
    appetite.is_fed(1, asked_at=100.0)
    assert appetite.next_at == 100.0 + GULP_SECONDS  # long past, where the receive took long


def test_only_a_receive_that_is_alone_waits_for_long_and_never_beyond_the_end() -> None:
    assert wait_seconds(is_alone=True, left_seconds=1e9) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=True, left_seconds=float("inf")) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=False, left_seconds=1e9) == 1
    assert wait_seconds(is_alone=True, left_seconds=7.9) == 7
    assert wait_seconds(is_alone=True, left_seconds=0.1) == 1  # 0 would be asking in a frenzy


def test_pauses_grow_with_each_failure_in_a_row_and_those_together_count_once() -> None:
    trouble = Trouble()
    tried_at = time.monotonic()
    for _ in range(16):  # as many receives are under way as there may be, and SQS goes away
        trouble.grow(tried_at=tried_at)
    assert trouble.until - tried_at == pytest.approx(FIRST_PAUSE_SECONDS, abs=0.1)
    for _ in range(10):
        trouble.grow(tried_at=time.monotonic())
    assert trouble.until - time.monotonic() == pytest.approx(LONGEST_PAUSE_SECONDS, abs=0.1)
    trouble.end(tried_at=tried_at)
    assert trouble.until > time.monotonic()  # what succeeded had begun before
    trouble.end(tried_at=time.monotonic())
    assert not trouble.is_on
    assert trouble.until < time.monotonic()
