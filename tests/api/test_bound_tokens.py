"""A token that is bound to rules sees and touches these rules alone, whatever it calls."""

import json
import re
from typing import Any

import pytest
from django.conf import settings
from django.db.models import Model
from django.test import Client

from replication.models import (
    DeadLetter,
    EndedJob,
    EventQueue,
    Job,
    JobState,
    ReplicationRule,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepState,
    TokenRole,
    TransferJob,
)
from tests.api.callers import a_caller
from tests.support.examples import a_job, a_rule

OWN, OTHER = "photos", "invoices"

# What a token bound to rules gets of each operation.
#   rule: what its path names must be of a rule of the token; else 404, as if it did not exist
#   limited: the rows of the token's rules, and no others
#   refused: 403
EXPECTED = {
    "POST /api/v1/events": "limited",
    "GET /api/v1/status": "limited",
    "GET /api/v1/rules": "limited",
    "GET /api/v1/rules/{name}": "rule",
    "POST /api/v1/rules/{name}/pause": "rule",
    "POST /api/v1/rules/{name}/resume": "rule",
    "POST /api/v1/rules/{name}/look-again": "rule",
    "GET /api/v1/sweeps": "limited",
    "GET /api/v1/sweeps/{sweep_id}": "rule",
    "PATCH /api/v1/sweeps/{sweep_id}": "rule",
    "GET /api/v1/sweeps/{sweep_id}/findings": "rule",
    "POST /api/v1/rules/{name}/sweeps": "rule",
    "POST /api/v1/sweeps/{sweep_id}/pause": "rule",
    "POST /api/v1/sweeps/{sweep_id}/resume": "rule",
    "POST /api/v1/sweeps/{sweep_id}/cancel": "rule",
    "GET /api/v1/jobs": "limited",
    "POST /api/v1/jobs/retry": "limited",
    "GET /api/v1/jobs/{job_id}": "rule",
    "POST /api/v1/jobs/{job_id}/retry": "rule",
    "POST /api/v1/jobs/{job_id}/cancel": "rule",
    "GET /api/v1/dead-letters": "refused",
    "GET /api/v1/dead-letters/{letter_id}": "refused",
    "POST /api/v1/dead-letters/{letter_id}/replay": "refused",
    "DELETE /api/v1/dead-letters/{letter_id}": "refused",
}
# Bodies with which the operations that need one do something, to whatever they may.
BODIES: dict[str, Any] = {
    "/events": [{"domain": "shared.example.com", "key": f"{name}/a"} for name in (OWN, OTHER)],
    "/look-again": {"keys": [f"{OWN}/a", f"{OTHER}/a"]},
    "/jobs/retry": {"error": "source_access_denied"},
    "/rules/{name}/sweeps": {"kind": "reconcile"},
    "/sweeps/{sweep_id}": {"requests_per_second": 5},
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def rules() -> list[ReplicationRule]:
    """The token's rule and another one, of one source; both have jobs, and a sweep that runs."""
    own = a_rule(OWN, domain="shared.example.com")
    other = a_rule(OTHER, source=own.source)
    for rule in (own, other):
        for state in (JobState.FAILED, JobState.PENDING, JobState.COMPLETED):
            a_job(rule, f"{rule.name}/{state}", state=state)
        sweep = Sweep.objects.create(
            rule=rule, kind=SweepKind.RECONCILE, rule_version=1, state=SweepState.RUNNING
        )
        SweepFinding.objects.create(sweep=sweep, key=f"{rule.name}/k", verdict="missing")
    return [own, other]


@pytest.fixture
def bound(rules: list[ReplicationRule]) -> Client:
    return a_caller("bound", TokenRole.OPERATE, rules=rules[:1])


def operations() -> list[str]:
    document = json.loads((settings.BASE_DIR / "docs/reference/openapi.json").read_text())
    return [
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    ]


def call(client: Client, operation: str, **values: object) -> Any:
    method, path = operation.split()
    body: Any = next((body for end, body in BODIES.items() if path.endswith(end)), {})
    path = re.sub(r"\{(\w+)\}", lambda match: str(values[match[1]]), path)
    return client.generic(method, path, json.dumps(body), content_type="application/json")


def values_of(rule: ReplicationRule) -> dict[str, object]:
    """What names the rule, its failed job and its sweep in paths; and a dead letter."""
    queue = a_queue()
    return {
        "name": rule.name,
        "job_id": Job.objects.get(rule=rule, state=JobState.FAILED).pk,
        "sweep_id": Sweep.objects.get(rule=rule).pk,
        "letter_id": DeadLetter.objects.get(queue=queue).pk,
    }


def a_queue() -> EventQueue:
    """A queue with a dead letter."""
    queue, is_new = EventQueue.objects.get_or_create(name="q", url="https://q/1", region="r")
    if is_new:
        DeadLetter.objects.create(
            queue=queue, message_id="1", body="?", received_at="2026-11-23T06Z"
        )
    return queue


def everything_of(rule: ReplicationRule) -> list[Any]:
    """All rows of the rule; and the dead letters, which are of no rule."""
    models: list[type[Model]] = [TransferJob, Sweep]
    rows = [list(m._default_manager.filter(rule=rule).order_by("pk").values()) for m in models]
    return [
        *rows,
        ReplicationRule.objects.filter(pk=rule.pk).values().get(),
        *DeadLetter.objects.values(),
    ]


def test_each_operation_has_an_expectation() -> None:
    assert set(operations()) == set(EXPECTED)


@pytest.mark.parametrize("operation", operations())
def test_a_bound_token_reaches_its_own_rules_and_no_others(
    operation: str, rules: list[ReplicationRule], bound: Client
) -> None:
    own, other = rules
    of_own, of_other = values_of(own), values_of(other)
    before = everything_of(other)
    answer = call(bound, operation, **of_other)
    body = answer.content.decode()
    match EXPECTED[operation]:
        case "rule":
            assert answer.status_code == 404, body
            mine = call(bound, operation, **of_own)
            # The job is failed, so it can't be cancelled, and the sweep runs.
            assert mine.status_code in {200, 202, 409}, mine.content
            body = mine.content.decode()
        case "limited":
            assert answer.status_code in {200, 202}, body
        case "refused":
            assert (answer.status_code, answer.json()["error"]) == (403, "outside_rules")
            assert "bound to rules" in answer.json()["detail"]
            assert "--rule" in answer.json()["detail"]
    assert OTHER not in body
    assert everything_of(other) == before


def test_the_metrics_of_all_rules_are_refused_and_an_unbound_token_reaches_all(
    rules: list[ReplicationRule], bound: Client
) -> None:
    assert bound.get("/metrics").status_code == 403
    unbound = a_caller("unbound", TokenRole.OPERATE)
    assert unbound.get("/metrics").status_code == 200
    values = values_of(rules[1])
    for operation in operations():
        assert call(unbound, operation, **values).status_code not in {401, 403}, operation


def test_a_bound_token_makes_jobs_of_its_own_rules_alone(
    rules: list[ReplicationRule], bound: Client
) -> None:
    file = settings.BASE_DIR / "tests/data/s3-put.json"
    message = json.loads(file.read_text().replace("hk-bucket-huachun", rules[0].source.bucket))
    message["Records"][0]["s3"]["object"]["key"] = "new"
    for body in ({"domain": "shared.example.com", "key": "new"}, message):
        answer = bound.post("/api/v1/events", body, content_type="application/json")
        assert (answer.status_code, answer.json()["unmatched"]) == (202, 0)
        assert {job.rule for job in TransferJob.objects.filter(key="new")} == {rules[0]}


@pytest.mark.parametrize("path", ["jobs", "sweeps"])
def test_a_list_of_another_rule_is_one_of_a_rule_that_does_not_exist(
    rules: list[ReplicationRule], bound: Client, path: str
) -> None:
    answer = bound.get(f"/api/v1/{path}", {"rule": OTHER})
    unknown = bound.get(f"/api/v1/{path}", {"rule": "unknown"})
    assert (answer.status_code, answer.json()["error"]) == (404, "no_such_rule")
    assert answer.content.replace(OTHER.encode(), b"unknown") == unknown.content
    assert len(bound.get(f"/api/v1/{path}", {"rule": OWN}).json()[path]) > 0


def test_a_path_that_nobody_has_opened_to_bound_tokens_is_closed(
    rules: list[ReplicationRule], bound: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replication.api.bounds._LIMITED_BY_VIEWS", set())
    assert bound.get("/api/v1/jobs").status_code == 403


def test_a_token_whose_rules_are_deleted_reaches_nothing(
    rules: list[ReplicationRule], bound: Client
) -> None:
    own = rules[0]
    TransferJob.objects.filter(rule=own).delete()
    Sweep.objects.filter(rule=own).delete()
    EndedJob.objects.filter(rule=own).delete()
    own.delete()
    assert bound.get("/api/v1/rules").json() == []
    assert bound.get("/api/v1/jobs").json()["jobs"] == []
    assert bound.get(f"/api/v1/rules/{OTHER}").status_code == 404


def test_the_status_of_a_bound_token_has_its_rules_problems_and_those_of_all(
    rules: list[ReplicationRule], bound: Client
) -> None:
    status = bound.get("/api/v1/status").json()
    assert [rule["name"] for rule in status["rules"]] == [OWN]
    assert status["jobs"]["failed"] == 1
    assert {problem["rule"] for problem in status["problems"]} == {"", OWN}
    assert {problem["code"] for problem in status["problems"]} >= {"no_lane", "failed_jobs"}
    assert (status["queues"], status["hosts"]) == ([], [])
