"""API tokens: who created them, what they may do, and that no secret is stored or shown again."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from replication.models import (
    ActorKind,
    ApiToken,
    AuditAction,
    AuditEntry,
    ConfigurationChange,
    TokenRole,
)
from tests.admin.pages import add_url, list_url, messages_of, run_action
from tests.api.callers import a_caller, with_token
from tests.support.examples import a_rule

STATUS = "/api/v1/status"

pytestmark = pytest.mark.django_db


def apitoken(*arguments: str) -> str:
    out = StringIO()
    call_command("apitoken", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_a_token_from_the_command_line_works_until_it_is_revoked():
    secret = apitoken("create", "deploy", "--role", "operate")
    token = ApiToken.objects.get()
    assert len(secret) > 40
    assert secret.startswith(token.prefix)
    assert secret not in json.dumps(list(ApiToken.objects.values()), default=str)
    assert with_token(secret).get(STATUS).status_code == 200
    listed = apitoken("list")
    assert listed.startswith(f"deploy  operate  {token.prefix}…  valid until 2")
    assert secret not in listed
    apitoken("revoke", "deploy")
    answer = with_token(secret).get(STATUS)
    assert answer.status_code == 401
    assert "deploy was revoked" in answer.json()["detail"]
    assert "revoked 2" in apitoken("list")
    with pytest.raises(CommandError, match="is already revoked"):
        apitoken("revoke", "deploy")
    made = f"API token deploy, role operate, ends {token.ends_at:%Y-%m-%d %H:%M} UTC"
    entries = AuditEntry.objects.order_by("pk")
    assert list(entries.values_list("actor_kind", "action", "about", "affected")) == [
        (ActorKind.COMMAND, AuditAction.TOKEN_CREATED, made, 1),
        (ActorKind.COMMAND, AuditAction.TOKENS_REVOKED, "API tokens deploy", 1),
        (ActorKind.COMMAND, AuditAction.TOKENS_REVOKED, "API tokens deploy", 0),
    ]


@pytest.mark.parametrize("name", ["taken", "Not a name", ""])
def test_a_taken_or_invalid_name_is_refused_with_the_reason(name):
    apitoken("create", "taken")
    with pytest.raises(CommandError, match="was not created: name: "):
        apitoken("create", name)
    with pytest.raises(CommandError, match="There is no token named 'unknown'"):
        apitoken("revoke", "unknown")


def test_a_token_from_the_admin_is_shown_once_and_can_be_revoked_there(operator_client: Client):
    page = operator_client.post(add_url("apitoken"), {"name": "grafana", "role": "read"})
    secret = page.content.decode().split('id="secret">')[1].split("<")[0]
    assert with_token(secret).get(STATUS).status_code == 200
    listed = operator_client.get(list_url("apitoken")).content.decode()
    assert "grafana" in listed
    assert secret not in listed
    again = operator_client.post(add_url("apitoken"), {"name": "grafana", "role": "read"})
    assert "already exists" in again.content.decode()
    pk = ApiToken.objects.get().pk
    assert "1 token was revoked" in messages_of(
        run_action(operator_client, "apitoken", "revoke", [pk])
    )
    assert with_token(secret).get(STATUS).status_code == 401
    assert set(AuditEntry.objects.values_list("actor", flat=True)) == {"operator"}


def days_left(token: ApiToken) -> int | None:
    return round((token.ends_at - timezone.now()) / timedelta(days=1)) if token.ends_at else None


@pytest.mark.parametrize(
    ("arguments", "days"),
    [((), 90), (("--expires", "30d"), 30), (("--expires", "never"), None)],
)
def test_a_token_ends_after_90_days_unless_another_end_is_named(
    arguments: tuple[str, ...], days: int | None
):
    secret = apitoken("create", "deploy", *arguments)
    assert days_left(ApiToken.objects.get()) == days
    assert with_token(secret).get(STATUS).status_code == 200


@pytest.mark.parametrize("text", ["0d", "30", "-1d", "1y", "99999999d", ""])
def test_an_end_that_is_no_number_of_days_is_refused(text: str):
    with pytest.raises(CommandError, match="neither a number of days"):
        apitoken("create", "deploy", f"--expires={text}")
    assert not ApiToken.objects.exists()


def test_a_token_that_has_ended_is_told_so_and_what_to_do():
    secret = apitoken("create", "deploy")
    ApiToken.objects.update(ends_at=Now() - timedelta(minutes=1))
    answer = with_token(secret).get(STATUS)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert "deploy ended on 2" in answer.json()["detail"]
    assert "apitoken create" in answer.json()["detail"]
    assert answer["WWW-Authenticate"] == "Bearer"
    assert with_token(secret).get("/metrics").status_code == 401
    assert ApiToken.objects.get().last_used_at is None
    assert "ended 2" in apitoken("list")


def test_a_token_is_bound_to_rules_on_the_command_line():
    for name in ("photos", "scans", "other"):
        a_rule(name)
    secret = apitoken("create", "team", "--rule", "scans", "--rule", "photos")
    names = [rule["name"] for rule in with_token(secret).get("/api/v1/rules").json()]
    assert names == ["photos", "scans"]
    assert "rules: photos, scans" in apitoken("list")
    assert "rules photos, scans" in AuditEntry.objects.get().about
    with pytest.raises(CommandError, match="There is no rule 'typo'"):
        apitoken("create", "another", "--rule", "typo")
    assert ApiToken.objects.count() == 1


def test_the_admin_has_an_end_and_rules_for_a_new_token(operator_client: Client):
    rule = a_rule("photos")
    form = operator_client.get(add_url("apitoken")).context["adminform"].form
    assert round((form["ends_at"].value() - timezone.now()) / timedelta(days=1)) == 90
    order = {"name": "team", "role": "read", "rules": [rule.pk]}
    past = {"ends_at_0": "2026-01-01", "ends_at_1": "00:00:00"}
    page = operator_client.post(add_url("apitoken"), order | past)
    assert "This time is over" in page.content.decode()
    end = timezone.now() + timedelta(days=30)
    moment = {"ends_at_0": f"{end:%Y-%m-%d}", "ends_at_1": "00:00:00"}
    page = operator_client.post(add_url("apitoken"), order | moment)
    secret = page.content.decode().split('id="secret">')[1].split("<")[0]
    assert len(with_token(secret).get("/api/v1/rules").json()) == 1
    assert list(ApiToken.objects.get().rules.all()) == [rule]
    listed = operator_client.get(list_url("apitoken")).content.decode()
    assert "photos" in listed


def test_a_token_and_its_rules_are_in_the_audit_and_its_hash_is_not():
    apitoken("create", "team", "--rule", a_rule("photos").name)
    changes = {change.table: change.after or {} for change in ConfigurationChange.objects.all()}
    assert changes["replication_apitoken"]["is_bound"] is True
    assert changes["replication_apitoken"]["ends_at"]
    assert "secret_sha256" not in changes["replication_apitoken"]
    assert "replication_apitoken_rules" in changes


def test_the_last_use_of_a_token_is_written_at_most_once_a_minute():
    caller = a_caller("grafana", TokenRole.READ)
    caller.get(STATUS)
    assert ApiToken.objects.get().last_used_at
    with CaptureQueriesContext(connection) as queries:
        caller.get(STATUS)
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]
    ApiToken.objects.update(last_used_at=Now() - timedelta(seconds=61))
    caller.get(STATUS)
    assert ApiToken.objects.filter(last_used_at__gt=Now() - timedelta(seconds=30)).exists()


def test_a_token_from_the_environment_has_the_role_operate_and_is_audited(caller: Client):
    rule = a_rule()
    assert caller.post(f"/api/v1/rules/{rule.name}/pause").status_code == 200
    entry = AuditEntry.objects.get()
    assert (entry.actor_kind, entry.actor) == (ActorKind.TOKEN, "S3SYNC_API_TOKENS")
    assert entry.about == f"rules {rule.name}"


def test_over_its_limit_a_token_is_told_when_to_retry(limits):
    limits(api_calls_per_second=0.5, api_event_calls_per_second=0)
    caller, other = a_caller("eager", TokenRole.OPERATE), a_caller("other", TokenRole.READ)
    assert caller.get(STATUS).status_code == 200
    answer = caller.get(STATUS)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_calls")
    assert answer["Retry-After"] == "2"
    assert other.get(STATUS).status_code == 200
    for _ in range(3):
        answer = caller.post("/api/v1/events", "[]", content_type="application/json")
        assert answer.status_code == 202
