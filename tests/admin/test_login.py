"""Login: a lockout after wrong passwords, secure cookies, and no weak passwords."""

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from s3sync import logins
from s3sync.proxies import ProxyMiddleware

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("alice", "", PASSWORD, is_staff=True)


def log_in(password: str, name: str = "alice", address: str = "192.0.2.1", **headers: str) -> Any:
    client = Client(REMOTE_ADDR=address)
    return client.post(LOGIN, {"username": name, "password": password}, headers=headers)


def test_wrong_passwords_lock_a_name_out_from_one_address(user: User) -> None:
    User.objects.create_user("bob", "", PASSWORD, is_staff=True)
    for _ in range(4):
        assert log_in("wrong").status_code == 200
    assert log_in(PASSWORD).status_code == 302  # resets the count of failures
    for _ in range(4):
        assert log_in("wrong").status_code == 200
    assert log_in("wrong").status_code == 429
    locked_out = log_in(PASSWORD)
    assert locked_out.status_code == 429
    assert "in 15 minutes" in locked_out.content.decode()
    assert log_in(PASSWORD, address="192.0.2.2").status_code == 302
    assert log_in(PASSWORD, name="bob").status_code == 302
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=16))
    assert log_in(PASSWORD).status_code == 302


def test_a_command_ends_a_lockout(user: User) -> None:
    for _ in range(5):
        log_in("wrong")
    assert log_in(PASSWORD).status_code == 429
    call_command("axes_reset_username", "alice")
    assert log_in(PASSWORD).status_code == 302


def test_behind_a_proxy_the_lockout_uses_the_address_that_the_proxy_saw(
    user: User, limits: Any
) -> None:
    limits(https_only=True)
    proxy = partial(log_in, address="10.0.0.7")
    for number in range(5):
        proxy("wrong", **{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"})
    assert proxy(PASSWORD, **{"X-Forwarded-For": "198.51.100.7"}).status_code == 429
    assert proxy(PASSWORD, **{"X-Forwarded-For": "198.51.100.8"}).status_code == 302


@pytest.mark.parametrize("https_only", [True, False])
def test_invented_addresses_do_not_avoid_the_lockout(
    user: User, limits: Any, https_only: bool
) -> None:
    limits(https_only=https_only)
    for number in range(20):
        log_in("wrong", **{"X-Forwarded-For": f"203.0.113.{number}"})
    assert log_in(PASSWORD, **{"X-Forwarded-For": "203.0.113.99"}).status_code == 429


def test_the_addresses_of_one_ipv6_network_are_locked_out_together(user: User) -> None:
    for number in range(10):
        log_in("wrong", address=f"2001:db8:1:2::{number}")
    assert log_in(PASSWORD, address="2001:db8:1:2:ffff::1").status_code == 429
    assert log_in(PASSWORD, address="2001:db8:1:3::1").status_code == 302


def test_two_proxies_are_passed_if_their_number_is_set(user: User, limits: Any) -> None:
    limits(trusted_proxies=["10.0.0.0/8"], proxy_hops=2)
    through = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7, 10.1.1.1"}
    for _ in range(5):
        log_in("wrong", address="10.0.0.7", **through)
    assert log_in(PASSWORD, address="10.0.0.7", **through).status_code == 429
    other = {"X-Forwarded-For": "203.0.113.1, 198.51.100.8, 10.1.1.1"}
    assert log_in(PASSWORD, address="10.0.0.7", **other).status_code == 302


@pytest.mark.parametrize(
    "forwarded", ["1.2.3.4:50123", "[2001:db8::1]:443", "unknown", "\x00", ",,", "1.2.3.4.5", "::%"]
)
def test_no_form_of_a_forwarded_address_fails_a_login(
    user: User, limits: Any, forwarded: str
) -> None:
    limits(trusted_proxies=["10.0.0.0/8"])
    through = {"X-Forwarded-For": forwarded}
    assert log_in("wrong", address="10.0.0.7", **through).status_code == 200
    assert log_in(PASSWORD, address="10.0.0.7", **through).status_code == 302


def test_an_untrusted_peer_can_not_say_that_it_came_over_tls(limits: Any) -> None:
    limits(trusted_proxies=["10.0.0.0/8"])
    found: list[tuple[str, str | None]] = []

    def answer(request: HttpRequest) -> HttpResponse:
        found.append((request.META["REMOTE_ADDR"], request.META.get("HTTP_X_FORWARDED_PROTO")))
        return HttpResponse()

    said = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"}
    middleware = ProxyMiddleware(answer)
    for peer in ("10.0.0.7", "192.0.2.1", ""):
        middleware(RequestFactory(REMOTE_ADDR=peer).get("/", headers=said))
    assert found == [("192.0.2.9", "https"), ("192.0.2.1", None), ("", None)]


@pytest.mark.parametrize("length", [151, 256, 5000])
def test_a_name_that_no_user_can_have_hashes_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    def hashes(*_: object, **__: object) -> None:
        raise AssertionError("a password was hashed")

    monkeypatch.setattr(MD5PasswordHasher, "encode", hashes)
    assert log_in("wrong", "a" * length).status_code == 400


def test_an_address_is_limited_over_all_names(user: User) -> None:
    for number in range(logins.OF_ADDRESS):
        assert log_in("wrong", name=f"nobody-{number}").status_code == 200
    refused = log_in(PASSWORD)
    assert refused.status_code == 429
    assert "Try again in 15 minutes" in refused.content.decode()
    assert 0 < int(refused["Retry-After"]) <= 15 * 60
    assert log_in(PASSWORD, address="192.0.2.2").status_code == 302


def test_strangers_can_not_lock_a_user_out_where_the_user_has_logged_in(user: User) -> None:
    assert log_in(PASSWORD, address="198.51.100.7").status_code == 302
    assert log_in(PASSWORD, address="2001:db8::7").status_code == 302
    for number in range(logins.OF_NAME):
        assert log_in("wrong", address=f"203.0.113.{number}").status_code == 200
    refused = log_in(PASSWORD, address="203.0.113.99")
    assert refused.status_code == 429
    assert "from an address where you have logged in before" in refused.content.decode()
    assert log_in(PASSWORD, address="198.51.100.7").status_code == 302
    assert log_in(PASSWORD, address="2001:db8::8").status_code == 302  # the same network


@pytest.mark.django_db(transaction=True)  # logins of threads are committed
def test_a_process_looks_at_few_passwords_at_once(user: User, settings: Settings) -> None:
    HeldHasher.entered, HeldHasher.leave = threading.Semaphore(0), threading.Event()
    settings.PASSWORD_HASHERS = [f"{__name__}.HeldHasher", *settings.PASSWORD_HASHERS]
    names = [f"nobody-{number}" for number in range(logins.AT_ONCE)]
    with ThreadPoolExecutor() as pool:
        try:
            waiting = [pool.submit(in_thread, log_in, "wrong", name=name) for name in names]
            for _ in names:
                assert HeldHasher.entered.acquire(timeout=60)
            refused = log_in("wrong", name="one-more")
            assert refused.status_code == 429
            assert refused["Retry-After"] == "5"
            assert "Try again in 5 seconds" in refused.content.decode()
        finally:
            HeldHasher.leave.set()
        assert [answer.result().status_code for answer in waiting] == [200] * len(names)
    assert log_in(PASSWORD).status_code == 302


class HeldHasher(MD5PasswordHasher):
    """A hash that takes until the test lets it end."""

    algorithm = "held"
    entered: threading.Semaphore
    leave: threading.Event

    def encode(self, password: str, salt: str) -> str:
        self.entered.release()
        assert self.leave.wait(60)
        return super().encode(password, salt)


def in_thread(action: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return action(*arguments, **options)
    finally:
        connection.close()


def test_scripts_can_not_read_the_session_cookie_and_it_expires_after_12_hours(user: User) -> None:
    cookie = log_in(PASSWORD).cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 12 * 3600


def test_a_weak_password_is_refused_with_the_reason(operator_client: Client) -> None:
    form = {"username": "carol-the-admin", "usable_password": "true"}
    for password, reason in (
        ("short-7x", "at least 12 characters"),
        ("password1234", "too common"),
        ("839274629183", "entirely numeric"),
        ("carol-the-admin1", "too similar"),
    ):
        passwords = {"password1": password, "password2": password}
        page = operator_client.post("/admin/auth/user/add/", form | passwords)
        assert reason in page.content.decode(), password
    assert not User.objects.filter(username="carol-the-admin").exists()


def test_with_https_djangos_deployment_checks_warn_only_of_the_proxys_tasks() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "S3SYNC_HTTPS_ONLY": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    # Redirects to HTTPS, and HSTS for subdomains and preload lists.
    assert set(re.findall(r"\w+\.W\d+", done.stderr)) <= {
        *("security.W005", "security.W008", "security.W021"),
        "security.W009",  # the tests' own key
    }


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "latin-1", "nonsense"])
@pytest.mark.parametrize("path", [LOGIN, "/admin/password_change/", "/admin/logout/"])
def test_a_form_in_another_charset_is_a_bad_request(user: User, path: str, charset: str) -> None:
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "a" * 32
    if path != LOGIN:
        client.force_login(user)
    form = "application/x-www-form-urlencoded"
    answer = client.generic("POST", path, b"username=+AGE-", f"{form}; charset={charset}")
    # A charset that nobody knows is ignored, and there is no token of CSRF.
    assert answer.status_code == (403 if charset == "nonsense" else 400)
