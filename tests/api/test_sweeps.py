"""API calls on sweeps: what they list, start, pace and end; each change is audited."""

import json
from datetime import time

import pytest
from django.test import Client

from replication.models import (
    AuditAction,
    AuditEntry,
    ReplicationRule,
    Source,
    SourceKind,
    Sweep,
    SweepFinding,
    SweepKind,
    SweepState,
    TokenRole,
)
from replication.sweep import lifecycle, reporting
from tests.api.callers import a_caller
from tests.support.examples import a_rule

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return a_caller("deploy", TokenRole.OPERATE)


@pytest.fixture
def rule() -> ReplicationRule:
    return a_rule("photos", source_prefix="p/")


def post(client: Client, path: str, body: object = None):
    return client.post(f"/api/v1/{path}", body, content_type="application/json")


def patch(client: Client, sweep: Sweep, body: object):
    return client.patch(f"/api/v1/sweeps/{sweep.pk}", body, content_type="application/json")


def a_sweep(rule: ReplicationRule, state: SweepState = SweepState.COMPLETED) -> Sweep:
    sweep = lifecycle.start(rule, SweepKind.RECONCILE)
    Sweep.objects.filter(pk=sweep.pk).update(state=state)
    sweep.refresh_from_db()
    return sweep


def audit_entries() -> list[tuple[str, str, int | None]]:
    entries = AuditEntry.objects.filter(actor="deploy").order_by("id")
    return [(entry.action, entry.about, entry.affected) for entry in entries]


def test_sweeps_are_found_by_rule_and_state_page_by_page(operator: Client, rule: ReplicationRule):
    old = [a_sweep(rule).pk for _ in range(4)]
    running = a_sweep(rule, SweepState.RUNNING).pk
    other = a_sweep(a_rule("scans")).pk

    def pages(**query: str) -> list[int]:
        found, cursor = [], ""
        while True:
            page = operator.get("/api/v1/sweeps", {**query, "limit": "2", "cursor": cursor}).json()
            assert len(page["sweeps"]) <= 2
            found += [one["id"] for one in page["sweeps"]]
            if not (cursor := page["next_cursor"]):
                return found

    assert pages() == [other, running, *old[::-1]]
    assert pages(rule="photos") == [running, *old[::-1]]
    assert pages(rule="photos", state="completed") == old[::-1]
    assert pages(state="running") == [running]
    answer = operator.get("/api/v1/sweeps", {"rule": "nothing"})
    assert (answer.status_code, answer.json()["error"]) == (404, "no_such_rule")
    assert operator.get("/api/v1/sweeps", {"state": "gone"}).status_code == 422
    assert operator.get("/api/v1/sweeps", {"cursor": "x"}).json()["error"] == "invalid_cursor"


def test_the_report_of_a_sweep_is_that_of_the_command(operator: Client, rule: ReplicationRule):
    sweep = lifecycle.start(
        rule, SweepKind.RECONCILE, window_from=time(22), window_until=time(6), most_requests=7
    )
    answer = operator.get(f"/api/v1/sweeps/{sweep.pk}").json()
    assert answer.pop("progress")["waiting_jobs"] == 0
    expected = json.loads(json.dumps(reporting.as_json(sweep)))
    for times in (answer, expected):
        times["began_at"] = times["began_at"][: len("2026-11-23T06:02:45.123")]
    assert answer == expected
    assert answer["limits"] == {
        "requests_per_second": None,
        "window": "22:00-06:00",
        "most_requests": 7,
    }
    for path in ("", "/findings"):
        answer = operator.get(f"/api/v1/sweeps/{sweep.pk + 1}{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "no_such_sweep")


def test_findings_are_found_by_verdict_cause_and_state_in_the_order_of_keys(
    operator: Client, rule: ReplicationRule
):
    sweep, other = a_sweep(rule), a_sweep(rule)
    keys = ["p/b", "p/\U0001f600", "p/\ue000", "p/a", "p/B"]
    for key in keys:
        SweepFinding.objects.create(
            sweep=sweep, key=key, verdict="missing", cause="lost", source_size=1, state="mended"
        )
    SweepFinding.objects.create(sweep=sweep, key="p/c", verdict="extra", cause="changed since")
    SweepFinding.objects.create(sweep=sweep, key="p/d", verdict="left out")
    SweepFinding.objects.create(sweep=other, key="p/a", verdict="extra")

    def found(**query: str) -> list[str]:
        found, cursor = [], ""
        while True:
            page = operator.get(
                f"/api/v1/sweeps/{sweep.pk}/findings", {**query, "limit": "2", "cursor": cursor}
            ).json()
            found += [one["key"] for one in page["findings"]]
            if not (cursor := page["next_cursor"]):
                return found

    assert found() == sorted([*keys, "p/c", "p/d"], key=str.encode)
    assert found(verdict="missing") == sorted(keys, key=str.encode)
    assert found(cause="lost", state="mended") == sorted(keys, key=str.encode)
    assert found(cause="changed since") == ["p/c"]
    assert found(verdict="left out") == ["p/d"]
    assert found(state="gone") == []
    path = f"/api/v1/sweeps/{sweep.pk}/findings"
    first = operator.get(path, {"limit": "1"}).json()
    assert first["findings"] == [
        {
            "key": "p/B",
            "verdict": "missing",
            "cause": "lost",
            "state": "mended",
            "reason": "",
            "code": "",
            "is_ordered": False,
            "source": {"bytes": 1, "etag": "", "modified": ""},
            "replica": None,
        }
    ]
    other_path = f"/api/v1/sweeps/{other.pk}/findings"
    answer = operator.get(other_path, {"cursor": first["next_cursor"]})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_cursor")
    assert operator.get(path, {"cause": "bad luck"}).status_code == 422


def test_a_backfill_is_started_and_always_mends(operator: Client, rule: ReplicationRule):
    answer = post(operator, "rules/photos/sweeps", {"kind": "backfill", "prefix": "p/2026/"})
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    sweep = Sweep.objects.get(pk=answer.json()["sweep"])
    assert (sweep.kind, sweep.mends, sweep.mends_extras) == (SweepKind.BACKFILL, True, False)
    assert (sweep.prefix, sweep.settle_seconds) == ("p/2026/", 900)
    answer = post(operator, "rules/photos/sweeps", {"kind": "backfill"})
    assert (answer.status_code, answer.json()["error"]) == (409, "cant_start")
    assert f"A backfill of rule photos is running (sweep {sweep.pk})" in answer.json()["detail"]
    assert audit_entries() == [
        (AuditAction.SWEEP_STARTED, "backfill of rule photos: prefix p/2026/, mends", 1),
        (AuditAction.SWEEP_STARTED, "backfill of rule photos: mends", 0),
    ]


def test_a_reconcile_is_started_with_all_that_the_command_can_say(
    operator: Client, rule: ReplicationRule
):
    order = {
        "kind": "reconcile",
        "mends_extras": True,
        "level": "head",
        "requests_per_second": 2.5,
        "window": "22:00-06:00",
        "most_requests": 1000,
        "settle_seconds": 0,
    }
    assert post(operator, "rules/photos/sweeps", order).status_code == 202
    sweep = Sweep.objects.get()
    assert (sweep.kind, sweep.level) == (SweepKind.RECONCILE, "head")
    assert (sweep.mends, sweep.mends_extras, sweep.settle_seconds) == (True, True, 0)
    assert (sweep.requests_per_second, sweep.most_requests) == (2.5, 1000)
    assert (sweep.window_from, sweep.window_until) == (time(22), time(6))


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"kind": "scrub"},
        {"kind": "backfill", "mends_extras": True},
        {"kind": "reconcile", "level": "glance"},
        {"kind": "reconcile", "prefix": "a\0"},
        {"kind": "reconcile", "requests_per_second": 0},
        {"kind": "reconcile", "most_requests": 0},
        {"kind": "reconcile", "most_requests": 2**63},
        {"kind": "reconcile", "window": "22:00"},
        {"kind": "reconcile", "window": "22:00-24:00"},
        {"kind": "reconcile", "window": "22:00-22:00"},
        {"kind": "reconcile", "settle_seconds": -1},
        {"kind": "reconcile", "colour": "red"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    operator: Client, rule: ReplicationRule, order: dict[str, object]
):
    answer = post(operator, "rules/photos/sweeps", order)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert not Sweep.objects.exists()


def test_what_can_not_start_says_why(operator: Client, rule: ReplicationRule):
    def refused(order: dict[str, str]) -> str:
        answer = post(operator, "rules/photos/sweeps", order)
        assert (answer.status_code, answer.json()["error"]) == (409, "cant_start")
        return str(answer.json()["detail"])

    assert "none begins with 'q/'" in refused({"kind": "reconcile", "prefix": "q/"})
    ReplicationRule.objects.update(enabled=False)
    assert refused({"kind": "backfill"}) == "Rule photos is disabled: enable it first."
    Source.objects.update(kind=SourceKind.HTTP, bucket="", endpoint_url="https://a.example.com")
    assert "a web server, which has no listing" in refused({"kind": "reconcile"})
    assert post(operator, "rules/nothing/sweeps", {"kind": "reconcile"}).status_code == 404
    assert not Sweep.objects.exists()


def test_a_sweep_is_paused_resumed_and_cancelled(operator: Client, rule: ReplicationRule):
    sweep = a_sweep(rule, SweepState.RUNNING)

    def told(action: str) -> tuple[int, str]:
        answer = post(operator, f"sweeps/{sweep.pk}/{action}")
        body = answer.json()
        return answer.status_code, body.get("state") or body["detail"]

    assert told("resume") == (409, f"Sweep {sweep.pk} can't be resumed: it is running.")
    assert told("pause") == (200, "paused")
    assert told("pause") == (409, f"Sweep {sweep.pk} can't be paused: it is paused.")
    assert told("resume") == (200, "running")
    assert told("cancel") == (200, "cancelled")
    assert told("cancel") == (409, f"Sweep {sweep.pk} can't be cancelled: it is cancelled.")
    Sweep.objects.update(state=SweepState.FAILED)
    a_sweep(rule, SweepState.RUNNING)
    assert told("resume")[1].endswith("resumed: another sweep of its rule is under way.")
    assert post(operator, "sweeps/999999/pause").json()["error"] == "no_such_sweep"
    about = f"sweeps {sweep.pk} (reconcile of photos)"
    assert audit_entries()[1:5] == [
        (AuditAction.SWEEPS_PAUSED, about, 1),
        (AuditAction.SWEEPS_PAUSED, about, 0),
        (AuditAction.SWEEPS_RESUMED, about, 1),
        (AuditAction.SWEEPS_CANCELLED, about, 1),
    ]


def test_limits_are_changed_and_removed_while_a_sweep_is_not_over(
    operator: Client, rule: ReplicationRule
):
    sweep = a_sweep(rule, SweepState.RUNNING)
    limits = patch(operator, sweep, {"requests_per_second": 5, "window": "22:00-06:00"}).json()
    assert limits["limits"] == {
        "requests_per_second": 5,
        "window": "22:00-06:00",
        "most_requests": None,
    }
    limits = patch(operator, sweep, {"window": None, "most_requests": 9}).json()["limits"]
    assert limits == {"requests_per_second": 5, "window": None, "most_requests": 9}
    for nonsense in ({}, {"kind": "backfill"}, {"requests_per_second": -1}, {"window": "at night"}):
        answer = patch(operator, sweep, nonsense)
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    about = (
        f"sweeps {sweep.pk} (reconcile of photos): requests per second 5.0, window from 22:00:00"
    )
    assert audit_entries()[0] == (AuditAction.SWEEPS_LIMITED, f"{about}, window until 06:00:00", 1)
    Sweep.objects.update(state=SweepState.COMPLETED)
    assert patch(operator, sweep, {"most_requests": 1}).json()["error"] == "wrong_state"


def test_a_token_that_may_only_read_changes_no_sweep(rule: ReplicationRule):
    reader, sweep = a_caller("grafana", TokenRole.READ), a_sweep(rule, SweepState.RUNNING)
    for path in ("sweeps", f"sweeps/{sweep.pk}", f"sweeps/{sweep.pk}/findings"):
        assert reader.get(f"/api/v1/{path}").status_code == 200
    for action in ("pause", "resume", "cancel"):
        assert post(reader, f"sweeps/{sweep.pk}/{action}").status_code == 403
    assert patch(reader, sweep, {"most_requests": 1}).status_code == 403
    assert post(reader, "rules/photos/sweeps", {"kind": "reconcile"}).status_code == 403
    assert Client().get("/api/v1/sweeps").status_code == 401
    sweep.refresh_from_db()
    assert (sweep.state, sweep.most_requests) == (SweepState.RUNNING, None)
