"""A user who may only view can view everything and change nothing."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from replication.models import FailedJob, Job, JobState
from tests.admin.pages import FORMS, LISTS, add_url, change_url, list_url, run_action
from tests.support.story import Service, make_job, make_story


@pytest.mark.parametrize("model", LISTS)
def test_a_viewer_sees_each_list_without_actions(viewer_client: Client, model: str) -> None:
    make_story()
    page = viewer_client.get(list_url(model)).content.decode()
    assert "result_list" in page
    assert "_selected_action" not in page
    assert 'name="action"' not in page


@pytest.mark.parametrize("model", FORMS)
def test_a_viewer_can_not_add(viewer_client: Client, model: str) -> None:
    assert viewer_client.get(add_url(model)).status_code == 403


def test_a_viewer_can_not_act(viewer_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    run_action(viewer_client, "failedjob", "retry", [job.pk])
    page = viewer_client.get(change_url("transferjob", job.pk)).content.decode()
    assert "Retry this job" not in page
    for url in (
        reverse("admin:replication_transferjob_retry", args=[job.pk]),
        reverse("admin:replication_replicationrule_look_again", args=[service.rule.pk]),
    ):
        assert viewer_client.post(url, {"keys": "b.jpg"}).status_code == 403
    run_action(viewer_client, "replicationrule", "pause", [service.rule.pk])
    service.rule.refresh_from_db()
    assert service.rule.paused_at is None
    assert Job.objects.get().state == JobState.FAILED


def test_a_user_without_any_right_sees_neither_status_nor_problems(service: Service) -> None:
    user = User.objects.create_user("nobody", "", "nobody", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(reverse("status")).status_code == 403
    page = client.get(reverse("admin:index")).content.decode()
    assert "Needs your attention" not in page
    user.user_permissions.set(Permission.objects.filter(codename="operate_transferjob"))
    status = client.get(reverse("status"))
    assert status.status_code == 200
    assert "no-store" in status["Cache-Control"]
    assert "Needs your attention" in client.get(reverse("admin:index")).content.decode()


def test_a_user_who_may_operate_jobs_may_retry_them(service: Service) -> None:
    user = User.objects.create_user("on-call", "", "on-call", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="operate_transferjob"))
    client = Client()
    client.force_login(user)
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    run_action(client, "failedjob", "retry", [job.pk])
    assert not FailedJob.objects.exists()


def test_no_user_can_edit_add_or_delete_a_job(operator_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    name = "admin:replication_transferjob"
    assert operator_client.get(reverse(f"{name}_add")).status_code == 403
    assert operator_client.get(reverse(f"{name}_delete", args=[job.pk])).status_code == 403
    assert operator_client.post(change_url("transferjob", job.pk), {"key": "b"}).status_code == 403


def test_a_visitor_must_log_in(service: Service) -> None:
    for url in (list_url("transferjob"), list_url("failedjob")):
        assert Client().get(url).status_code == 302


def test_a_user_who_may_not_view_jobs_sees_no_failures(service: Service) -> None:
    user = User.objects.create_user("guest", "", "guest", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(list_url("failedjob")).status_code == 403


@pytest.mark.parametrize("lookup", ["", "__startswith", "__gt", "__regex"])
def test_no_list_can_be_filtered_by_the_hash_of_a_token(viewer_client: Client, lookup: str) -> None:
    """Whoever sees the list could read the hash digit by digit."""
    answer = viewer_client.get(list_url("apitoken"), {f"secret_sha256{lookup}": "0"})
    assert answer.status_code == 400
