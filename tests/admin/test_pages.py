"""The texts of the pages: all about a job, dead letters, forms, and what needs an operator."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from replication.admin.rule_form import RuleForm
from replication.errors import MEANINGS, ErrorCode
from replication.models import (
    DeadLetter,
    Destination,
    EventQueue,
    Heartbeat,
    Job,
    JobState,
    LoopKind,
    ReplicationRule,
    Source,
    Takes,
)
from replication.sweep import lifecycle
from replication.tools.rules_file.sections import section_of
from tests.admin.pages import FORMS, LISTS, add_url, change_url, list_url
from tests.support.story import Service, make_job, make_story


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_a_completed_job_shows_its_proof(operator_client: Client, service: Service) -> None:
    job = make_job(service.rule, "photos/a.jpg", JobState.COMPLETED)
    page = text_of(operator_client, change_url("transferjob", job.pk))
    for proof in (
        *(job.source_version_id, job.source_crc64, job.destination_crc64),
        *(job.source_request_id, job.destination_request_id, "48213 bytes", "0.84 s", "equal"),
    ):
        assert proof in page


def test_a_failed_job_shows_every_try_with_cause_hint_and_detail(
    operator_client: Client, service: Service
) -> None:
    codes = [ErrorCode.DESTINATION_THROTTLED, ErrorCode.SOURCE_KMS]
    job = make_job(service.rule, "a.jpg", JobState.FAILED, errors=codes, detail="what S3 said")
    page = text_of(operator_client, change_url("transferjob", job.pk))
    for code in codes:
        assert MEANINGS[code].cause in page
        assert MEANINGS[code].hint.split("'")[0] in page
    assert page.count("what S3 said") == 3


@pytest.mark.parametrize("state", JobState)
def test_the_page_of_a_job_opens_in_every_state(
    operator_client: Client, service: Service, state: JobState
) -> None:
    job = make_job(service.rule, "a.jpg", state)
    assert str(state.label) in text_of(operator_client, change_url("transferjob", job.pk))


def test_a_failure_links_to_its_job(operator_client: Client, service: Service) -> None:
    job = make_job(service.rule, "a.jpg", JobState.FAILED)
    assert change_url("transferjob", job.pk) in text_of(operator_client, list_url("failedjob"))
    response = operator_client.get(change_url("failedjob", job.pk))
    assert response.headers["Location"] == change_url("transferjob", job.pk)


def test_a_dead_letter_is_shown_in_full_and_escaped(operator_client: Client) -> None:
    make_story()
    letter = DeadLetter.objects.get(body__contains="world")
    page = text_of(operator_client, change_url("deadletter", letter.pk))
    assert "{&quot;hello&quot;: &quot;&lt;b&gt;world&lt;/b&gt;&quot;}" in page
    assert letter.reason in page


def test_times_are_in_the_configured_zone_and_relative(
    operator_client: Client, service: Service
) -> None:
    job = make_job(service.rule, "a.jpg", age=timedelta(minutes=3))
    with timezone.override("Asia/Shanghai"):
        page = text_of(operator_client, list_url("transferjob"))
        local = timezone.localtime(job.enqueued_at)
    assert f'title="{local:%Y-%m-%d %H:%M:%S} CST">3 min ago</time>' in page


def test_a_rule_with_jobs_is_not_deleted_and_the_page_says_how_to_stop_it(
    operator_client: Client, service: Service
) -> None:
    make_job(service.rule, "a.jpg")
    url = reverse("admin:replication_replicationrule_delete", args=[service.rule.pk])
    assert "turn off “enabled”" in text_of(operator_client, url)
    operator_client.post(url, {"post": "yes"})
    assert ReplicationRule.objects.filter(pk=service.rule.pk).exists()


def test_a_source_with_a_rule_is_not_deleted_and_the_page_names_the_rule(
    operator_client: Client, service: Service
) -> None:
    url = reverse("admin:replication_source_delete", args=[service.rule.source_id])
    page = text_of(operator_client, url)
    assert "would require deleting the following protected related objects" in page
    assert change_url("replicationrule", service.rule.pk) in page


def test_a_rule_without_jobs_can_be_deleted(operator_client: Client, service: Service) -> None:
    url = reverse("admin:replication_replicationrule_delete", args=[service.rule.pk])
    operator_client.post(url, {"post": "yes"})
    assert not ReplicationRule.objects.filter(pk=service.rule.pk).exists()


def test_a_queue_with_dead_letters_is_not_deleted(operator_client: Client) -> None:
    service = make_story()
    url = reverse("admin:replication_eventqueue_delete", args=[service.queue.pk])
    assert "its dead letters would be deleted too" in text_of(operator_client, url)


RULE_FORM = {
    "name": "scans",
    "enabled": "on",
    "source_suffix": "",
    "destination_prefix": "",
    "delete_policy": "keep",
    "unmarked_policy": "hold",
    "key_policy": "fail",
    "metadata_policy": "fail",
    "tag_policy": "fail",
    "acl": "default",
    "encryption": "",
    "archive_policy": "fail",
    "restore_days": "3",
    "restore_tier": "Standard",
}


def add_rule(client: Client, service: Service, **fields: str):
    locations = {"source": service.rule.source_id, "destination": service.rule.destination_id}
    return client.post(
        add_url("replicationrule"), {**RULE_FORM, **locations, **fields}, follow=True
    )


def test_a_rule_keeps_the_spaces_of_its_prefix(operator_client: Client, service: Service) -> None:
    add_rule(operator_client, service, source_prefix=" scans ")
    assert ReplicationRule.objects.get(name="scans").source_prefix == " scans "


def test_a_rule_is_added_with_every_field_of_its_form(
    operator_client: Client, service: Service
) -> None:
    add_rule(
        operator_client,
        service,
        destination_prefix="scans/",
        include="**/*.jpg\r\n.s3sync-canary\r\n",
        exclude="tmp/**",
        key_policy="rewrite",
        metadata_policy="drop",
        tag_policy="drop",
        storage_classes="natural,\r\nGLACIER=IA",
        acl="private",
        encryption="KMS",
        kms_key_id="9468da86",
        max_concurrency="8",
        backfill="on",
        canary="on",
    )
    rule = ReplicationRule.objects.get(name="scans")
    assert (rule.include, rule.exclude) == ("**/*.jpg\n.s3sync-canary\n", "tmp/**")
    assert (rule.key_policy, rule.metadata_policy, rule.tag_policy) == ("rewrite", "drop", "drop")
    assert rule.storage_classes == "natural,\nGLACIER=IA"
    assert (rule.acl, rule.encryption, rule.kms_key_id) == ("private", "KMS", "9468da86")
    assert rule.max_concurrency == 8
    assert rule.canary
    assert list(lifecycle.rules_to_backfill()) == [rule]


def test_a_web_server_has_no_backfill(operator_client: Client, service: Service) -> None:
    Source.objects.update(kind="http", bucket="", endpoint_url="https://www.example.com")
    page = add_rule(operator_client, service, destination_prefix="scans/", backfill="on")
    assert "be listed, so there is nothing to copy at once." in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "name", "reason"),
    [
        (
            {"include": "ok\r\na[b"},
            "include",
            "line 2, 'a[b': a '[' has no closing ']'; write '[[]' to match the character '['",
        ),
        ({"exclude": "a/***"}, "exclude", "line 1, 'a/***': it has more than two stars in a row"),
        (
            {"storage_classes": "GLACIER=archive"},
            "storage_classes",
            "write Archive instead of 'archive'",
        ),
        (
            {"encryption": "AES256", "kms_key_id": "k"},
            "kms_key_id",
            "A KMS key id requires the encryption KMS: choose KMS, or clear the key id.",
        ),
        (
            {"max_concurrency": "0"},
            "max_concurrency",
            "Ensure this value is greater than or equal to 1.",
        ),
        (
            {"canary": "on", "include": "**/*.jpg"},
            "canary",
            "The rule's filters leave out the canary .s3sync-canary, so its event would never "
            "count: add a line with this key to include, or remove the glob of exclude that "
            "matches it.",
        ),
    ],
)
def test_a_mistake_in_a_rule_is_reported_once_beside_its_field(
    operator_client: Client, service: Service, fields: dict[str, str], name: str, reason: str
) -> None:
    form = add_rule(operator_client, service, **fields).context["adminform"].form
    assert form.errors == {name: [reason]}


def test_the_form_of_a_rule_has_every_field_that_an_operator_may_set() -> None:
    assert set(RuleForm.base_fields) == set(section_of(ReplicationRule).fields)


def test_saving_an_unchanged_rule_changes_nothing(
    operator_client: Client, service: Service
) -> None:
    ReplicationRule.objects.filter(pk=service.rule.pk).update(include="a\nb\n", source_prefix=" p ")
    url = change_url("replicationrule", service.rule.pk)
    shown = operator_client.get(url).context["adminform"].form.initial
    before = ReplicationRule.objects.values().get(pk=service.rule.pk)
    operator_client.post(url, {name: value for name, value in shown.items() if value is not None})
    after = ReplicationRule.objects.values().get(pk=service.rule.pk)
    assert after == before


def test_an_incomplete_source_is_refused_with_the_reason(
    operator_client: Client,
) -> None:
    form = {
        "name": "Photos!",
        "kind": "s3",
        "credential_profile": "default",
        "domains-TOTAL_FORMS": "0",
        "domains-INITIAL_FORMS": "0",
    }
    page = operator_client.post(add_url("source"), form).content.decode()
    assert "Use lower-case letters, digits and hyphens" in page
    page = operator_client.post(add_url("source"), {**form, "name": "photos"}).content.decode()
    assert "An S3 source needs a bucket and a region" in page


def test_a_source_is_added_with_its_domains(operator_client: Client) -> None:
    form = {
        "name": "photos",
        "kind": "s3",
        "bucket": "acme-photos",
        "region": "ap-east-1",
        "credential_profile": "default",
        "domains-TOTAL_FORMS": "1",
        "domains-INITIAL_FORMS": "0",
        "domains-0-domain": "photos.example.com",
    }
    operator_client.post(add_url("source"), form)
    assert Source.objects.get().domains.get().domain == "photos.example.com"


def test_a_destination_and_a_queue_are_added(operator_client: Client) -> None:
    operator_client.post(
        add_url("destination"),
        {
            "name": "replica",
            "bucket": "replica",
            "endpoint": "https://oss-cn-hangzhou.aliyuncs.com",
            "region": "cn-hangzhou",
            "addressing": "virtual_host",
            "credential_profile": "default",
        },
    )
    operator_client.post(
        add_url("eventqueue"),
        {
            "name": "events",
            "url": "https://sqs.ap-east-1.amazonaws.com/123456789012/s3sync",
            "region": "ap-east-1",
            "credential_profile": "default",
            "enabled": "on",
        },
    )
    assert Destination.objects.get().name == "replica"
    assert EventQueue.objects.get().enabled


def test_the_index_lists_and_links_what_needs_an_operator(
    operator_client: Client, service: Service
) -> None:
    make_job(service.rule, "a.jpg", JobState.FAILED)
    page = text_of(operator_client, reverse("admin:index"))
    assert f'<a href="{list_url("heartbeat")}">No lane is alive' in page
    assert f'<a href="{list_url("failedjob")}">Rule photos: 1 failed job' in page


def test_the_index_says_when_nothing_is_wrong(operator_client: Client, service: Service) -> None:
    now = timezone.now()
    for kind in LoopKind:
        Heartbeat.objects.create(kind=kind, asked_at=now, started_at=now, beat_at=now)
    assert "Nothing: no failures" in text_of(operator_client, reverse("admin:index"))


def test_a_browser_that_asks_for_chinese_gets_pages_in_english_only(
    operator_client: Client,
) -> None:
    service = make_story()
    jobs = Job.objects.values_list("pk", flat=True)
    urls = [
        reverse("admin:index"),
        reverse("admin:password_change"),
        reverse("status"),
        *map(list_url, LISTS),
        *map(add_url, FORMS),
        *(change_url("transferjob", pk) for pk in jobs),
        change_url("replicationrule", service.other_rule.pk),
    ]
    for client, url in [*((operator_client, url) for url in urls), (Client(), "/admin/login/")]:
        for language in ("zh-Hans", "zh-CN", "zh"):
            response = client.get(url, headers={"Accept-Language": language})
            assert response.status_code == 200
            assert response.headers["Content-Language"] == "en"
            page = response.content.decode()
            assert '<html lang="en"' in page
            assert not re.search("[\u3400-\u9fff]", page), (url, language)


def test_a_destination_shows_what_its_bucket_takes(
    operator_client: Client, service: Service
) -> None:
    destination = service.rule.destination
    destination.record_capabilities(non_ascii_metadata=Takes.YES, non_ascii_tags=Takes.NO)
    page = text_of(operator_client, change_url("destination", destination.pk))
    assert "Takes user metadata beyond ASCII" in page
    assert [f'<div class="readonly">{each}</div>' in page for each in ("yes", "no")] == [True, True]


def test_a_rule_that_is_saved_as_new_with_an_error_is_shown_again(
    operator_client: Client, service: Service
) -> None:
    url = change_url("replicationrule", service.rule.pk)
    page = operator_client.post(url, {"name": "", "_saveasnew": "1"})
    assert page.status_code == 200
    assert "This field is required." in page.content.decode()
