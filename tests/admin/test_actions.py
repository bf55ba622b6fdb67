"""Operators' actions on jobs and rules act once, and the message has the numbers."""

import html

import pytest
from django.test import Client
from django.urls import reverse

from replication.admin import job_actions
from replication.models import Job, JobOrigin, JobState, ReplicationRule
from tests.admin.pages import change_url, list_url, messages_of, run_action
from tests.support.story import Service, make_job


def state_of(job: Job) -> JobState:
    return JobState(Job.objects.get(pk=job.pk).state)


def test_retry_makes_the_selected_failures_pending_and_says_how_many(
    operator_client: Client, service: Service
) -> None:
    failures = [make_job(service.rule, f"{n}.jpg", JobState.FAILED) for n in range(3)]
    left = make_job(service.rule, "left.jpg", JobState.FAILED)
    response = run_action(operator_client, "failedjob", "retry", [job.pk for job in failures])
    assert messages_of(response) == "3 jobs will be retried."
    assert {state_of(job) for job in failures} == {JobState.PENDING}
    assert state_of(left) == JobState.FAILED


def test_retry_says_how_many_were_superseded(operator_client: Client, service: Service) -> None:
    old = make_job(service.rule, "same.jpg", JobState.FAILED)
    new = make_job(service.rule, "same.jpg", JobState.FAILED)
    response = run_action(operator_client, "failedjob", "retry", [old.pk, new.pk])
    assert messages_of(response) == (
        "1 job will be retried. 1 was superseded by a newer job for the same key."
    )
    assert (state_of(old), state_of(new)) == (JobState.SUPERSEDED, JobState.PENDING)


def test_retry_of_all_failures_includes_other_pages(
    operator_client: Client, service: Service
) -> None:
    jobs = [make_job(service.rule, f"{n}.jpg", JobState.FAILED) for n in range(60)]
    response = operator_client.post(
        list_url("failedjob"),
        {"action": "retry", "_selected_action": [jobs[0].pk], "select_across": "1"},
        follow=True,
    )
    assert messages_of(response) == "60 jobs will be retried."


@pytest.mark.parametrize(
    ("action", "state"), [("retry", JobState.FAILED), ("cancel", JobState.PENDING)]
)
def test_an_action_on_very_many_jobs_says_how_many_are_left(
    operator_client: Client,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    state: JobState,
) -> None:
    monkeypatch.setattr(job_actions, "MAX_AT_ONCE", 2)
    chosen = [make_job(service.rule, f"{n}.jpg", state).pk for n in range(5)]
    first, second, third = (
        messages_of(run_action(operator_client, "transferjob", action, chosen)) for _ in range(3)
    )
    assert first.startswith("2 jobs w")  # will be retried, were cancelled
    assert first.endswith("3 more are left: repeat the action.")
    assert second.endswith("1 more is left: repeat the action.")
    assert "left" not in third
    assert not Job.objects.filter(pk__in=chosen, state=state).exists()


def test_retry_of_a_job_that_is_not_failed_says_so(
    operator_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a.jpg", JobState.COMPLETED)
    url = reverse("admin:replication_transferjob_retry", args=[job.pk])
    assert "No job was retried" in messages_of(operator_client.post(url, follow=True))
    assert state_of(job) == JobState.COMPLETED


def test_a_job_can_be_retried_and_cancelled_on_its_page(
    operator_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    retry_url = reverse("admin:replication_transferjob_retry", args=[job.pk])
    cancel_url = reverse("admin:replication_transferjob_cancel", args=[job.pk])
    page = operator_client.get(change_url("transferjob", job.pk)).content.decode()
    assert retry_url in page
    assert cancel_url not in page
    response = operator_client.post(retry_url, follow=True)
    assert messages_of(response) == "1 job will be retried."
    assert cancel_url in response.content.decode()
    assert messages_of(operator_client.post(cancel_url, follow=True)) == "1 job was cancelled."
    assert state_of(job) == JobState.CANCELLED


def test_a_get_request_does_not_retry_a_job(operator_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    url = reverse("admin:replication_transferjob_retry", args=[job.pk])
    assert operator_client.get(url).status_code == 405
    assert state_of(job) == JobState.FAILED


def test_cancel_changes_only_pending_jobs(operator_client: Client, service: Service) -> None:
    pending = make_job(service.rule, "pending.jpg")
    running = make_job(service.rule, "running.jpg", JobState.RUNNING)
    response = run_action(operator_client, "transferjob", "cancel", [pending.pk, running.pk])
    assert messages_of(response) == "1 job was cancelled. 1 was not pending and was not changed."
    assert (state_of(pending), state_of(running)) == (JobState.CANCELLED, JobState.RUNNING)


def test_rules_are_paused_and_resumed(operator_client: Client, service: Service) -> None:
    pks = [service.rule.pk, service.other_rule.pk]
    assert "2 rules were paused" in messages_of(
        run_action(operator_client, "replicationrule", "pause", pks)
    )
    assert ReplicationRule.objects.filter(paused_at__isnull=False).count() == 2
    assert "1 rule was resumed" in messages_of(
        run_action(operator_client, "replicationrule", "resume", pks[:1])
    )
    assert ReplicationRule.objects.get(paused_at__isnull=False) == service.other_rule


def look_again(client: Client, rule: ReplicationRule, keys: str):
    url = reverse("admin:replication_replicationrule_look_again", args=[rule.pk])
    return client.post(url, {"keys": keys}, follow=True)


def test_look_again_takes_each_line_literally_as_a_key(
    operator_client: Client, service: Service
) -> None:
    ReplicationRule.objects.filter(pk=service.rule.pk).update(source_prefix="")
    response = look_again(
        operator_client, service.rule, "a b.jpg\r\n  spaces \r\nnext\u2028line\r\na b.jpg\r\n"
    )
    assert messages_of(response) == "3 keys will be looked at again."
    jobs = Job.objects.all()
    assert {job.key for job in jobs} == {"a b.jpg", "  spaces ", "next\u2028line"}
    assert {(job.origin, job.rule_id) for job in jobs} == {(JobOrigin.ADMIN, service.rule.pk)}


def test_look_again_refuses_keys_outside_the_rules_prefix(
    operator_client: Client, service: Service
) -> None:
    response = look_again(operator_client, service.rule, "photos/a.jpg\r\na.jpg")
    page = html.unescape(response.content.decode())
    assert "rule photos is for keys that begin with 'photos/', and 'a.jpg' does not" in page
    assert not Job.objects.exists()


def test_look_again_names_invalid_lines_and_creates_no_job(
    operator_client: Client, service: Service
) -> None:
    response = look_again(operator_client, service.rule, "fine.jpg\r\n\r\n" + "x" * 1025)
    page = response.content.decode()
    assert "Line 2 has 0 bytes; S3 keys have 1 to 1024." in page
    assert "Line 3 has 1025 bytes" in page
    assert not Job.objects.exists()


def test_look_again_limits_the_number_of_keys(operator_client: Client, service: Service) -> None:
    response = look_again(operator_client, service.rule, "\n".join(map(str, range(10_001))))
    assert "10001 keys are too many. Enter at most 10000 at a time." in response.content.decode()


def test_look_again_requires_keys(operator_client: Client, service: Service) -> None:
    assert (
        "This field is required" in look_again(operator_client, service.rule, "").content.decode()
    )
