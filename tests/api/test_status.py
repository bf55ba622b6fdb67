"""GET /api/v1/status: the JSON has the same content as the page."""

import pytest
from django.test import Client

from replication.models import JobState
from tests.support.examples import a_job, a_rule

URL = "/api/v1/status"

pytestmark = pytest.mark.django_db


def test_the_status_is_numbers_and_problems(caller: Client):
    a_job(a_rule(), state=JobState.FAILED)
    answer = caller.get(URL)
    assert answer.status_code == 200
    status = answer.json()
    assert status["healthy"] is False
    assert {
        "code": "no_lane",
        "detail": status["problems"][0]["detail"],
        "rule": "",
        "queue": "",
    } == (status["problems"][0])
    assert status["jobs"]["failed"] == status["rules"][0]["jobs"]["failed"] == 1
    assert status["rules"][0]["jobs"]["lag_p50_seconds"] is None
    assert status["generated_at"].endswith("Z")


def test_the_schema_describes_the_status(client: Client):
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert "lag_p99_seconds" in schemas["JobNumbers"]["properties"]


def test_a_call_without_a_valid_token_gets_401(client: Client):
    answer = client.get(URL)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_other_methods_get_405(caller: Client, method: str):
    answer = getattr(caller, method)(URL)
    assert (answer.status_code, answer["Allow"]) == (405, "GET")
