"""Login: a lockout after wrong passwords, secure cookies, and no weak passwords."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models import F
from django.test import Client

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
    assert "for 15 minutes" in locked_out.content.decode()
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
    for number in range(5):
        log_in("wrong", **{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"})
    assert log_in(PASSWORD, **{"X-Forwarded-For": "198.51.100.7"}).status_code == 429
    assert log_in(PASSWORD, **{"X-Forwarded-For": "198.51.100.8"}).status_code == 302


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
