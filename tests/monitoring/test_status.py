"""The status: its numbers, the problems found in them, and the page that shows both."""

import tomllib
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from replication import jobs
from replication.admin.status_page import PROBLEM_LISTS
from replication.errors import ErrorCode
from replication.jobs import history
from replication.jobs.aborting import TRIES_TO_REPORT
from replication.models import (
    ApiToken,
    Canary,
    Circuit,
    CompletedMinute,
    DeadLetter,
    EndedJob,
    EventQueue,
    Heartbeat,
    JobState,
    LoopKind,
    NotificationTarget,
    Outcome,
    ReplicationRule,
    Sweep,
    TransferJob,
)
from replication.monitoring.status import VERSION, read_status, upkeep
from replication.transfer.results import Completion
from tests.support.examples import a_job, a_rule
from tests.support.story import make_upload_to_abort

pytestmark = pytest.mark.django_db


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


def a_queue(name: str = "photos", **fields):
    url = f"https://sqs.ap-east-1.amazonaws.com/123456789012/{name}"
    return EventQueue.objects.create(name=name, url=url, region="ap-east-1", **fields)


def beats(
    kind: LoopKind,
    host: str = "worker-1",
    *,
    seconds_ago: float = 0,
    in_flight: int = 0,
    in_flight_limit: int = 0,
):
    Heartbeat.objects.create(
        kind=kind,
        host=host,
        asked_at=ago(minutes=1),
        started_at=ago(minutes=1),
        beat_at=ago(seconds=seconds_ago),
        in_flight=in_flight,
        in_flight_limit=in_flight_limit,
    )


@pytest.fixture
def alive():
    beats(LoopKind.LANE)
    beats(LoopKind.POLLER)


def problems() -> dict[str, str]:
    return {problem.code: problem.detail for problem in read_status().problems}


# -- the numbers -------------------------------------------------------------------------------


def test_each_state_is_counted_for_its_rule_and_for_all_rules():
    photos, videos = a_rule("photos"), a_rule("videos")
    a_job(photos, "a")
    a_job(photos, "b", attempt=2)
    a_job(photos, "c", state=JobState.RUNNING)
    a_job(videos, "d", state=JobState.FAILED)
    a_job(videos, "e", state=JobState.CANCELLED)
    status = read_status()
    of_photos, of_videos = (rule.jobs for rule in status.rules)
    assert (of_photos.pending, of_photos.retrying, of_photos.running, of_photos.failed) == (
        (2, 1, 1, 0)
    )
    assert (of_videos.pending, of_videos.failed) == (0, 1)
    assert (status.jobs.pending, status.jobs.running, status.jobs.failed) == (2, 1, 1)


def completed(
    rule: ReplicationRule,
    key: str,
    *,
    lag_seconds: float = 1,
    outcome: Outcome = Outcome.COPIED,
    size_bytes: int = 0,
    minutes_ago: float = 0,
) -> None:
    """Complete a job with that lag as a lane does; then move its minute into the past."""
    a_job(rule, key, event_at=ago(seconds=lag_seconds), available_at=ago(minutes=1))
    held = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    jobs.complete([(job, Completion(outcome=outcome, size_bytes=size_bytes)) for job in held])
    if minutes_ago:
        newest = rule.completed_minutes.latest("minute")
        CompletedMinute.objects.filter(pk=newest.pk).update(
            minute=newest.minute - timedelta(minutes=minutes_ago)
        )


def test_completed_jobs_and_their_bytes_are_counted_for_the_last_hour_and_day():
    rule = a_rule()
    for key, hours in (("a", 0.5), ("b", 2), ("c", 30)):
        completed(rule, key, size_bytes=100, minutes_ago=hours * 60)
    completed(rule, "d", outcome=Outcome.UNCHANGED, size_bytes=7)
    of_all = read_status().jobs
    assert (of_all.completed_last_hour, of_all.completed_last_day) == (2, 3)
    assert (of_all.bytes_last_hour, of_all.bytes_last_day) == (100, 200)


def test_lag_counts_from_the_announcement_to_the_end_of_jobs_of_the_last_hour():
    rule, other = a_rule(), a_rule("other")
    for lag_seconds in range(1, 102):
        completed(rule, str(lag_seconds), lag_seconds=lag_seconds)
    completed(other, "old", lag_seconds=900, minutes_ago=120)
    status = read_status()
    for numbers in (status.jobs, {each.name: each.jobs for each in status.rules}["photos"]):
        assert numbers.lag_p50_seconds == pytest.approx(51, rel=0.2)
        assert numbers.lag_p99_seconds == pytest.approx(100, rel=0.2)


def test_a_job_that_is_completed_twice_is_counted_once():
    rule = a_rule()
    a_job(rule, available_at=ago(minutes=1))
    held = jobs.claim(uuid4(), limit=1, lease_seconds=60)
    done = [(held[0], Completion(outcome=Outcome.COPIED, size_bytes=1))]
    assert jobs.complete(done)
    assert not jobs.complete(done)
    assert read_status().jobs.completed_last_hour == 1


def test_the_oldest_pending_change_tells_how_far_behind_a_rule_is():
    rule = a_rule()
    a_job(rule, "new")
    a_job(rule, "old", event_at=ago(seconds=90))
    assert read_status().rules[0].jobs.oldest_pending_seconds == pytest.approx(90, abs=10)


def test_times_without_any_job_are_none_and_not_zero():
    a_rule()
    jobs = read_status().rules[0].jobs
    assert jobs.oldest_pending_seconds is jobs.lag_p50_seconds is jobs.lag_p99_seconds is None


def test_loops_are_counted_by_host_while_their_heartbeat_lasts():
    beats(LoopKind.LANE, "a", in_flight=3, in_flight_limit=16)
    beats(LoopKind.LANE, "a", in_flight=4, in_flight_limit=24)
    beats(LoopKind.POLLER, "b")
    beats(LoopKind.LANE, "c", seconds_ago=16)
    Heartbeat.objects.create(kind=LoopKind.LANE, asked_at=ago())  # not started yet
    status = read_status()
    assert (status.lanes_alive, status.pollers_alive) == (2, 1)
    assert [(host.host, host.lanes, host.pollers, host.in_flight) for host in status.hosts] == [
        ("a", 2, 0, 7),
        ("b", 0, 1, 0),
    ]
    assert [host.in_flight_limit for host in status.hosts] == [40, 0]


def test_tokens_that_end_soon_are_named_and_those_made_for_less_time_are_not():
    now = timezone.now()
    days = {"soon": 3, "over": -2, "later": 30, "long-over": -30}
    for number, (name, left) in enumerate([*days.items(), ("short", 3), ("revoked", 3)]):
        ApiToken.objects.create(
            name=name,
            secret_sha256=str(number),
            created_at=now - timedelta(days=1 if name == "short" else 60),
            ends_at=now + timedelta(days=left, minutes=30),
            revoked_at=now if name == "revoked" else None,
        )
    ApiToken.objects.create(name="eternal", secret_sha256="e", created_at=now)
    over, soon = [p.detail for p in read_status().problems if p.code == "token_ends"]
    assert over.startswith("API token over ended 1 d 23 h ago, and calls with it are refused.")
    assert soon.startswith("API token soon ends in 3 d 0 h; calls with it are refused from then")


def test_the_status_takes_fourteen_queries_however_many_rules_there_are():
    for number in range(5):
        a_rule(f"rule-{number}")
        a_queue(f"queue-{number}")
    with CaptureQueriesContext(connection) as queries:
        read_status()
    assert len(queries) == 14


def test_the_status_never_reads_the_whole_history():
    rule = a_rule()
    a_job(rule, state=JobState.COMPLETED)
    with CaptureQueriesContext(connection) as queries:
        read_status()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on replication_transferjob" not in plan
    assert "job_completed" not in plan


# -- the problems ------------------------------------------------------------------------------


def test_a_service_with_a_lane_a_poller_and_no_problem_is_healthy(alive):
    a_rule()
    a_queue(last_polled_at=ago(seconds=20))
    status = read_status()
    assert status.healthy
    assert status.problems == []


def test_no_lane_is_a_problem():
    assert "qcluster" in problems()["no_lane"]


def test_no_poller_is_a_problem_where_there_is_a_queue():
    assert "no_poller" not in problems()
    a_queue(last_polled_at=ago(hours=1))
    assert "pollsqs" in problems()["no_poller"]
    assert "queue_silent" not in problems()


def test_the_last_error_of_a_queue_is_a_problem(alive):
    a_queue(last_error="AccessDenied: no", last_error_at=ago(minutes=3.5), last_polled_at=ago())
    assert problems() == {"queue_error": "Queue photos: last error 3 min ago: AccessDenied: no"}


def test_a_queue_that_is_not_polled_is_a_problem(alive):
    a_queue("a", last_polled_at=ago(minutes=5.5))
    a_queue("b")
    assert [problem.detail for problem in read_status().problems] == [
        "Queue a was last polled 5 min ago.",
        "Queue b has never been polled.",
    ]


def test_a_disabled_queue_is_no_problem(alive):
    a_queue(enabled=False, last_error="AccessDenied", last_error_at=ago())
    assert problems() == {}


def test_new_dead_letters_are_a_problem(alive):
    queue = a_queue(last_polled_at=ago())
    for number, days in enumerate((1, 30)):
        DeadLetter.objects.create(
            queue=queue, message_id=number, body="", reason="", received_at=ago(days=days)
        )
    assert "1 dead letter of the last 7 days" in problems()["dead_letters"]
    assert read_status().queues[0].dead_letters == 2


def test_rules_that_collide_are_a_problem_of_each_of_them(alive):
    photos = a_rule("photos")
    for name in ("scans", "videos"):
        a_rule(name, destination=photos.destination, destination_prefix=f"{name}/")
    found = {problem.rule: problem for problem in read_status().problems}
    assert {problem.code for problem in found.values()} == {"rules_collide"}
    assert found["scans"].detail == (
        "Rules photos and scans can write the same keys of the bucket photos-replica: photos "
        "writes any key, and scans writes keys that begin with 'scans/'. Where two objects get the "
        "same key, one replaces the other, and a delete of one deletes the replica of the other. "
        "Give the rules destination prefixes of which neither begins with the other, or different "
        "buckets. Filters do not keep rules apart."
    )
    assert found["photos"].detail == f"{found['scans'].detail} photos collides with 1 more rule."
    assert set(found) == {"photos", "scans", "videos"}


def test_a_disabled_rule_is_no_problem_of_the_rule_that_it_collides_with(alive):
    photos = a_rule("photos")
    a_rule("scans", destination=photos.destination, enabled=False)
    assert problems() == {}


def test_a_paused_rule_is_a_problem(alive):
    rule = a_rule()
    a_job(rule)
    ReplicationRule.pause(ReplicationRule.objects.all())
    ReplicationRule.objects.update(paused_at=ago(hours=3, minutes=12.5))
    assert problems() == {
        "rule_paused": "Rule photos was paused 3 h 12 min ago, with 1 job waiting. Resume the rule "
        "to continue."
    }


def test_jobs_of_a_disabled_rule_are_a_problem(alive):
    rule = a_rule(enabled=False)
    assert problems() == {}
    a_job(rule)
    assert "Rule photos is disabled, with 1 job waiting" in problems()["rule_disabled"]


def test_a_rule_that_is_behind_is_a_problem(alive):
    rule = a_rule()
    a_job(rule, "a", event_at=ago(minutes=22.5), attempt=1)
    a_job(rule, "b")
    assert problems() == {
        "rule_behind": "Rule photos is behind: 2 jobs waiting, 1 of them after an unsuccessful "
        "try; the oldest change is 22 min old."
    }


def test_uploads_that_can_not_be_aborted_for_an_hour_are_a_problem(alive):
    for tries in (TRIES_TO_REPORT - 1, TRIES_TO_REPORT):
        make_upload_to_abort(f"{tries}", tries=tries)
    assert "1 unfinished upload could not be aborted" in problems()["uploads_not_aborted"]


def test_failed_jobs_are_a_problem(alive):
    rule = a_rule()
    a_job(rule, "a", state=JobState.FAILED)
    a_job(rule, "b", state=JobState.FAILED)
    assert "Rule photos: 2 failed jobs" in problems()["failed_jobs"]


# -- what does not get through ----------------------------------------------------------------


def open_circuit(scope: str, place: str, host: str = "") -> None:
    Circuit.objects.create(
        scope=scope,
        side="destination",
        place=place,
        host=host,
        code=ErrorCode.DESTINATION_CREDENTIALS if host else ErrorCode.DESTINATION_UNREACHABLE,
        detail="the answer",
        first_failed_at=ago(minutes=3),
        opened_at=ago(minutes=2),
        probe_at=ago(),
    )


def details(code: str) -> list[str]:
    return [problem.detail for problem in read_status().problems if problem.code == code]


def test_an_error_that_needs_a_person_is_told_at_once_and_others_when_they_last():
    rule = a_rule("photos")
    a_job(rule, "a", attempt=1, error_code=ErrorCode.DESTINATION_CREDENTIALS)
    a_job(rule, "b", attempt=9, error_code=ErrorCode.SOURCE_UNAVAILABLE)
    [one] = details("not_getting_through")
    assert "Rule photos: 1 job not getting through" in one
    assert "Correct the AccessKey" in one
    TransferJob.objects.filter(key="b").update(event_at=ago(hours=1))
    both = details("not_getting_through")
    assert len(both) == 2
    assert any("min old. The source answers with a server error" in detail for detail in both)


def test_a_job_does_not_get_through_while_it_is_tried_again_either():
    refused = {"attempt": 1, "error_code": ErrorCode.DESTINATION_CREDENTIALS}
    leased = {"lease_expires_at": ago(seconds=-60), "claimed_by": uuid4()}
    a_job(a_rule("photos"), "a", state=JobState.RUNNING, **leased, **refused)
    [one] = details("not_getting_through")
    assert "Rule photos: 1 job not getting through" in one


def test_an_open_circuit_is_told_once_with_what_it_concerns():
    open_circuit("endpoint", "oss.example.com")
    open_circuit("profile", "writer", host="gone")
    open_circuit("profile", "writer", host="worker-1")
    open_circuit("rule", "1")
    beats(LoopKind.LANE, "worker-1")
    beats(LoopKind.LANE, "worker-2")
    endpoint, profile = details("circuit_open")
    assert "destination endpoint oss.example.com since 3 min ago" in endpoint
    assert "OSS can't be reached" in endpoint
    assert "credential profile writer on host worker-1" in profile
    assert "Other hosts go on." in profile


def test_a_job_that_runs_for_over_an_hour_is_told():
    rule = a_rule("photos")
    a_job(rule, "a", state=JobState.RUNNING, started_at=ago(minutes=50))
    assert details("running_long") == []
    TransferJob.objects.update(started_at=ago(minutes=70))
    assert "1 job running for over an hour" in details("running_long")[0]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_keeps_dead_rows_from_being_removed_is_told(monkeypatch):
    old = connection.copy("old")
    try:
        with transaction.atomic(using="default"), old.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET application_name = 'nightly dump'")
            cursor.execute("SELECT count(*) FROM replication_transferjob")
            assert details("old_transaction") == []
            monkeypatch.setattr(upkeep, "OLD_TRANSACTION_SECONDS", 0)
            [detail] = details("old_transaction")
            assert "nightly dump" in detail
            assert "pg_terminate_backend" in detail
    finally:
        old.close()


@pytest.mark.django_db(transaction=True)
def test_a_prepared_transaction_is_told_too(monkeypatch):
    monkeypatch.setattr(upkeep, "OLD_TRANSACTION_SECONDS", 0)
    gid = f"forgotten-{uuid4()}"
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT txid_current()")
        cursor.execute(f"PREPARE TRANSACTION '{gid}'")
        try:
            [detail] = details("old_transaction")
        finally:
            cursor.execute(f"ROLLBACK PREPARED '{gid}'")
    assert f"ROLLBACK PREPARED '{gid}'" in detail


@pytest.mark.django_db(transaction=True)
def test_a_queue_that_bloats_is_told(monkeypatch):
    monkeypatch.setattr(upkeep, "DEAD_ROWS", 3)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE replication_transferjob SET (autovacuum_enabled = off)")
        try:
            cursor.execute("VACUUM replication_transferjob")
            assert details("queue_bloated") == []
            rule = a_rule()
            for number in range(5):
                a_job(rule, f"{number}").delete()
            cursor.execute("SELECT pg_stat_force_next_flush()")
            [detail] = details("queue_bloated")
            assert detail.startswith("The queue's table has 5 dead rows beside 0 jobs")
        finally:
            cursor.execute("ALTER TABLE replication_transferjob RESET (autovacuum_enabled)")


def test_ended_jobs_on_days_without_a_partition_are_told():
    rule = a_rule()
    assert details("history_without_day") == []
    job = a_job(rule, state=JobState.COMPLETED)
    long_ago = timezone.now() - timedelta(days=4000)
    EndedJob.objects.filter(pk=job.pk).update(finalized_at=long_ago)
    [detail] = details("history_without_day")
    assert detail.startswith("1 ended job")
    history.make_days()
    assert details("history_without_day") == []


# -- the page ----------------------------------------------------------------------------------


@pytest.fixture
def operator(client):
    client.force_login(get_user_model().objects.create_superuser("operator"))
    return client


def test_the_page_shows_the_problems_and_the_numbers(operator):
    rule = a_rule()
    a_queue(last_error="AccessDenied: <no>", last_error_at=ago())
    beats(LoopKind.LANE, "worker-1")
    a_job(rule, "a", state=JobState.FAILED)
    page = operator.get("/status/")
    content = page.content.decode()
    for text in ("1 failed job;", "photos", "AccessDenied: &lt;no&gt;", "unknown", "worker-1"):
        assert text in content
    assert f"/admin/replication/failedjob/?rule__id__exact={rule.pk}" in content
    assert f"state=pending&amp;rule__id__exact={rule.pk}" in content


def test_the_page_runs_no_inline_script_or_style(operator):
    a_rule()
    page = operator.get("/status/")
    content = page.content.decode()
    assert "default-src 'self'" in page["Content-Security-Policy"]
    assert "<style" not in content
    assert " style=" not in content
    assert content.count("<script") == content.count("<script src=")


def test_every_problem_with_a_list_in_the_admin_links_to_it(operator, monkeypatch):
    for name in ("paused", "parked", "disabled", "behind"):
        a_job(a_rule(name, enabled=name != "disabled"), event_at=ago(hours=1))
    ReplicationRule.objects.filter(name="paused").update(paused_at=ago())
    ReplicationRule.objects.filter(name="behind").update(braked_at=ago())
    parked = ReplicationRule.objects.filter(name="parked")
    parked.update(parked_at=ago(), parked_code=ErrorCode.DESTINATION_ACCESS_DENIED)
    a_job(ReplicationRule.objects.get(name="behind"), "b", state=JobState.FAILED)
    colliding = a_rule("colliding", destination=parked.get().destination)
    a_job(colliding, "held", delete_permit="awaited")
    queue = a_queue("a", last_error="x", last_error_at=ago())
    a_queue("b")
    DeadLetter.objects.create(
        queue=queue, message_id="1", body="", reason="", received_at=ago(hours=1)
    )
    NotificationTarget.objects.create(name="a", credential_profile="a", errors_in_a_row=1)
    make_upload_to_abort("a", tries=TRIES_TO_REPORT)
    ApiToken.objects.create(name="a", created_at=ago(days=30), ends_at=timezone.now())
    stuck = a_rule("stuck")
    a_job(stuck, "a", attempt=1, error_code=ErrorCode.DESTINATION_CREDENTIALS)
    a_job(stuck, "b", state=JobState.RUNNING, started_at=ago(hours=2))
    open_circuit("endpoint", "https://oss-cn-hongkong.aliyuncs.com")
    for rule, ended in (
        (stuck, {"state": "failed"}),
        (colliding, {"state": "completed", "lost": 1}),
    ):
        Sweep.objects.create(rule=rule, kind="scrub", rule_version=1, ended_at=ago(), **ended)
    Canary.objects.create(
        rule=a_rule("canary", canary=True),
        key=".s3sync-canary",
        tried_at=ago(),
        put_at=ago(minutes=5),
        failing_since=ago(),
        error_code=ErrorCode.SOURCE_ACCESS_DENIED,
        queue_unheard_since=ago(minutes=15),
    )
    shown = dict(operator.get("/status/").context["problems"])
    beats(LoopKind.POLLER)
    shown |= dict(operator.get("/status/").context["problems"])
    operator.force_login(get_user_model().objects.create_superuser("root"))
    monkeypatch.setattr(upkeep, "OLD_TRANSACTION_SECONDS", 0)
    monkeypatch.setattr(upkeep, "DEAD_ROWS", -1)
    monkeypatch.setattr(upkeep, "DEAD_ROWS_PER_JOB", -1)
    stray = a_job(stuck, "stray", state=JobState.COMPLETED)
    EndedJob.objects.filter(pk=stray.pk).update(finalized_at=ago(days=4000))
    old = connection.copy("old")
    try:
        with old.cursor() as cursor, connection.cursor() as ours:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM replication_transferjob")
            ours.execute("SELECT pg_stat_clear_snapshot()")  # this test is one transaction
            page = operator.get("/status/")
            assert "has been open since" in operator.get("/admin/").content.decode()
    finally:
        old.close()
    assert "has been open since" in page.content.decode()
    shown |= dict(page.context["problems"])
    assert {problem.code for problem in shown} == set(PROBLEM_LISTS)
    for url in set(shown.values()) - {""}:
        assert operator.get(url).status_code == 200


def test_an_empty_installation_shows_what_to_do_next(operator):
    page = operator.get("/status/").content.decode()
    for model in ("source", "destination", "replicationrule", "eventqueue"):
        assert f"/admin/replication/{model}/add/" in page
    a_rule()
    assert "What to do next" not in operator.get("/status/").content.decode()


def test_a_visitor_who_is_not_staff_is_sent_to_the_login(client):
    assert client.get("/status/").headers["Location"] == "/admin/login/?next=/status/"
    client.force_login(get_user_model().objects.create_user("somebody"))
    assert client.get("/status/").status_code == 302


def test_the_root_redirects_to_the_page(client):
    assert client.get("/").headers["Location"] == "/status/"


def test_an_unknown_page_is_html(client):
    answer = client.get("/nothing")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
