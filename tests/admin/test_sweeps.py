"""The page of a sweep says how far it is, and lets those who may act on it."""

import csv
import io
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from replication.models import (
    AuditAction,
    AuditEntry,
    DeletePolicy,
    FindingState,
    ReplicationRule,
    Sweep,
    SweepKind,
    SweepSlice,
    SweepState,
)
from replication.sweep import lifecycle
from replication.sweep.judging import Verdict
from tests.admin.pages import change_url, list_url, messages_of, run_action
from tests.support.story import ODD_KEYS, Service
from tests.support.sweep_story import make_backfill, make_finding, make_scrub


@pytest.fixture
def backfill(service: Service) -> Sweep:
    return make_backfill(service.rule, keys=ODD_KEYS)


def page_of(client: Client, sweep: Sweep) -> str:
    return client.get(change_url("sweep", sweep.pk)).content.decode()


def act(client: Client, sweep: Sweep, name: str, **form: Any) -> Any:
    return client.post(reverse(f"admin:replication_sweep_{name}", args=[sweep.pk]), form)


def follow(client: Client, sweep: Sweep, name: str, **form: Any) -> str:
    act(client, sweep, name, **form)
    return messages_of(client.get(change_url("sweep", sweep.pk)))


def waits_of(client: Client, sweep: Sweep, **changed: Any) -> str:
    Sweep.objects.filter(pk=sweep.pk).update(**changed)
    return str(client.get(change_url("sweep", sweep.pk)).context["waits_for"])


# -- what the page shows ---------------------------------------------------------------------------


def test_the_page_says_how_far_a_sweep_is_and_what_it_found(
    operator_client: Client, backfill: Sweep
) -> None:
    page = page_of(operator_client, backfill)
    for text in (
        "Backfill of photos",
        "1,920,400",
        "41,093 missing, 127 different, 19 extra",
        "18,160 plausible",
        "300 / 300",
        "24 of 40 done, 4 being compared, 1 with an error",
        "503 SlowDown",
        "worker-1",
        "US$ 0.0096",
        "no event told of its last change",
    ):
        assert text in page, text


def test_keys_errors_and_prefixes_are_escaped(operator_client: Client, backfill: Sweep) -> None:
    evil = "<script>alert(1)</script>"
    Sweep.objects.update(error=evil, waits_for=evil, prefix=f"photos/{evil}")
    SweepSlice.objects.filter(is_done=False).update(
        cursor=evil, until_key=evil, error=evil, held_by=evil
    )
    make_finding(backfill, f"photos/{evil}")
    finding = backfill.findings.get(key=f"photos/{evil}")
    for url in (
        change_url("sweep", backfill.pk),
        change_url("sweepfinding", finding.pk),
        f"{list_url('sweepfinding')}?sweep={backfill.pk}",
    ):
        page = operator_client.get(url).content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert evil not in page


def test_the_end_is_told_as_a_range_from_five_percent_on(
    operator_client: Client, service: Service
) -> None:
    done = make_scrub(service.rule, odd_key="a")
    backfill = make_backfill(service.rule, keys=[])
    for total, share, is_told in ((100_000_000, 0.0192, False), (3_200_000, 0.6, True)):
        Sweep.objects.filter(pk=done.pk).update(source_keys=total)
        page = operator_client.get(change_url("sweep", backfill.pk)).context
        assert page["progress"].share == pytest.approx(share, rel=0.01)
        assert bool(page["eta"]) is is_told
        assert (page["sides"][0].requests_in_the_end is not None) is is_told
    assert page["eta"] == "1 h 11 min – 1 h 18 min"
    assert page["sides"][0].requests_in_the_end == 3201


def test_the_page_says_what_a_sweep_waits_for(operator_client: Client, backfill: Sweep) -> None:
    rules = ReplicationRule.objects.filter(pk=backfill.rule_id)
    assert waits_of(operator_client, backfill) == ""
    assert "has spent" in waits_of(operator_client, backfill, waits_for="a person who has spent")
    Sweep.objects.update(waits_for="")
    rules.update(paused_at=timezone.now())
    assert "paused: resume it" in waits_of(operator_client, backfill)
    rules.update(paused_at=None)
    SweepSlice.objects.update(held_by="", held_until=None)
    assert "a cluster that takes it up" in waits_of(operator_client, backfill)
    now = datetime.now(UTC)
    window = {
        "window_from": time((now.hour + 2) % 24),
        "window_until": time((now.hour + 3) % 24),
    }
    assert "its time of the day" in waits_of(operator_client, backfill, **window)
    SweepSlice.objects.filter(is_done=False).update(
        failures=1, held_until=timezone.now() + timedelta(seconds=30)
    )
    assert waits_of(operator_client, backfill) == "its next try, after an error"
    settling = waits_of(operator_client, backfill, state=SweepState.SETTLING)
    assert settling == "the second look at 2 keys"


def test_lost_changes_are_shown_by_hour_and_folder(
    operator_client: Client, service: Service
) -> None:
    sweep = make_scrub(service.rule, odd_key="a")
    hour = f"{timezone.now() - timedelta(hours=20):%Y-%m-%dT%H}"
    for number in range(3):
        make_finding(sweep, f"photos/2025/{number}", modified=f"{hour}:59:00.000Z")
    make_finding(sweep, "photos/2024/", modified="2024-11-29T23:59:00.000Z")  # nobody knows now
    make_finding(sweep, "photos/gone", Verdict.EXTRA)
    context = operator_client.get(change_url("sweep", sweep.pk)).context
    hours = {each["hour"]: (each["lost"], each["announced"]) for each in context["lost_hours"]}
    assert hours[hour.replace("T", " ") + ":00"] == (3, 0)
    assert hours["2024-11-29 23:00"] == (1, None)
    assert hours["deleted, unknown when"] == (1, None)
    assert dict(context["lost_folders"])["photos/2025/"] == 3
    assert dict(context["lost_folders"])["photos/gone"] == 1


def test_a_report_of_a_rule_at_rest_says_what_the_rule_would_do(
    operator_client: Client, service: Service
) -> None:
    ReplicationRule.objects.filter(pk=service.rule.pk).update(enabled=False, key_policy="rewrite")
    rule = ReplicationRule.objects.get(pk=service.rule.pk)
    sweep = lifecycle.start(rule, SweepKind.RECONCILE)
    Sweep.objects.update(missing=3, missing_bytes=2048, extra=2, refused=1)
    make_finding(sweep, "photos/a")
    make_finding(sweep, "photos/b\x01")
    context = operator_client.get(change_url("sweep", sweep.pk)).context
    assert context["effects"] == {
        **{"copy": 3, "bytes": 2048, "rename": 1, "refuse": 1},
        **{"delete": 2, "keep": 0},
    }
    assert "What the rule would do" in page_of(operator_client, sweep)
    ReplicationRule.objects.update(delete_policy=DeletePolicy.KEEP)
    effects = operator_client.get(change_url("sweep", sweep.pk)).context["effects"]
    assert (effects["delete"], effects["keep"]) == (0, 2)


def test_the_number_of_queries_grows_with_nothing(operator_client: Client, backfill: Sweep) -> None:
    page_of(operator_client, backfill)  # fills Django's caches
    with CaptureQueriesContext(connection) as few:
        page_of(operator_client, backfill)
    for number in range(30):
        SweepSlice.objects.create(sweep=backfill, after_key=f"z{number:02}", held_by="b")
        make_finding(backfill, f"photos/{number}/", modified=f"2026-10-{number + 1:02}T08:00:00Z")
    with CaptureQueriesContext(connection) as many:
        page_of(operator_client, backfill)
    assert len(many) == len(few) <= 25, [query["sql"] for query in many]


# -- the buttons -----------------------------------------------------------------------------------


def test_a_sweep_is_paused_resumed_limited_and_cancelled_by_its_buttons(
    operator_client: Client, backfill: Sweep
) -> None:
    page = page_of(operator_client, backfill)
    assert (">Pause<" in page, ">Resume<" in page) == (True, False)
    assert follow(operator_client, backfill, "pause") == "1 sweep was paused."
    page = page_of(operator_client, backfill)
    assert (">Pause<" in page, ">Resume<" in page) == (False, True)
    assert follow(operator_client, backfill, "resume") == "1 sweep goes on."
    limits = {
        "requests_per_second": "2.5",
        "window_from": "22:00",
        "window_until": "06:00",
        "most_requests": "1000000",
    }
    assert "limits were changed" in follow(operator_client, backfill, "limits", **limits)
    backfill.refresh_from_db()
    assert (backfill.requests_per_second, backfill.most_requests) == (2.5, 1_000_000)
    assert (backfill.window_from, backfill.window_until) == (time(22), time(6))
    assert "1 sweep was cancelled." in follow(operator_client, backfill, "cancel")
    assert "over already" in follow(operator_client, backfill, "cancel")
    assert "the sweep is over" in follow(operator_client, backfill, "limits", **limits)
    page = page_of(operator_client, backfill)
    assert not any(f">{name}<" in page for name in ("Pause", "Resume", "Cancel the sweep"))
    entries = AuditEntry.objects.order_by("pk")
    assert [(entry.actor, entry.action, entry.affected) for entry in entries] == [
        ("operator", AuditAction.SWEEPS_PAUSED, 1),
        ("operator", AuditAction.SWEEPS_RESUMED, 1),
        ("operator", AuditAction.SWEEPS_LIMITED, 1),
        ("operator", AuditAction.SWEEPS_CANCELLED, 1),
        ("operator", AuditAction.SWEEPS_CANCELLED, 0),
        ("operator", AuditAction.SWEEPS_LIMITED, 0),
    ]
    assert entries[2].about == (
        f"sweeps {backfill.pk} (backfill of photos): requests per second 2.5, "
        "window from 22:00:00, window until 06:00:00, most requests 1000000"
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"requests_per_second": "0"}, "Requests a second"),
        ({"most_requests": "0"}, "Budget of requests"),
        ({"window_from": "22:00"}, "Enter both times, or none."),
        ({"window_from": "22:00", "window_until": "22:00"}, "Enter two different times"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    operator_client: Client, backfill: Sweep, limits: dict[str, str], said: str
) -> None:
    assert said.lower() in follow(operator_client, backfill, "limits", **limits).lower()
    backfill.refresh_from_db()
    assert (backfill.requests_per_second, backfill.window_from) == (40, None)
    assert not AuditEntry.objects.exists()


def test_the_failed_slices_of_a_sweep_are_retried(operator_client: Client, backfill: Sweep) -> None:
    Sweep.objects.update(state=SweepState.FAILED, ended_at=timezone.now())
    assert "Retry the failed slices" in page_of(operator_client, backfill)
    assert follow(operator_client, backfill, "resume") == "1 sweep goes on."
    assert not SweepSlice.objects.filter(failures__gt=0).exists()
    backfill.refresh_from_db()
    assert backfill.state == SweepState.RUNNING


def test_actions_of_the_list_act_on_all_that_are_chosen(
    operator_client: Client, backfill: Sweep, service: Service
) -> None:
    other = lifecycle.start(service.other_rule, SweepKind.RECONCILE)
    pks = [backfill.pk, other.pk]
    assert "2 sweeps were paused." in messages_of(
        run_action(operator_client, "sweep", "pause", pks)
    )
    assert "2 sweeps go on." in messages_of(run_action(operator_client, "sweep", "resume", pks))
    assert "2 sweeps were cancelled." in messages_of(
        run_action(operator_client, "sweep", "cancel", pks)
    )


def test_a_viewer_sees_the_page_and_its_files_and_can_not_act(
    viewer_client: Client, backfill: Sweep
) -> None:
    page = page_of(viewer_client, backfill)
    assert "Backfill of photos" in page
    assert not any(name in page for name in (">Pause<", "Cancel…", "Change the limits"))
    for name in ("pause", "resume", "cancel", "limits"):
        assert act(viewer_client, backfill, name).status_code == 403
    for name in ("report", "findings_csv"):
        url = reverse(f"admin:replication_sweep_{name}", args=[backfill.pk])
        assert viewer_client.get(url).status_code == 200
    backfill.refresh_from_db()
    assert backfill.state == SweepState.RUNNING


def test_a_user_who_may_operate_sweeps_alone_may_pause_them(backfill: Sweep) -> None:
    user = User.objects.create_user("on-call", "", "on-call", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["operate_sweep", "view_sweep"])
    )
    client = Client()
    client.force_login(user)
    assert follow(client, backfill, "pause") == "1 sweep was paused."


def test_a_get_request_does_not_pause_a_sweep(operator_client: Client, backfill: Sweep) -> None:
    url = reverse("admin:replication_sweep_pause", args=[backfill.pk])
    assert operator_client.get(url).status_code == 405
    backfill.refresh_from_db()
    assert backfill.state == SweepState.RUNNING


# -- the files -------------------------------------------------------------------------------------


def test_the_report_and_the_findings_are_downloaded(
    operator_client: Client, backfill: Sweep
) -> None:
    make_finding(backfill, "-2+3")
    report = operator_client.get(reverse("admin:replication_sweep_report", args=[backfill.pk]))
    assert report.json()["format"] == "s3sync-sweep/1"
    assert f's3sync-sweep-{backfill.pk}.json"' in report["Content-Disposition"]
    answer: Any = operator_client.get(
        reverse("admin:replication_sweep_findings_csv", args=[backfill.pk])
    )
    text = b"".join(answer.streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == backfill.findings.count()
    assert rows[0]["Key"] == "%2D2%2B3"
    assert {row["State"] for row in rows} == {*FindingState.values}
