"""Temporary credentials are renewed aside, once at a time, and used for as long as they live."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from replication.errors import ErrorCode, ReplicationError
from replication.stores import renewal
from replication.stores.renewal import Renewed, Temporary, lead_seconds
from replication.stores.signing_keys import Credentials
from tests.support.failing import failing
from tests.support.processes import eventually
from tests.support.road import Log

AWAY = ReplicationError(ErrorCode.DESTINATION_TOKEN_SERVICE, "STS did not answer")


class Service:
    """Numbers the credentials that it gives; does before what a test says."""

    def __init__(self, life_seconds: float) -> None:
        self.life_seconds = life_seconds
        self.asked = 0
        self.first: Callable[[], object] = lambda: None

    def fetch(self) -> Temporary:
        self.asked += 1
        number = self.asked
        self.first()
        return Temporary(Credentials(str(number), "secret"), time.time() + self.life_seconds)


def fail() -> None:
    raise AWAY


def test_credentials_are_renewed_minutes_before_their_end_or_at_half_of_a_short_life() -> None:
    assert lead_seconds(3600) == 300
    assert lead_seconds(60) == 30


def test_credentials_that_live_long_are_fetched_once() -> None:
    service = Service(3600)
    renewed = Renewed(service.fetch, profile="p")
    assert {renewed.current().id for _ in range(5)} == {"1"}


def test_requests_go_on_with_the_last_credentials_while_one_thread_renews() -> None:
    service = Service(60)
    renewed = Renewed(service.fetch, profile="p")
    renewed.current()
    renewed._renew_at = 0
    goes_on, was_asked = threading.Event(), threading.Event()

    def wait() -> None:
        was_asked.set()
        assert goes_on.wait(60)

    service.first = wait
    assert renewed.current().id == "1"
    assert was_asked.wait(60)
    assert {renewed.current().id for _ in range(50)} == {"1"}
    assert service.asked == 2
    goes_on.set()
    eventually(lambda: renewed.current().id == "2")


def test_threads_that_need_the_first_credentials_ask_once() -> None:
    service = Service(3600)
    renewed = Renewed(service.fetch, profile="p")
    together = threading.Barrier(8)

    def ask() -> str:
        together.wait(60)
        return renewed.current().id

    with ThreadPoolExecutor(8) as threads:
        assert {future.result() for future in [threads.submit(ask) for _ in range(8)]} == {"1"}


def test_a_renewal_that_fails_is_only_logged_while_the_last_credentials_live(
    logged: Log,
) -> None:
    service = Service(60)
    renewed = Renewed(service.fetch, profile="p")
    renewed.current()
    renewed._renew_at = 0
    service.first = fail
    assert renewed.current().id == "1"
    eventually(lambda: "credentials.renewal_failed" in logged.text)
    assert renewed.current().id == "1"
    assert service.asked == 2, "it is not asked again at once"
    renewed._sign_until = 0
    with failing(ErrorCode.DESTINATION_TOKEN_SERVICE):
        renewed.current()


def test_many_transfers_without_credentials_do_not_ask_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewal, "RETRY_SECONDS_WITHOUT_CREDENTIALS", 60)
    service = Service(60)
    service.first = fail
    renewed = Renewed(service.fetch, profile="p")
    for _ in range(20):
        with failing(ErrorCode.DESTINATION_TOKEN_SERVICE):
            renewed.current()
    assert service.asked == 1
    service.first = lambda: None
    renewed._retry_at = 0
    assert renewed.current().id == "2"


def test_the_same_credentials_again_are_not_asked_for_at_each_request() -> None:
    """The metadata service of ECS gives the same until it renews them itself."""
    ends_at = time.time() + 60
    asked: list[None] = []

    def fetch() -> Temporary:
        asked.append(None)
        return Temporary(Credentials("1", "secret"), ends_at)

    renewed = Renewed(fetch, profile="p")
    renewed.current()
    renewed._renew_at = 0
    renewed.current()
    eventually(lambda: len(asked) == 2 and renewed._lock.locked() is False)
    for _ in range(20):
        renewed.current()
    assert len(asked) == 2
