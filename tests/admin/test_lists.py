"""The lists stay fast, however many rows there are."""

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from replication.admin import jobs as jobs_admin
from replication.admin import lists
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
)
from tests.admin.pages import LISTS, list_url
from tests.support.story import Service, make_job, make_story, make_upload_to_abort


def make_more(service: Service) -> None:
    """Ten more rows for each list."""
    now = timezone.now()
    for number in range(10):
        source = Source.objects.create(name=f"more-{number}", bucket="b", region="ap-east-1")
        source.domains.create(domain=f"{number}.example.com")
        destination = Destination.objects.create(
            name=f"more-{number}", bucket="b", endpoint="https://oss.example.com", region="r"
        )
        rule = ReplicationRule.objects.create(
            name=f"more-{number}", source=source, destination=destination
        )
        make_job(rule, f"{number}.jpg", JobState.FAILED)
        make_job(rule, f"{number}.jpg", JobState.COMPLETED)
        EventQueue.objects.create(name=f"more-{number}", url=f"https://{number}", region="r")
        DeadLetter.objects.create(
            queue=service.queue, message_id=number, body="", reason="", received_at=now
        )
        Heartbeat.objects.create(kind=LoopKind.LANE, asked_at=now, started_at=now, beat_at=now)
        make_upload_to_abort(f"{number}.mp4")


def insert_jobs(rule: ReplicationRule, *, number: int) -> None:
    """Insert pending jobs; with enough of them, PostgreSQL prefers an index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_transferjob
                (rule_id, key, state, origin, priority, attempt, attempt_limit, event_at,
                 enqueued_at, available_at, source_etag, source_version_id, source_crc64,
                 source_request_id, destination_etag, destination_crc64, destination_request_id,
                 error_code, error_detail)
            SELECT %s, 'folder-' || n %% 100 || '/' || n, 'pending', 'event', 0, 0, 10, now(),
                   now(), now(), '', '', '', '', '', '', '', '', ''
            FROM generate_series(1, %s) AS n
            """,
            [rule.pk, number],
        )
        cursor.execute("ANALYZE replication_transferjob")


def listed(client: Client, query: str) -> QuerySet[Job]:
    return client.get(f"{list_url('transferjob')}?{query}").context["cl"].queryset


@pytest.mark.parametrize("model", LISTS)
def test_the_number_of_queries_does_not_grow_with_the_rows(
    operator_client: Client, model: str
) -> None:
    service = make_story()
    operator_client.get(list_url(model))  # fills Django's caches
    with CaptureQueriesContext(connection) as few:
        operator_client.get(list_url(model))
    make_more(service)
    with CaptureQueriesContext(connection) as many:
        operator_client.get(list_url(model))
    assert len(many) == len(few), [query["sql"] for query in many]


def test_a_search_finds_keys_by_prefix_through_the_index(
    operator_client: Client, service: Service
) -> None:
    insert_jobs(service.rule, number=20_000)
    found = listed(operator_client, "q=folder-7/")
    assert found.count() == 200
    plan = found.explain()
    assert "job_key" in plan, plan
    assert "Index Cond: ((key >= 'folder-7/'" in plan


@pytest.mark.parametrize("key", ["100%", "a_b", "back\\slash", "quo'te", "new\nline", "\u202ertl"])
def test_a_search_takes_every_character_literally(
    operator_client: Client, service: Service, key: str
) -> None:
    make_job(service.rule, key)
    make_job(service.rule, "another")
    response = operator_client.get(list_url("transferjob"), {"q": key})
    assert [job.key for job in response.context["cl"].queryset] == [key]


def test_counting_stops_at_the_cap_and_the_page_says_so(
    operator_client: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_LISTED", 100)
    insert_jobs(service.rule, number=150)
    response = operator_client.get(list_url("transferjob"))
    assert response.context["cl"].paginator.num_pages == 2
    assert "100+ jobs" in response.content.decode()
    assert "Select all 100+ jobs" in response.content.decode()


def test_the_count_is_exact_below_the_cap(operator_client: Client, service: Service) -> None:
    insert_jobs(service.rule, number=60)
    assert "\n60 jobs" in operator_client.get(list_url("transferjob")).content.decode()


def test_a_filter_without_an_index_searches_only_the_newest_jobs(
    operator_client: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_admin, "NEWEST_JOBS", 100)
    old = {
        state: make_job(service.other_rule, f"old-{state}", state)
        for state in (JobState.CANCELLED, JobState.FAILED, JobState.RUNNING)
    }
    insert_jobs(service.rule, number=200)
    assert not listed(operator_client, "state=cancelled").exists()
    assert listed(operator_client, "state=failed").get() == old[JobState.FAILED]
    assert listed(operator_client, "state=running").get() == old[JobState.RUNNING]
    assert listed(operator_client, "q=old-cancelled").get() == old[JobState.CANCELLED]
    assert not listed(operator_client, f"rule__id__exact={service.other_rule.pk}").exists()


def test_the_state_filter_finds_retrying_jobs(operator_client: Client) -> None:
    make_story()
    assert [job.key for job in listed(operator_client, "state=retrying")] == [
        "photos/2026/retrying.jpg"
    ]


def test_failures_are_filtered_by_cause_in_words(operator_client: Client) -> None:
    make_story()
    page = operator_client.get(list_url("failedjob") + "?error_code=object_too_large")
    assert [job.error_code for job in page.context["cl"].queryset] == ["object_too_large"]
    assert "OSS does not accept the object&#x27;s key." in page.content.decode()


def test_the_newest_job_comes_first(operator_client: Client, service: Service) -> None:
    jobs = [make_job(service.rule, key) for key in ("b", "c", "a")]
    assert list(listed(operator_client, "")) == jobs[::-1]


def test_django_q_and_bulk_deletion_are_hidden(operator_client: Client, service: Service) -> None:
    assert "django_q" not in operator_client.get(reverse("admin:index")).content.decode()
    page = operator_client.get(list_url("replicationrule")).content.decode()
    assert "delete_selected" not in page
