"""Single sign-on with a certified provider, over real HTTP, from the login page to the logout."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from django.apps import apps
from django.contrib.auth.models import User
from pydantic import SecretStr
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from replication.models import AuditAction, AuditEntry, SignOnIdentity
from s3sync.sso import provider
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "s3sync.sso.backend.ProviderBackend",
]


@pytest.fixture
def idp(live_server: LiveServer, settings: Settings) -> Iterator[IdentityProvider]:
    with IdentityProvider(f"{live_server.url}/admin/sso/callback/") as server:
        configure(settings, server)
        yield server


def configure(settings: Settings, server: IdentityProvider, **more: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = BACKENDS
    values = {
        "oidc_issuer": server.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(CLIENT_SECRET),
        "oidc_roles": ["ops=Operator", "viewers=Viewer", "admins=superuser"],
        "plain_http_hosts": ["127.0.0.1"],
    }
    settings.S3SYNC = settings.S3SYNC.model_copy(update=values | more)
    provider._descriptions.clear()
    # The tables are emptied after each test of this kind.
    import_module("replication.migrations.0010_groups").make_groups(apps, None)


class Browser(requests.Session):
    """Follows links and forms as a person does."""

    def log_in(self, start: str, subject: str) -> requests.Response:
        """Log in at the provider as this subject, and agree; returns the last page of s3sync."""
        page = self.get(start, timeout=60)
        while form := re.search(
            r'<form[^>]* action="([^"]+)" method="post">(.*?)</form>', page.text, re.S
        ):
            if "/interaction/" not in form[1]:
                break
            fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[2]))
            login = {"login": subject, "password": "any"} if fields["prompt"] == "login" else {}
            page = self.post(urljoin(page.url, form[1]), fields | login, timeout=60)
        return page


def sign_on(live_server: LiveServer, subject: str) -> tuple[Browser, requests.Response]:
    browser = Browser()
    login_page = browser.get(f"{live_server.url}/status/", timeout=60)
    link = re.search(r'id="single-sign-on" href="([^"]+)"', login_page.text)
    assert link is not None
    return browser, browser.log_in(urljoin(live_server.url, link[1]), subject)


def test_a_person_logs_in_by_the_provider_gets_the_groups_and_logs_out(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    idp.claim(
        u1={"groups": ["ops", "other"], "preferred_username": "alice", "email": "a@example.com"}
    )
    browser, page = sign_on(live_server, "u1")
    assert page.status_code == 200, page.text
    assert page.url == f"{live_server.url}/status/"
    user = User.objects.get()
    assert (user.username, user.email, user.has_usable_password()) == (
        "alice",
        "a@example.com",
        False,
    )
    assert [group.name for group in user.groups.all()] == ["Operator"]
    assert not user.is_superuser
    identity = SignOnIdentity.objects.get()
    assert (identity.issuer, identity.subject) == (idp.issuer, "u1")
    login = AuditEntry.objects.get(action=AuditAction.LOGGED_IN)
    assert (login.actor, login.address) == ("alice", "127.0.0.1")

    form = re.search(
        r'name="csrfmiddlewaretoken" value="(\w+)"',
        browser.get(f"{live_server.url}/admin/", timeout=60).text,
    )
    assert form is not None
    browser.post(f"{live_server.url}/admin/logout/", {"csrfmiddlewaretoken": form[1]}, timeout=60)
    assert AuditEntry.objects.filter(action=AuditAction.LOGGED_OUT, actor="alice").exists()
    assert "/admin/login/" in browser.get(f"{live_server.url}/status/", timeout=60).url


def test_groups_are_those_of_the_last_login(live_server: LiveServer, idp: IdentityProvider) -> None:
    idp.claim(u1={"groups": ["admins"]})
    sign_on(live_server, "u1")
    assert User.objects.get().is_superuser
    idp.claim(u1={"groups": ["viewers"]})
    sign_on(live_server, "u1")
    user = User.objects.get()
    assert not user.is_superuser
    assert [group.name for group in user.groups.all()] == ["Viewer"]
    assert AuditEntry.objects.filter(about="user u1: Viewer, by single sign-on").exists()


def test_a_person_of_no_mapped_group_is_refused_and_told_whom_to_ask(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    idp.claim(u1={"groups": ["sales"], "preferred_username": "bob"})
    _, page = sign_on(live_server, "u1")
    assert page.status_code == 403
    assert "bob may not use s3sync" in page.text
    assert "ops, viewers, admins" in page.text
    assert not User.objects.exists()
    assert AuditEntry.objects.get().action == AuditAction.LOGIN_REFUSED

    idp.claim(u1={"groups": ["ops"]})
    sign_on(live_server, "u1")
    idp.claim(u1={"groups": []})
    browser, page = sign_on(live_server, "u1")
    assert page.status_code == 403
    user = User.objects.get()
    assert not user.groups.exists()
    assert not user.is_staff
    assert "/admin/login/" in browser.get(f"{live_server.url}/admin/", timeout=60).url


def test_a_local_user_of_the_same_name_and_address_is_not_taken_over(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    local = User.objects.create_superuser("alice", "a@example.com", PASSWORD)
    idp.claim(u1={"groups": ["viewers"], "preferred_username": "Alice", "email": "a@example.com"})
    sign_on(live_server, "u1")
    made = SignOnIdentity.objects.get().user
    assert made != local
    assert re.fullmatch(r"Alice-[0-9a-f]{8}", made.username)
    local.refresh_from_db()
    assert local.is_superuser


def test_the_request_has_pkce_state_and_nonce_and_an_answer_counts_once(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    idp.claim(u1={"groups": ["ops"]})
    browser = Browser()
    begun = browser.get(f"{live_server.url}/admin/sso/", allow_redirects=False, timeout=60)
    query = parse_qs(urlsplit(begun.headers["Location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) == len(query["nonce"][0]) == 32
    page = browser.log_in(f"{live_server.url}/admin/sso/", "u1")
    callback = next(each.url for each in page.history if "/callback/" in each.url)
    assert browser.get(callback, timeout=60).status_code == 403
    stranger = Browser()  # has another session, as whoever is lured to the link
    assert stranger.get(callback, timeout=60).status_code == 403
    assert AuditEntry.objects.filter(action=AuditAction.LOGIN_FAILED).exists()


def test_a_link_of_another_site_logs_nobody_out(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    idp.claim(u1={"groups": ["ops"]})
    browser, _ = sign_on(live_server, "u1")
    link = f"{live_server.url}/admin/sso/callback/?error=access_denied&state=unknown"
    assert browser.get(link, timeout=60).status_code == 403
    assert "/admin/login/" not in browser.get(f"{live_server.url}/status/", timeout=60).url


def test_who_declines_at_the_provider_is_told_to_begin_again(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    browser = Browser()
    page = browser.get(f"{live_server.url}/admin/sso/", timeout=60)
    page = browser.get(f"{page.url}/abort", timeout=60)
    assert page.status_code == 403
    assert "Begin again" in page.text
    assert not User.objects.exists()


def test_a_code_given_with_a_password_is_not_looked_at(
    live_server: LiveServer, idp: IdentityProvider
) -> None:
    """The package's backend would take it from any request, without a state or a nonce."""
    browser = Browser()
    login = f"{live_server.url}/admin/login/?code=x&state=y"
    form = re.search(r'csrfmiddlewaretoken" value="(\w+)"', browser.get(login, timeout=60).text)
    assert form is not None
    fields = {"csrfmiddlewaretoken": form[1], "username": "nobody", "password": "wrong"}
    assert browser.post(login, fields, timeout=60).status_code == 200


def test_local_logins_can_be_switched_off(
    live_server: LiveServer, idp: IdentityProvider, settings: Settings
) -> None:
    User.objects.create_superuser("root", "", PASSWORD)
    browser = Browser()
    page = browser.get(f"{live_server.url}/admin/login/", timeout=60)
    form = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert form is not None
    configure(settings, idp, local_logins=False)
    page = browser.get(f"{live_server.url}/admin/login/", timeout=60)
    assert "password" not in page.text
    assert "single-sign-on" in page.text
    fields = {"csrfmiddlewaretoken": form[1], "username": "root", "password": PASSWORD}
    assert browser.post(f"{live_server.url}/admin/login/", fields, timeout=60).status_code == 403
    idp.claim(u1={"groups": ["ops"]})
    page = sign_on(live_server, "u1")[1]
    assert page.status_code == 200, page.text[-900:]


def test_without_single_sign_on_there_is_no_button_and_no_page(live_server: LiveServer) -> None:
    assert "single-sign-on" not in requests.get(f"{live_server.url}/admin/login/", timeout=60).text
    for path in ("", "callback/"):
        answer = requests.get(f"{live_server.url}/admin/sso/{path}", timeout=60)
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "http://127.0.0.1:9"},  # nobody is there
        {"private_networks": []},  # the door is shut
        {"plain_http_hosts": []},
    ],
)
def test_a_provider_that_is_not_as_configured_is_told_without_a_stack_trace(
    live_server: LiveServer, idp: IdentityProvider, settings: Settings, wrong: dict[str, Any]
) -> None:
    configure(settings, idp, **wrong)
    provider._pool.cache_clear()
    try:
        answer = requests.get(f"{live_server.url}/admin/sso/", timeout=60)
    finally:
        provider._pool.cache_clear()
    assert answer.status_code == 502
    assert "does not answer as it should" in answer.text


def test_a_wrong_client_secret_lets_nobody_in(
    live_server: LiveServer, idp: IdentityProvider, settings: Settings
) -> None:
    configure(settings, idp, oidc_client_secret=SecretStr("wrong"))
    idp.claim(u1={"groups": ["ops"]})
    _, page = sign_on(live_server, "u1")
    assert page.status_code == 502
    assert not User.objects.exists()


def test_groups_may_be_in_the_user_info_alone(live_server: LiveServer, settings: Settings) -> None:
    callback = f"{live_server.url}/admin/sso/callback/"
    with IdentityProvider(callback, groups_in_user_info=True) as idp:
        configure(settings, idp)
        idp.claim(u1={"groups": ["ops"]})
        page = sign_on(live_server, "u1")[1]
    assert page.status_code == 200, page.text[-900:]
    assert User.objects.get().groups.get().name == "Operator"
