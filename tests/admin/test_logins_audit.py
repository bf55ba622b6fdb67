"""Logins, good and bad, are in the audit with name and address, in a bounded number of entries."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from replication.models import AuditAction, AuditEntry
from replication.operations import logins_audit
from tests.admin.pages import list_url

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple battery horse"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("alice", "", PASSWORD)


def log_in(client: Client, password: str, name: str = "alice") -> Any:
    return client.post(LOGIN, {"username": name, "password": password})


def entries() -> list[tuple[str, str, str | None, int | None]]:
    rows = AuditEntry.objects.order_by("id")
    return list(rows.values_list("actor", "action", "address", "affected"))


def test_a_login_a_change_of_the_password_and_a_logout_are_recorded(user: User) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    assert log_in(client, PASSWORD).status_code == 302
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": "other"}
    assert client.post("/admin/password_change/", form).status_code == 200
    form["new_password2"] = NEW_PASSWORD
    assert client.post("/admin/password_change/", form).status_code == 302
    client.post("/admin/logout/")
    assert client.post("/admin/password_change/", form).status_code == 302  # to the login
    assert entries() == [
        ("alice", AuditAction.LOGGED_IN, "192.0.2.1", None),
        ("alice", AuditAction.PASSWORD_CHANGED, "192.0.2.1", None),
        ("alice", AuditAction.LOGGED_OUT, "192.0.2.1", None),
    ]
    assert not AuditEntry.objects.filter(ended_at=None).exists()


def test_wrong_old_passwords_are_limited_and_recorded_as_failed_logins_are(user: User) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    assert log_in(client, PASSWORD).status_code == 302
    form = {"old_password": "wrong", "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    for _ in range(4):
        assert client.post("/admin/password_change/", form).status_code == 200
    # Another mistake than that is none.
    weak = form | {"old_password": PASSWORD, "new_password1": "1", "new_password2": "1"}
    assert client.post("/admin/password_change/", weak).status_code == 200
    assert client.post("/admin/password_change/", form).status_code == 429
    refused = client.post("/admin/password_change/", form | {"old_password": PASSWORD})
    assert refused.status_code == 429
    assert "Try again in 15 minutes" in refused.content.decode()
    assert client.get("/admin/").status_code == 200
    assert entries()[1:] == [
        ("alice", AuditAction.LOGIN_FAILED, "192.0.2.1", 5),
        ("alice", AuditAction.LOGIN_REFUSED, "192.0.2.1", 2),
    ]


def test_failures_of_a_name_at_an_address_are_one_entry_with_a_count(user: User) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        for _ in range(3):
            log_in(Client(REMOTE_ADDR=address), "wrong")
    for _ in range(4):
        log_in(Client(REMOTE_ADDR="192.0.2.1"), "wrong")
    assert entries() == [
        ("alice", AuditAction.LOGIN_FAILED, "192.0.2.1", 5),
        ("alice", AuditAction.LOGIN_FAILED, "192.0.2.2", 3),
        ("alice", AuditAction.LOGIN_REFUSED, "192.0.2.1", 3),
    ]


def test_invented_names_are_one_entry_of_their_address_and_are_not_kept(user: User) -> None:
    for number in range(4):
        log_in(Client(REMOTE_ADDR="192.0.2.1"), "wrong", name=f"a-password-{number}")
    assert entries() == [(logins_audit.NO_USER, AuditAction.LOGIN_FAILED, "192.0.2.1", 4)]


def test_failures_from_ever_more_addresses_do_not_fill_the_table(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins_audit, "MANY_ENTRIES", 3)
    for number in range(9):
        log_in(Client(REMOTE_ADDR=f"192.0.2.{number}"), "wrong", name=f"nobody-{number}")
    assert [entry[2:] for entry in entries()] == [
        *(("192.0.2.0", 1), ("192.0.2.1", 1), ("192.0.2.2", 1)),
        (None, 6),
    ]


def test_the_audits_page_says_who_failed_from_where_and_how_often(user: User) -> None:
    for _ in range(2):
        log_in(Client(REMOTE_ADDR="192.0.2.7"), "wrong")
    client = Client(REMOTE_ADDR="192.0.2.1")
    log_in(client, PASSWORD)
    page = client.get(list_url("auditentry")).content.decode()
    for text in ("failed to log in", "from 192.0.2.7", "2 times", "logged in", "from 192.0.2.1"):
        assert text in page
