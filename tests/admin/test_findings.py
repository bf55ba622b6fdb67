"""The list of findings stays fast, and has keys looked at again."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from replication.admin import findings as findings_admin
from replication.models import (
    AuditAction,
    AuditEntry,
    FindingState,
    Job,
    JobOrigin,
    ReplicationRule,
    Sweep,
)
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict
from tests.admin.pages import list_url, messages_of, run_action
from tests.support.story import ODD_KEYS, Service
from tests.support.sweep_story import make_backfill, make_finding, make_scrub


@pytest.fixture
def backfill(service: Service) -> Sweep:
    return make_backfill(service.rule, keys=ODD_KEYS)


def listed(client: Client, **query: Any) -> list[str]:
    response = client.get(list_url("sweepfinding"), query)
    return [finding.key for finding in response.context["cl"].queryset]


def look_again(client: Client, *findings: Any) -> str:
    pks = [finding.pk for finding in findings]
    return messages_of(run_action(client, "sweepfinding", "look_again", pks))


def test_findings_are_filtered_by_sweep_verdict_cause_and_state(
    operator_client: Client, backfill: Sweep, service: Service
) -> None:
    scrub = make_scrub(service.other_rule, odd_key="a")
    of_scrub = ["invoices/2026/11/30/IMG_4200.jpg", "invoices/a"]
    assert listed(operator_client, sweep=scrub.pk) == of_scrub
    of_backfill = listed(operator_client, sweep=backfill.pk)
    assert of_backfill == sorted(of_backfill)
    assert len(of_backfill) == len(ODD_KEYS)
    mended = listed(operator_client, sweep=backfill.pk, state__exact="mended")
    assert mended == sorted(f"photos/{ODD_KEYS[number]}" for number in (1, 2))
    [changed] = listed(operator_client, sweep=backfill.pk, cause="changed since")
    assert changed == f"photos/{ODD_KEYS[2]}"
    assert len(listed(operator_client, verdict="extra")) == 1
    assert listed(operator_client, q="photos/quotes") == [f"photos/{ODD_KEYS[1]}"]


@pytest.mark.parametrize("sweep", ["0", "-1", "x", "9" * 30, "'"])
def test_a_sweep_that_is_none_has_no_findings(
    operator_client: Client, backfill: Sweep, sweep: str
) -> None:
    assert listed(operator_client, sweep=sweep) == []


def test_a_sweeps_findings_are_read_through_the_index(
    operator_client: Client, backfill: Sweep
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_sweepfinding (sweep_id, key, verdict)
            SELECT %s, 'photos/' || n, 'missing' FROM generate_series(1, 20000) AS n
            """,
            [backfill.pk],
        )
        cursor.execute("ANALYZE replication_sweepfinding")
    query: dict[str, str | int] = {"sweep": backfill.pk, "q": "photos/777"}
    found = operator_client.get(list_url("sweepfinding"), query).context["cl"].queryset
    assert found.count() == 11
    assert "one_finding_of_a_key" in found.explain()


def test_chosen_keys_are_looked_at_again_by_ordinary_jobs(
    operator_client: Client, backfill: Sweep, service: Service
) -> None:
    extra = make_finding(backfill, "photos/extra", Verdict.EXTRA)
    missing = make_finding(backfill, "photos/missing", cause=Cause.FAILED)
    of_other = make_finding(make_scrub(service.other_rule, odd_key="a"), "invoices/b")
    said = look_again(operator_client, extra, missing, of_other)
    assert said == "3 keys will be looked at again."
    jobs = {(job.rule_id, job.key, job.origin) for job in Job.objects.all()}
    assert jobs == {
        (service.rule.pk, "photos/extra", JobOrigin.ADMIN),
        (service.rule.pk, "photos/missing", JobOrigin.ADMIN),
        (service.other_rule.pk, "invoices/b", JobOrigin.ADMIN),
    }
    extra.refresh_from_db()
    assert (extra.is_ordered, extra.state) == (True, FindingState.CONFIRMED)
    entries = AuditEntry.objects.filter(action=AuditAction.LOOKED_AGAIN)
    assert {(entry.about, entry.affected) for entry in entries} == {
        ("rule photos: keys photos/extra, photos/missing", 2),
        ("rule invoices: keys invoices/b", 1),
    }


def test_keys_outside_the_rule_are_not_looked_at(operator_client: Client, backfill: Sweep) -> None:
    finding = make_finding(backfill, "photos/a")
    ReplicationRule.objects.filter(pk=backfill.rule_id).update(source_prefix="other/")
    assert "and 'photos/a' does not" in look_again(operator_client, finding)
    assert not Job.objects.exists()


def test_more_keys_than_a_request_can_take_are_left_for_the_next(
    operator_client: Client, backfill: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_admin, "MOST_AT_ONCE", 2)
    found = [make_finding(backfill, f"photos/{number}") for number in range(3)]
    assert look_again(operator_client, *found) == (
        "2 keys will be looked at again. More are left: repeat the action."
    )
    look_again(operator_client, *found)
    assert {job.key for job in Job.objects.all()} == {f"photos/{n}" for n in range(3)}


def test_a_viewer_can_not_have_keys_looked_at(viewer_client: Client, backfill: Sweep) -> None:
    run_action(viewer_client, "sweepfinding", "look_again", [make_finding(backfill, "photos/a").pk])
    assert not Job.objects.exists()
