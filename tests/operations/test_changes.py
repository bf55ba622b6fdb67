"""Each change of the configuration is kept with before and after, whichever way it was made."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from replication.models import (
    ApiToken,
    AuditEntry,
    ConfigurationChange,
    Destination,
    EventQueue,
    ReplicationRule,
    SignOnIdentity,
    Source,
)
from replication.operations.retention import prune
from tests.admin.pages import change_url, list_url
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db(transaction=True)

HONEST, OTHER = "https://oss-cn-hongkong.aliyuncs.com", "https://oss-cn-hangzhou.aliyuncs.com"


@pytest.fixture
def rule() -> ReplicationRule:
    """A rule whose making is forgotten."""
    made = a_rule()
    Destination.objects.update(endpoint=HONEST, region="cn-hongkong")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE replication_configurationchange")
    return made


def changes(table: str = "") -> list[ConfigurationChange]:
    found = ConfigurationChange.objects.order_by("pk")
    return list(found.filter(table=table) if table else found)


def post_destination(client: Client, destination: Destination, **fields: str) -> None:
    """Save the form of the destination with some fields changed."""
    url = change_url("destination", destination.pk)
    form = client.get(url).context["adminform"].form
    data = {name: form[name].value() for name in form.fields}
    data = {name: "" if value is None else value for name, value in data.items()} | fields
    answer = client.post(url, data)
    assert answer.status_code == 302, answer.context["errors"]


def test_the_audit_alone_says_who_led_data_where_and_for_how_long(
    rule: ReplicationRule, admin_client: Client, admin_user: User
) -> None:
    """An endpoint and a profile are changed, and changed back."""
    place = rule.destination
    there = {"endpoint": OTHER, "region": "cn-hangzhou", "credential_profile": "other"}
    back = {"endpoint": HONEST, "region": "cn-hongkong", "credential_profile": "default"}
    for fields in (there, back):
        post_destination(admin_client, place, **fields)

    lines = [json.loads(line) for line in audit()]
    led = [line for line in lines if line.get("table") == "replication_destination"]
    assert [(line["row"], line["actor"]) for line in led] == [(place.name, "admin")] * 2
    assert [(line["before"], line["after"]) for line in led] == [(back, there), (there, back)]
    assert led[0]["at"] < led[1]["at"]
    assert {line["entry"] for line in led} <= {line["entry"] for line in lines if "action" in line}


def test_the_export_says_from_which_address_somebody_logged_in(admin_user: User) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.post(reverse("admin:login"), {"username": "admin", "password": "password"})
    [line] = [json.loads(line) for line in audit() if '"logged_in"' in line]
    assert (line["actor"], line["address"]) == ("admin", "192.0.2.7")


def audit(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("audit", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_a_change_in_a_shell_is_kept_with_the_user_of_the_database(rule: ReplicationRule) -> None:
    Destination.objects.update(bucket="another")
    [change] = changes()
    assert (change.before, change.after) == (
        {"bucket": rule.destination.bucket},
        {"bucket": "another"},
    )
    assert change.entry is None
    assert change.database_user
    assert "127.0.0.1" in change.client


def test_a_rules_file_is_recorded_together_with_its_changes(
    rule: ReplicationRule, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        json.dumps({"sources": [{"name": "new", "bucket": "new", "region": "ap-east-1"}]})
    )
    call_command("applyrules", str(file), "--dry-run", stdout=StringIO())
    assert not changes()
    call_command("applyrules", str(file), stdout=StringIO())
    [change] = changes()
    entry = AuditEntry.objects.get()
    assert change.entry == entry
    assert (entry.actor_kind, entry.affected) == ("command", 1)
    assert "source new" in entry.about
    assert change.before is None
    assert change.after is not None
    assert (change.after["bucket"], change.after["credential_profile"]) == ("new", "default")
    call_command("applyrules", str(file), stdout=StringIO())  # changes nothing
    assert (len(changes()), AuditEntry.objects.count()) == (1, 1)


def test_what_is_deleted_is_kept_whole(rule: ReplicationRule) -> None:
    rule.delete()
    [change] = changes("replication_replicationrule")
    assert change.after is None
    assert change.before is not None
    assert change.before["destination_id"] == rule.destination_id


def test_a_delete_in_the_admin_is_its_makers(rule: ReplicationRule, admin_client: Client) -> None:
    """Django logs a deletion before it makes it."""
    rule.delete()
    url = reverse("admin:replication_source_delete", args=[Source.objects.get().pk])
    admin_client.post(url, {"post": "yes"})
    [change] = changes("replication_source")
    assert change.after is None
    assert change.entry is not None
    assert change.entry.actor == "admin"


def test_a_temporary_table_gets_no_change(rule: ReplicationRule) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE replication_configurationchange "
            "(LIKE public.replication_configurationchange INCLUDING DEFAULTS) ON COMMIT DROP"
        )
        cursor.execute("UPDATE replication_destination SET bucket = 'evil'")
    assert [change.after for change in changes()] == [{"bucket": "evil"}]


def test_what_the_service_writes_by_itself_is_no_change(rule: ReplicationRule) -> None:
    now = datetime.now(UTC)
    EventQueue.objects.create(name="events", url="https://sqs.example.com/q", region="ap-east-1")
    before = len(changes())
    ReplicationRule.objects.update(parked_at=now, parked_code="source_kms", braked_at=now)
    Destination.objects.update(throttled_until=now, width=3, width_at=now)
    EventQueue.objects.update(last_polled_at=now, last_error="away", depth=7)
    rule.save()  # all columns, none of them changed
    assert len(changes()) == before


def test_people_and_their_rights_are_kept_and_no_password(admin_user: User) -> None:
    admin_user.set_password("a long and new password")
    admin_user.is_superuser = False
    admin_user.save()
    made, changed = changes("auth_user")
    assert made.after is not None
    assert (made.row, made.after["is_superuser"]) == ("admin", True)
    assert (changed.before, changed.after) == ({"is_superuser": True}, {"is_superuser": False})
    assert "password" not in made.after


def all_columns(model: type[Any], left_out: tuple[str, ...]) -> set[str]:
    return {field.column for field in model._meta.concrete_fields} - set(left_out)


@pytest.mark.parametrize(
    "model",
    [Source, Destination, ReplicationRule, EventQueue, ApiToken, SignOnIdentity],
)
def test_each_column_is_kept_or_is_the_services_own(model: type[Any]) -> None:
    """A new column of one of these tables needs its triggers made anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT array_agg(attname::text) FROM pg_attribute
                    WHERE attrelid = tgrelid AND attnum = ANY (tgattr)),
                   string_to_array(encode(tgargs, 'escape'), '\\000')
            FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'note_change'
            """,
            [model._meta.db_table],
        )
        ((kept, left_out),) = cursor.fetchall()
    assert all_columns(model, tuple(left_out or ())) <= set(kept)


# -- append-only -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE replication_configurationchange SET before = '{}'",
        "UPDATE replication_configurationchange SET database_user = 'nobody'",
        "DELETE FROM replication_configurationchange",
        "UPDATE replication_auditentry SET actor = 'nobody'",
        "UPDATE replication_auditentry SET about = ''",
        "UPDATE replication_auditentry SET affected = 999",
        "UPDATE replication_auditentry SET ended_at = NULL",
        "UPDATE replication_configurationchange SET entry_id = 1",
        "INSERT INTO replication_auditentry (actor_kind, actor, action, about, began_at) "
        "VALUES ('user', 'x', 'changed', 'y', 'infinity')",
        "DELETE FROM replication_auditentry",
    ],
)
def test_the_audit_can_not_be_altered(rule: ReplicationRule, statement: str) -> None:
    Source.objects.update(bucket="another")
    AuditEntry.objects.create(
        actor="a",
        actor_kind="user",
        action="changed",
        about="b",
        began_at=datetime.now(UTC),
        ended_at=datetime.now(UTC),
    )
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_old_changes_are_deleted_with_the_audit(rule: ReplicationRule, settings: Settings) -> None:
    for days in (399, 401):
        ConfigurationChange.objects.create(
            made_at=datetime.now(UTC) - timedelta(days=days),
            transaction=1,
            table="replication_source",
            row=f"{days}",
        )
    prune(seconds=10)
    assert [change.row for change in changes()] == ["399"]


# -- the command -------------------------------------------------------------------------------


def test_the_export_begins_where_it_is_asked_to(rule: ReplicationRule) -> None:
    Source.objects.update(bucket="another")
    assert len(audit()) == 1
    assert len(audit("--since", "2020-01-31")) == 1
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert audit("--since", tomorrow.isoformat()) == []
    with pytest.raises(CommandError, match="2026-11-30T08:00:00Z"):
        audit("--since", "2026-11-31")


@pytest.mark.parametrize("json_text", ["9" * 5001, "[" * 3000 + "]" * 3000])
def test_what_python_can_not_read_keeps_nobody_from_the_audit(
    rule: ReplicationRule, admin_client: Client, json_text: str
) -> None:
    statement = (
        "INSERT INTO replication_configurationchange "
        '(made_at, transaction, database_user, client, "table", "row", before) '
        "VALUES (now(), 1, 'mallory', '', 'auth_user', 'root', %s::jsonb)"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [json_text])
    assert any("mallory" in line for line in audit())
    change = ConfigurationChange.objects.get(database_user="mallory")
    assert len(f"{change.before}") == len(json_text)
    for page in (list_url("configurationchange"), change_url("configurationchange", change.pk)):
        assert admin_client.get(page).status_code == 200
