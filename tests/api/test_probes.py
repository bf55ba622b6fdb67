"""/healthz and /readyz, and the answer of each endpoint while the database is down."""

import http.client
import json

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.support.processes import web_server

TOKEN = "a-token-for-this-test"


def test_healthz_uses_no_database(client: Client):
    # Without the django_db mark, pytest-django refuses any access to the database.
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_probe_by_ip_address_is_answered(client: Client, settings: Settings):
    settings.ALLOWED_HOSTS = ["s3sync.example.com"]
    assert client.get("/healthz", headers={"Host": "10.0.3.7:8000"}).status_code == 200
    assert client.get("/status/", headers={"Host": "10.0.3.7:8000"}).status_code == 400


@pytest.mark.django_db
def test_readyz_is_ok_if_the_database_is_up_and_migrated(client: Client):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_says_what_to_do_if_a_migration_is_missing(client: Client):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'replication'")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]) == (503, "not_migrated")
    assert "manage.py migrate" in answer.json()["detail"]


def test_while_the_database_is_down_callers_are_told_to_retry():
    # Nothing listens on port 1.
    away = "postgresql://s3sync:password@127.0.0.1:1/s3sync"
    with web_server(DATABASE_URL=away, S3SYNC_API_TOKENS=TOKEN) as address:
        server = http.client.HTTPConnection(address, timeout=90)

        def ask(method: str, path: str, body: str | None = None):
            server.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"})
            answer = server.getresponse()
            content = answer.read().decode()
            assert "Traceback" not in content
            assert "password" not in content
            return answer, content

        answer, _ = ask("GET", "/healthz")
        assert answer.status == 200

        answer, content = ask("GET", "/readyz")
        assert (answer.status, json.loads(content)["error"]) == (503, "database_unavailable")

        event = json.dumps({"domain": "files.example.com", "key": "a"})
        for method, path, body in (
            ("POST", "/api/v1/events", event),
            ("GET", "/api/v1/status", None),
        ):
            answer, content = ask(method, path, body)
            assert (answer.status, json.loads(content)["error"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "5"

        answer, content = ask("GET", "/status/")
        assert answer.status in {302, 503}  # without a session it redirects to the login
