"""A Viewer and a token with the role read can change nothing in any way; an Operator can.

The admin and the API list the pages, actions and calls to test, so that later ones are included.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern

from replication.admin.audited import Audited
from replication.api import api
from replication.api.authentication import SAFE_METHODS
from replication.models import (
    ApiToken,
    AuditEntry,
    DeadLetter,
    Job,
    JobState,
    ReplicationRule,
    Sweep,
    SweepState,
    TokenRole,
)
from tests.api.callers import a_caller
from tests.support.everything import everything
from tests.support.groups import client_of_group
from tests.support.story import make_job, make_story

# Pages that only show something, or redirect to a page, whatever is posted to them.
ONLY_SHOW = re.compile(r"_(changelist|history|proof|report|csv)$|failedjob_change$|^None$")

pytestmark = pytest.mark.django_db


@pytest.fixture
def story() -> None:
    service = make_story()
    make_job(service.rule, "photos/held.jpg")
    ReplicationRule.objects.filter(pk=service.rule.pk).update(braked_at="2026-11-23T06:00Z")
    ReplicationRule.objects.filter(pk=service.other_rule.pk).update(paused_at="2026-11-23T06:00Z")


def pages(model: type[Model]) -> Iterator[tuple[str, str]]:
    """The name and address of each page of a model's admin, for one of its rows."""
    row = model._default_manager.first()
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    for pattern in admin.site._registry[model].get_urls():
        assert isinstance(pattern, URLPattern)
        path = re.sub(r"<[^>]+>", str(row.pk if row else 0), str(pattern.pattern))
        yield str(pattern.name), base + path


def actions(model: type[Model]) -> list[str]:
    """The names of all actions, whatever permission they need."""
    page: Any = admin.site._registry[model]
    return [name for _, name, _ in page._get_base_actions()]


REGISTERED = sorted(admin.site._registry, key=lambda model: model.__name__)


def test_a_viewer_can_change_nothing_in_the_admin(story: None) -> None:
    viewer = client_of_group("Viewer")
    before = everything()
    tried = 0
    for model in REGISTERED:
        for name, address in pages(model):
            form = {"post": "yes", "keys": "b.jpg", "name": "b", "role": "operate", "_save": "1"}
            answer = viewer.post(address, form)
            refused = {200, 302, 403, 404, 405} if ONLY_SHOW.search(name) else {403}
            assert answer.status_code in refused, (name, address)
            tried += 1
        for action in actions(model):
            keys = [str(pk) for pk in model._default_manager.values_list("pk", flat=True)]
            order = {"action": action, "_selected_action": keys, "post": "yes"}
            viewer.post(f"/admin/{model._meta.app_label}/{model._meta.model_name}/", order)
            tried += 1
    assert tried > 80
    assert everything() == before


def test_each_admin_action_works_for_an_operator_and_is_audited(story: None) -> None:
    operator = client_of_group("Operator")
    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root"))
    tried = set()
    for model in REGISTERED:
        for action in actions(model):
            keys = [str(pk) for pk in model._default_manager.values_list("pk", flat=True)]
            assert keys, model
            recorded = AuditEntry.objects.count()
            order = {"action": action, "_selected_action": keys, "post": "yes"}
            # Operators may not decide who may call the API, or log in.
            who = superuser if model in {ApiToken, User} else operator
            who.post(f"/admin/{model._meta.app_label}/{model._meta.model_name}/", order)
            assert AuditEntry.objects.count() > recorded, action
            assert not AuditEntry.objects.filter(ended_at=None).exists()
            tried.add(action)
    assert tried == {
        *("retry", "cancel", "pause", "resume", "replay"),
        *("delete_selected", "revoke", "send_test", "look_again", "reset_second_factor"),
    }


def test_each_admin_form_is_audited() -> None:
    pages = admin.site._registry.values()
    assert [page for page in pages if not isinstance(page, Audited)] == []


def test_a_read_token_can_change_nothing_and_a_call_without_a_token_sees_nothing(
    story: None,
) -> None:
    reader = a_caller("reader", TokenRole.READ)
    before = everything()
    tried = 0
    for method, path in operations():
        assert Client().generic(method, path, "{}").status_code == 401, path
        answer = reader.generic(method, path, "{}", content_type="application/json")
        if method in SAFE_METHODS:
            assert answer.status_code in {200, 405}, (method, path)
        else:
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), path
            tried += 1
    assert tried > 50
    assert everything() == before


def test_each_changing_api_call_works_for_an_operate_token_and_is_audited(story: None) -> None:
    operator = a_caller("operator", TokenRole.OPERATE)
    bodies = {
        "/look-again": '{"keys": ["photos/a"]}',
        "/jobs/retry": '{"rule": "photos"}',
        "/rules/photos/sweeps": '{"kind": "reconcile"}',
        f"/sweeps/{sweep_under_way().pk}": '{"requests_per_second": 5}',
    }
    # Each call needs a job in the state that it changes.
    failed, pending = (
        Job.objects.filter(state=state).latest("pk").pk
        for state in (JobState.FAILED, JobState.PENDING)
    )
    for method, template in operations(documented=True):
        if method in SAFE_METHODS or template.endswith("/events"):
            continue  # events are too many to audit; their jobs are the record
        resumes = template.endswith("/resume")
        Sweep.objects.filter(pk=sweep_under_way().pk).update(
            state=SweepState.PAUSED if resumes else SweepState.RUNNING
        )
        job = pending if template.endswith("/cancel") else failed
        path = re.sub(r"/jobs/\d+", f"/jobs/{job}", template)
        body = next((body for end, body in bodies.items() if path.endswith(end)), "{}")
        recorded = AuditEntry.objects.filter(actor="operator").count()
        answer = operator.generic(method, path, body, content_type="application/json")
        assert answer.status_code in {200, 202, 204}, (method, path, answer.content)
        assert AuditEntry.objects.filter(actor="operator").count() == recorded + 1, path


def sweep_under_way() -> Sweep:
    return Sweep.objects.filter(rule__name="invoices").latest("pk")


def operations(*, documented: bool = False) -> list[tuple[str, str]]:
    """Every method and path of the API's routers, with ids of rows that exist."""
    ids = {
        "job_id": Job.objects.filter(state=JobState.FAILED).latest("pk").pk,
        "letter_id": DeadLetter.objects.latest("pk").pk,
        "sweep_id": sweep_under_way().pk,
        "name": "photos",
    }
    found = [
        (method, "/api/v1" + re.sub(r"\{(\w+)\}", lambda m: str(ids[m[1]]), path))
        for _, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        if operation.include_in_schema or not documented
        for method in operation.methods
    ]
    # The calls that delete a dead letter come last.
    return sorted(found, key=lambda operation: (operation[0] == "DELETE", operation))


def test_a_viewer_may_view_every_model_and_an_operator_may_operate_each() -> None:
    for group in ("Viewer", "Operator"):
        client_of_group(group)

    def may(group: str) -> set[str]:
        permissions = Group.objects.get(name=group).permissions
        assert not permissions.exclude(content_type__app_label="replication").exists()
        return set(permissions.values_list("codename", flat=True))

    every = set(
        Permission.objects.filter(content_type__app_label="replication").values_list(
            "codename", flat=True
        )
    )
    assert may("Viewer") == {name for name in every if name.startswith("view_")}
    assert may("Operator") >= may("Viewer") | {n for n in every if n.startswith("operate_")}
    assert not {n for n in may("Operator") - may("Viewer") if n.endswith(("_apitoken", "_user"))}


def test_an_operator_can_add_configuration_but_no_tokens_or_users(story: None) -> None:
    operator = client_of_group("Operator")
    for model in (
        *("source", "destination", "replicationrule", "eventqueue"),
        "notificationtarget",
    ):
        assert operator.get(f"/admin/replication/{model}/add/").status_code == 200
    for model in ("apitoken", "auditentry", "transferjob", "condition"):
        assert operator.get(f"/admin/replication/{model}/add/").status_code == 403
    assert operator.get("/admin/auth/user/").status_code == 403
