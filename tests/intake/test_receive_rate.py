"""How often SQS is asked, as arithmetic."""

import time

import pytest

from replication.intake.receive_rate import (
    FIRST_BACKOFF_SECONDS,
    FULL_RECEIVES_PER_STEP,
    MAX_BACKOFF_SECONDS,
    MAX_RECEIVES,
    RECEIVE_INTERVAL_SECONDS,
    Backoff,
    ReceiveRate,
    wait_seconds,
)
from replication.intake.sqs import MAX_BATCH, MAX_WAIT_SECONDS


def test_receives_that_are_full_bring_on_more_of_them_up_to_a_limit() -> None:
    rate = ReceiveRate()
    assert rate.max_receives == 1
    for _ in range(FULL_RECEIVES_PER_STEP):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    assert rate.max_receives == 2
    for _ in range(1000):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    assert rate.max_receives == MAX_RECEIVES
    assert rate.next_at < 0  # there is more, so nobody waits


def test_over_a_distance_one_full_receive_brings_on_another() -> None:
    rate = ReceiveRate()
    rate.note_received(MAX_BATCH, started_at=time.monotonic() - RECEIVE_INTERVAL_SECONDS)
    assert rate.max_receives == 2


def test_a_queue_that_falls_silent_is_asked_by_one_again_after_a_few_receives() -> None:
    rate = ReceiveRate()
    for _ in range(1000):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    receives = 0
    while rate.max_receives > 1:
        rate.note_received(0, started_at=0.0)
        receives += 1
    assert receives <= MAX_RECEIVES


def test_a_gulp_that_is_nearly_full_is_no_reason_to_ask_more_or_less() -> None:
    rate = ReceiveRate()
    for _ in range(3 * FULL_RECEIVES_PER_STEP):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    for _ in range(100):
        rate.note_received(MAX_BATCH - 1, started_at=0.0)
    assert rate.max_receives == 4


def test_single_events_are_taken_in_gulps_unless_they_were_waited_for() -> None:
    rate = ReceiveRate()
    rate.note_received(1, started_at=100.0)
    assert (
        rate.next_at == 100.0 + RECEIVE_INTERVAL_SECONDS
    )  # long past, where the receive took long


def test_only_a_receive_that_is_alone_waits_for_long_and_never_beyond_the_end() -> None:
    assert wait_seconds(is_alone=True, left_seconds=1e9) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=True, left_seconds=float("inf")) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=False, left_seconds=1e9) == 1
    assert wait_seconds(is_alone=True, left_seconds=7.9) == 7
    assert wait_seconds(is_alone=True, left_seconds=0.1) == 1  # 0 would be asking in a frenzy


def test_pauses_grow_with_each_failure_in_a_row_and_those_together_count_once() -> None:
    backoff = Backoff()
    started_at = time.monotonic()
    for _ in range(16):  # as many receives are under way as there may be, and SQS goes away
        backoff.note_failure(started_at=started_at)
    assert backoff.until - started_at == pytest.approx(FIRST_BACKOFF_SECONDS, abs=0.1)
    for _ in range(10):
        backoff.note_failure(started_at=time.monotonic())
    assert backoff.until - time.monotonic() == pytest.approx(MAX_BACKOFF_SECONDS, abs=0.1)
    backoff.note_success(started_at=started_at)
    assert backoff.until > time.monotonic()  # what succeeded had begun before
    backoff.note_success(started_at=time.monotonic())
    assert not backoff.is_on
    assert backoff.until < time.monotonic()
