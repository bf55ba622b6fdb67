"""The second factor of logins with a password: set up, asked for, lost, reset; and never shown."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from replication.models import AuditAction, AuditEntry, ConfigurationChange, RecoveryCode
from replication.operations import second_factor
from tests.admin.pages import messages_of

LOGIN, PAGE = "/admin/login/", "/admin/second_factor/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("alice", "", PASSWORD)


def log_in(code: str = "", *, password: str = PASSWORD, address: str = "192.0.2.1") -> Any:
    form = {"username": "alice", "password": password, "code": code}
    client = Client(REMOTE_ADDR=address)
    answer = client.post(LOGIN, form)
    answer.of = client  # type: ignore[attr-defined]
    return answer


def code_of(user: User, *, steps_ahead: int = 0) -> str:
    """The code that the user's app shows now, or will show."""
    device = TOTPDevice.objects.get(user=user)
    return f"{totp(device.bin_key, drift=steps_ahead):06}"


def begun_code(client: Client) -> str:
    """The code of an app that was given the secret of this client's set-up page."""
    return f"{totp(bytes.fromhex(client.session['second_factor_key'])):06}"


def next_code(user: User) -> str:
    """A code that has not been used, as after half a minute."""
    TOTPDevice.objects.update(last_t=-1)
    return code_of(user)


def set_up(user: User) -> list[str]:
    """Set up the second factor in the page; returns the recovery codes."""
    client = log_in().of
    client.get(PAGE)
    page = client.post(PAGE, {"password": PASSWORD, "code": begun_code(client)}).content.decode()
    return re.findall(r'<code class="key">([A-Z0-9-]+)</code>', page)


def actions() -> list[tuple[str, str, int | None]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "affected"))


def test_a_user_sets_it_up_and_logs_in_with_a_code_that_counts_once(user: User) -> None:
    client = log_in().of
    page = client.get(PAGE).content.decode()
    secret = second_factor.secret_text(
        second_factor.begin(user, client.session["second_factor_key"])
    )
    assert f'id="secret">{secret}<' in page
    assert 'src="data:image/svg+xml' in page
    assert client.get(PAGE).content.decode().count(secret) == 1  # a reload keeps the secret
    done = client.post(PAGE, {"password": PASSWORD, "code": begun_code(client)})
    assert done.content.decode().count('<code class="key">') == second_factor.RECOVERY_CODES
    assert client.get("/admin/").status_code == 200

    assert log_in().status_code == 200
    code = next_code(user)
    assert log_in(code, password="wrong").status_code == 200
    assert log_in(f"{code[:3]} {code[3:]}").status_code == 302
    assert log_in(code).status_code == 200
    assert (
        ("alice", AuditAction.FACTOR_SET, 1) in actions()
        and ("alice", AuditAction.LOGIN_FAILED, 3) in actions()
    )  # fmt: skip


def test_nobody_is_told_whether_the_password_or_the_code_was_wrong(user: User) -> None:
    set_up(user)
    pages = [
        re.sub(r' value="[^"]*"', "", log_in(code, password=password).content.decode())
        for code, password in (("000000", PASSWORD), ("", PASSWORD), ("000000", "wrong"))
    ]
    assert pages[0] == pages[1] == pages[2]
    assert "the code of your authenticator app" in pages[0]


def test_wrong_codes_are_limited_as_wrong_passwords_are(user: User) -> None:
    set_up(user)
    for _ in range(4):
        assert log_in("000000").status_code == 200
    assert log_in("000000").status_code == 429
    assert log_in(next_code(user)).status_code == 429
    assert log_in(next_code(user), address="192.0.2.9").status_code == 302
    assert ("alice", AuditAction.LOGIN_FAILED, 5) in actions()


def test_a_wrong_password_or_code_at_the_page_is_limited_too(user: User) -> None:
    client = log_in().of
    client.get(PAGE)
    wrong = [(PASSWORD, "000000"), ("wrong", begun_code(client))]
    for password, code in (*wrong, *wrong):
        page = client.post(PAGE, {"password": password, "code": code})
        assert "The password or the code is wrong" in page.content.decode()
    assert client.post(PAGE, {"password": PASSWORD, "code": "1"}).status_code == 429
    assert client.post(PAGE, {"password": PASSWORD, "code": begun_code(client)}).status_code == 429
    assert not second_factor.is_set_up(user)


def test_a_recovery_code_counts_once_in_place_of_a_code(user: User) -> None:
    first, second, *_ = set_up(user)
    assert log_in(first).status_code == 302
    assert log_in(first).status_code == 200
    assert log_in(second.lower().replace("-", " ")).status_code == 302
    assert RecoveryCode.objects.count() == second_factor.RECOVERY_CODES - 2
    assert first not in json.dumps(list(RecoveryCode.objects.values()))
    used = AuditEntry.objects.filter(action=AuditAction.RECOVERY_USED)
    assert [entry.about for entry in used.order_by("pk")] == [
        "users alice; 9 left",
        "users alice; 8 left",
    ]


def test_another_users_codes_do_not_count(user: User) -> None:
    codes = set_up(user)
    other = User.objects.create_superuser("bob", "", PASSWORD)
    begun = second_factor.begin(other)
    assert second_factor.confirm(other, begun.key, f"{totp(begun.bin_key):06}")
    assert not second_factor.accepts(other, codes[0])
    TOTPDevice.objects.update(last_t=-1)
    key = TOTPDevice.objects.get(user=user).bin_key
    assert not second_factor.accepts(other, f"{totp(key):06}")


@pytest.mark.django_db(transaction=True)
def test_of_two_logins_with_one_code_one_gets_in(user: User) -> None:
    recovery, *_ = set_up(user)
    for code in (next_code(user), recovery):

        def once(code: str = code) -> int:
            try:
                return int(log_in(code).status_code)
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            answers = sorted(each.result() for each in [pool.submit(once) for _ in range(2)])
        assert answers == [200, 302]


def test_a_user_removes_it_with_a_code_and_sets_it_up_anew(user: User) -> None:
    old = set_up(user)
    client = log_in(next_code(user)).of
    assert "You have 10 recovery codes left" in client.get(PAGE).content.decode()
    assert "wrong" in client.post(PAGE, {"code": "000000"}).content.decode()
    assert client.post(PAGE, {"code": next_code(user)}).status_code == 302
    assert not RecoveryCode.objects.exists()
    assert log_in().status_code == 302
    assert ("alice", AuditAction.FACTOR_REMOVED, 1) in actions()
    assert set_up(user)
    assert log_in(old[0]).status_code == 200


def test_an_administrator_resets_it_in_the_list_of_users(
    user: User, operator_client: Client
) -> None:
    set_up(user)
    users = reverse("admin:auth_user_changelist")
    assert 'alt="True"' in operator_client.get(users).content.decode()
    order = {"action": "reset_second_factor", "_selected_action": [user.pk]}
    answer = operator_client.post(users, order, follow=True)
    assert "1 second factor was removed" in messages_of(answer)
    assert log_in().status_code == 302
    entry = AuditEntry.objects.get(action=AuditAction.FACTOR_REMOVED)
    assert (entry.actor, entry.about, entry.affected) == ("operator", "users alice", 1)


def test_a_command_resets_it_for_the_last_administrator(user: User) -> None:
    set_up(user)
    out = StringIO()
    call_command("secondfactor", "list", stdout=out)
    assert out.getvalue() == "alice  second factor\n"
    call_command("secondfactor", "reset", "alice", stdout=StringIO())
    assert log_in().status_code == 302
    assert AuditEntry.objects.get(action=AuditAction.FACTOR_REMOVED).actor_kind == "command"
    for name, reason in (("alice", "has no second factor"), ("nobody", "There is no user")):
        with pytest.raises(CommandError, match=reason):
            call_command("secondfactor", "reset", name)


def test_where_it_is_required_nothing_else_can_be_done_without_it(user: User, limits: Any) -> None:
    limits(second_factor="required")
    answer = log_in()
    assert answer.status_code == 302
    client = answer.of
    for path in ("/admin/", "/status/", "/admin/replication/transferjob/", "/admin/nothing/"):
        assert client.get(path)["Location"] == PAGE, path
    assert client.post("/admin/auth/user/add/", {})["Location"] == PAGE
    assert client.get("/api/v1/status").status_code == 401
    assert "needs a second factor here" in client.get(PAGE).content.decode()
    client.post(PAGE, {"password": PASSWORD, "code": begun_code(client)})
    assert client.get("/admin/").status_code == 200
    assert log_in(next_code(user)).of.get("/status/").status_code == 200
    assert client.post("/admin/logout/").status_code == 200
    assert Client().get("/admin/login/").status_code == 200


def test_who_opened_the_page_before_does_not_know_the_secret(user: User) -> None:
    """A stranger with the old password, or at an open session."""
    stranger, owner = log_in().of, log_in().of
    secrets = {re.findall(r'id="secret">([^<]+)<', c.get(PAGE).content.decode())[0]
               for c in (stranger, owner)}  # fmt: skip
    assert len(secrets) == 2
    assert not TOTPDevice.objects.exists()
    wrong = owner.post(PAGE, {"password": PASSWORD, "code": begun_code(stranger)})
    assert "wrong" in wrong.content.decode()
    known = begun_code(owner)
    new = "another horse battery"
    words = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert owner.post("/admin/password_change/", words).status_code == 302
    assert "second_factor_key" not in owner.session
    owner.post(PAGE, {"password": new, "code": known})
    assert not second_factor.is_set_up(user)


def test_a_set_up_ends_the_users_other_sessions(user: User) -> None:
    before = log_in().of
    assert before.get("/admin/").status_code == 200
    set_up(user)
    assert before.get("/admin/")["Location"].startswith(LOGIN)
    assert before.get(PAGE)["Location"].startswith(LOGIN)
    assert log_in(next_code(user)).of.get("/admin/").status_code == 200


def test_a_reset_sends_open_sessions_to_the_page_where_it_is_required(
    user: User, limits: Any
) -> None:
    limits(second_factor="required")
    set_up(user)
    client = log_in(next_code(user)).of
    assert client.get("/admin/").status_code == 200
    call_command("secondfactor", "reset", "alice", stdout=StringIO())
    assert client.get("/admin/")["Location"] == PAGE
    set_up(user)  # elsewhere
    assert client.get("/admin/")["Location"].startswith(LOGIN)


def test_no_secret_is_in_the_audit_or_on_another_page(user: User, operator_client: Client) -> None:
    set_up(user)
    key = TOTPDevice.objects.get().key
    kept = json.dumps(list(ConfigurationChange.objects.values()), default=str)
    kept += json.dumps(list(AuditEntry.objects.values()), default=str)
    assert key not in kept
    assert TOTPDevice not in admin.site._registry
    page = reverse("admin:auth_user_change", args=[user.pk])
    assert key not in operator_client.get(page).content.decode()


def test_who_has_come_by_single_sign_on_is_sent_to_the_provider(
    user: User, limits: Any, settings: Settings
) -> None:
    backend = "s3sync.sso.backend.ProviderBackend"
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, backend]
    limits(second_factor="required")
    client = Client()
    client.force_login(user, backend=backend)
    assert client.get("/admin/").status_code == 200
    assert "your identity provider" in client.get(PAGE).content.decode()
    client.post(PAGE, {"password": PASSWORD, "code": "1"})
    assert not TOTPDevice.objects.exists()


def test_a_stranger_sees_no_page() -> None:
    assert Client().get(PAGE)["Location"].startswith(LOGIN)
