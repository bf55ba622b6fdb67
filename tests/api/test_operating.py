"""Operators' API calls on rules, jobs and dead letters; each is audited."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client

from replication.api import job_pages
from replication.errors import ErrorCode
from replication.models import (
    ActorKind,
    AuditAction,
    AuditEntry,
    DeadLetter,
    EventQueue,
    Job,
    JobOrigin,
    JobState,
    TokenRole,
    TransferJob,
)
from tests.api.callers import a_caller
from tests.support.examples import a_job, a_rule
from tests.support.story import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return a_caller("deploy", TokenRole.OPERATE)


def post(client: Client, path: str, body: object = None):
    return client.post(f"/api/v1/{path}", body, content_type="application/json")


def audit_entries() -> list[tuple[str, str, int | None]]:
    """The audit entries of the token, oldest first."""
    entries = AuditEntry.objects.filter(actor_kind=ActorKind.TOKEN).order_by("id")
    assert {entry.actor for entry in entries} == {"deploy"}
    return [(entry.action, entry.about, entry.affected) for entry in entries]


def test_a_rule_is_paused_and_resumed_by_name(operator: Client):
    rule = a_rule("photos", source_prefix="p/")
    assert operator.get("/api/v1/rules").json()[0]["name"] == "photos"
    assert post(operator, "rules/photos/pause").json()["paused_at"]
    rule.refresh_from_db()
    assert rule.paused_at
    assert post(operator, "rules/photos/resume").json()["paused_at"] is None
    assert operator.get("/api/v1/rules/photos").json()["source_prefix"] == "p/"
    assert audit_entries() == [
        (AuditAction.RULES_PAUSED, "rules photos", 1),
        (AuditAction.RULES_RESUMED, "rules photos", 1),
    ]
    answer = post(operator, "rules/nothing/pause")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_such_rule")


def test_look_again_ignores_the_filters_of_the_rule_but_not_its_prefix(operator: Client):
    a_rule("photos", source_prefix="p/", include="p/*.png")
    answer = post(operator, "rules/photos/look-again", {"keys": ["p/fine.png", "a.png", "b.png"]})
    assert (answer.status_code, answer.json()["error"]) == (422, "keys_outside_rule")
    detail = answer.json()["detail"]
    assert "rule photos is for keys that begin with 'p/', and 'a.png' and 1 more key" in detail
    assert not Job.objects.exists()

    answer = post(operator, "rules/photos/look-again", {"keys": ["p/a b.jpg", "p/é+%20"]})
    assert (answer.status_code, len(answer.json()["job_ids"])) == (202, 2)
    jobs = Job.objects.all()
    assert {(job.key, job.origin) for job in jobs} == {
        ("p/a b.jpg", JobOrigin.ADMIN),
        ("p/é+%20", JobOrigin.ADMIN),
    }
    about = "rule photos: keys p/a b.jpg, p/é+%20"
    assert audit_entries() == [(AuditAction.LOOKED_AGAIN, about, 2)]
    for keys in ([], [""], ["x" * 1025], ["a\0"], ["\ud800"], ["a"] * 1001, "a", [1]):
        answer = post(operator, "rules/photos/look-again", {"keys": keys})
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request"), keys
    answer = post(operator, "rules/photos/look-again", {"keys": ["x" * 2_700_000]})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_jobs_are_found_by_state_rule_error_and_prefix(operator: Client):
    photos, scans = a_rule("photos"), a_rule("scans")
    a_job(photos, "a/1", state=JobState.FAILED)
    a_job(photos, "a/2", state=JobState.FAILED, error_code=ErrorCode.UNEXPECTED)
    a_job(scans, "a/3", state=JobState.FAILED)
    a_job(scans, "b/4", state=JobState.COMPLETED)
    a_job(scans, "b/5")

    def found(**query: str) -> set[str]:
        return {job["key"] for job in operator.get("/api/v1/jobs", query).json()["jobs"]}

    assert found() == {"a/1", "a/2", "a/3", "b/4", "b/5"}
    assert found(state="failed") == {"a/1", "a/2", "a/3"}
    assert found(state="failed", rule="photos") == {"a/1", "a/2"}
    assert found(state="failed", error="unexpected") == {"a/2"}
    assert found(prefix="b/") == {"b/4", "b/5"}
    assert found(prefix="b/", state="completed") == {"b/4"}
    assert found(rule="scans") == {"a/3", "b/4", "b/5"}
    answer = operator.get("/api/v1/jobs", {"rule": "nothing"})
    assert (answer.status_code, answer.json()["error"]) == (404, "no_such_rule")


@pytest.mark.parametrize("query", [{}, {"state": "failed"}, {"rule": "photos"}])
def test_pages_skip_and_repeat_no_job(
    operator: Client, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
):
    rule = a_rule("photos")
    jobs = [a_job(rule, str(number), state=JobState.FAILED) for number in range(7)]
    # Several with the same end time, as after a batch of a lane.
    TransferJob.objects.filter(pk__in=[job.pk for job in jobs[:5]]).update(finalized_at=Now())
    seen: list[int] = []
    cursor = ""
    for _ in range(4):
        page = operator.get("/api/v1/jobs", {**query, "limit": "2", "cursor": cursor}).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        a_job(rule, f"new-{len(seen)}", state=JobState.FAILED)  # the list grows at its head
    assert not cursor
    assert sorted(seen) == [job.pk for job in jobs]


@pytest.mark.parametrize("state", ["", "completed"])
def test_a_scan_of_all_jobs_continues_page_by_page(
    operator: Client, monkeypatch: pytest.MonkeyPatch, state: str
):
    monkeypatch.setattr(job_pages, "MAX_SCANNED", 3)
    rare, common = a_rule("rare"), a_rule("common")
    wanted = a_job(rare, "wanted", state=JobState.COMPLETED)
    for number in range(8):
        a_job(common, str(number), state=JobState.COMPLETED)
    found: list[int] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        query = {"rule": "rare", "cursor": cursor} | ({"state": state} if state else {})
        page = operator.get("/api/v1/jobs", query).json()
        found += [job["id"] for job in page["jobs"]]
        cursor, pages = page["next_cursor"], pages + 1
        assert pages < 6
    assert found == [wanted.pk]
    assert pages >= 3


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"cursor": "WzEsIDJd"},  # [1, 2]
        {"cursor": "WyIyMDI2LTExLTIzVDA2OjAyOjQ1KzAwOjAwIiwgNDcxMV0"},  # from a list by end
        {"cursor": "W251bGwsIDFd", "state": "failed"},  # from a list by id
        {"cursor": "W251bGwsIDFlOTldCg"},  # [null, 1e99]
    ],
)
def test_a_cursor_of_another_list_is_refused(operator: Client, query: dict[str, str]):
    answer = operator.get("/api/v1/jobs", query)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_cursor")


def test_a_job_has_its_tries_and_its_proof(operator: Client):
    tries = [ErrorCode.SOURCE_THROTTLED]
    job = make_job(a_rule(), "a.jpg", JobState.COMPLETED, errors=tries)
    answer = operator.get(f"/api/v1/jobs/{job.pk}").json()
    assert answer["job"]["key"] == "a.jpg"
    assert answer["tries"][0]["code"] == "source_throttled"
    assert answer["tries"][0]["hint"]
    assert answer["proof"]["crc64_equal"] is True
    assert operator.get(f"/api/v1/jobs/{job.pk + 1}").json()["error"] == "no_such_job"


def test_a_failed_job_is_retried_and_a_pending_one_cancelled(operator: Client):
    job = a_job(a_rule(), state=JobState.FAILED)
    assert post(operator, f"jobs/{job.pk}/cancel").json()["error"] == "wrong_state"
    assert post(operator, f"jobs/{job.pk}/retry").json() == {"retried": 1, "superseded": 0}
    answer = post(operator, f"jobs/{job.pk}/retry")
    assert (answer.status_code, answer.json()["error"]) == (409, "wrong_state")
    assert post(operator, f"jobs/{job.pk}/cancel").json() == {"cancelled": 1}
    assert Job.objects.get().state == JobState.CANCELLED
    assert post(operator, f"jobs/{job.pk + 1}/retry").json()["error"] == "no_such_job"
    assert audit_entries() == [
        (AuditAction.JOBS_RETRIED, f"jobs {job.pk}", 1),
        (AuditAction.JOBS_CANCELLED, f"jobs {job.pk}", 1),
    ]


def test_failed_jobs_are_retried_by_filter_up_to_a_limit_per_call(
    operator: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("replication.api.jobs.MAX_RETRIED", 2)
    rule = a_rule("photos")
    for number in range(3):
        a_job(rule, f"a/{number}", state=JobState.FAILED)
    a_job(rule, "b", state=JobState.FAILED)
    order = {"rule": "photos", "prefix": "a/"}
    assert post(operator, "jobs/retry", order).json() == {
        "retried": 2,
        "superseded": 0,
        "more": True,
    }
    assert post(operator, "jobs/retry", order).json()["more"] is False
    assert Job.objects.get(state=JobState.FAILED).key == "b"
    for everything in ({}, {"prefix": ""}, {"state": "failed"}):
        assert post(operator, "jobs/retry", everything).status_code == 422


def test_dead_letters_are_read_replayed_and_deleted(operator: Client):
    queue = EventQueue.objects.create(name="q", url="https://q/1", region="r")
    good, bad, _ = [
        DeadLetter.objects.create(
            queue=queue,
            message_id=str(number),
            body='{"Event": "s3:TestEvent"}' if number == 0 else "?",
            reason="",
            received_at=Now() - timedelta(minutes=number),
        )
        for number in range(3)
    ]
    page = operator.get("/api/v1/dead-letters", {"queue": "q", "limit": "2"}).json()
    assert len(page["dead_letters"]) == 2
    rest = operator.get("/api/v1/dead-letters", {"cursor": page["next_cursor"]}).json()
    assert [letter["id"] for letter in rest["dead_letters"]] == [good.pk]
    assert [letter["record"] for letter in page["dead_letters"]] == [None, None]
    DeadLetter.objects.filter(pk=bad.pk).update(record=2)
    assert operator.get(f"/api/v1/dead-letters/{bad.pk}").json()["body"] == "?"
    assert operator.get(f"/api/v1/dead-letters/{bad.pk}").json()["record"] == 2
    assert post(operator, f"dead-letters/{good.pk}/replay").json()["letters"] == 1
    assert post(operator, f"dead-letters/{bad.pk}/replay").json()["still_unparseable"] == 1
    assert operator.delete(f"/api/v1/dead-letters/{bad.pk}").status_code == 204
    for path in (f"dead-letters/{good.pk}", f"dead-letters/{bad.pk}"):
        assert operator.get(f"/api/v1/{path}").json()["error"] == "no_such_dead_letter"
    assert audit_entries() == [
        (AuditAction.LETTERS_REPLAYED, "dead letters 0", 1),
        (AuditAction.LETTERS_REPLAYED, "dead letters 1, record 2", 0),
        (AuditAction.LETTERS_DELETED, "dead letters 1, record 2", 1),
    ]
