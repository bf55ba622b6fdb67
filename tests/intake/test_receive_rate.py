"""How the number of concurrent receives and the backoff adapt."""

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


def test_full_receives_add_concurrent_ones_up_to_a_limit() -> None:
    rate = ReceiveRate()
    assert rate.max_receives == 1
    for _ in range(FULL_RECEIVES_PER_STEP):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    assert rate.max_receives == 2
    for _ in range(1000):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    assert rate.max_receives == MAX_RECEIVES
    assert rate.next_at < 0  # more messages wait: the next receive may start at once


def test_a_slow_full_receive_adds_another_at_once() -> None:
    rate = ReceiveRate()
    rate.note_received(MAX_BATCH, started_at=time.monotonic() - RECEIVE_INTERVAL_SECONDS)
    assert rate.max_receives == 2


def test_an_idle_queue_is_back_to_a_single_receive_after_a_few() -> None:
    rate = ReceiveRate()
    for _ in range(1000):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    receives = 0
    while rate.max_receives > 1:
        rate.note_received(0, started_at=0.0)
        receives += 1
    assert receives <= MAX_RECEIVES


def test_nearly_full_receives_keep_their_number() -> None:
    rate = ReceiveRate()
    for _ in range(3 * FULL_RECEIVES_PER_STEP):
        rate.note_received(MAX_BATCH, started_at=time.monotonic())
    for _ in range(100):
        rate.note_received(MAX_BATCH - 1, started_at=0.0)
    assert rate.max_receives == 4


def test_single_events_are_received_in_batches_unless_the_receive_waited() -> None:
    rate = ReceiveRate()
    rate.note_received(1, started_at=100.0)
    assert rate.next_at == 100.0 + RECEIVE_INTERVAL_SECONDS  # past already, if the receive waited


def test_only_a_lone_receive_uses_a_long_poll_and_it_ends_with_the_poller() -> None:
    assert wait_seconds(is_alone=True, left_seconds=1e9) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=True, left_seconds=float("inf")) == MAX_WAIT_SECONDS
    assert wait_seconds(is_alone=False, left_seconds=1e9) == 1
    assert wait_seconds(is_alone=True, left_seconds=7.9) == 7
    assert wait_seconds(is_alone=True, left_seconds=0.1) == 1  # 0 would be a short poll


def test_the_backoff_doubles_with_each_failure_and_concurrent_failures_count_once() -> None:
    backoff = Backoff()
    started_at = time.monotonic()
    for _ in range(16):  # as many concurrent receives as there may be, and SQS goes away
        backoff.note_failure(started_at=started_at)
    assert backoff.until - started_at == pytest.approx(FIRST_BACKOFF_SECONDS, abs=0.1)
    for _ in range(10):
        backoff.note_failure(started_at=time.monotonic())
    assert backoff.until - time.monotonic() == pytest.approx(MAX_BACKOFF_SECONDS, abs=0.1)
    backoff.note_success(started_at=started_at)
    assert backoff.until > time.monotonic()  # the success had started before the failures
    backoff.note_success(started_at=time.monotonic())
    assert not backoff.is_on
    assert backoff.until < time.monotonic()
