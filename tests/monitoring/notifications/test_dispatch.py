"""Each target is told once, whichever process notifies it and whatever fails."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from replication.jobs import circuits
from replication.models import AuditEntry, Condition, NotificationTarget, ReplicationRule
from replication.monitoring.notifications import dispatch, sender
from replication.monitoring.notifications.dispatch import Delivery, notify_targets
from replication.monitoring.status import read_status
from replication.operations import retention
from replication.tools.doctor.findings import Level
from replication.tools.doctor.service import check_notification_targets
from tests.monitoring.notifications.conftest import SECRET, Webhook
from tests.monitoring.notifications.test_evaluation import let_pass, park
from tests.support.examples import a_rule
from tests.support.http_origin import http_origin
from tests.support.processes import eventually, manage
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def resume(name: str) -> None:
    circuits.resume(ReplicationRule.objects.filter(name=name))


def test_all_news_goes_into_one_message_and_is_not_repeated(
    target: NotificationTarget, webhook: Webhook
) -> None:
    park(a_rule("photos"))
    park(a_rule("scans"))
    assert notify_targets() == [Delivery("on-call", "s3sync: 2 wrong", accepted_by=("JSON",))]
    assert webhook.calls == 1
    assert "Rule photos was parked" in webhook.last["message"]
    assert "Rule scans was parked" in webhook.last["message"]
    # The state is in the database, so the same holds after a restart.
    assert notify_targets() == [Delivery("on-call")]
    resume("photos")
    notify_targets()
    assert webhook.last["title"] == "s3sync: rule photos is no longer parked"
    assert webhook.last["type"] == "success"
    assert webhook.calls == 2


def test_concurrent_processes_send_one_message(
    target: NotificationTarget, webhook: Webhook
) -> None:
    park(a_rule())
    at_once(notify_targets, notify_targets, notify_targets)
    notify_targets()
    assert webhook.calls == 1


def test_no_transaction_is_open_while_a_message_is_sent(
    target: NotificationTarget, webhook: Webhook
) -> None:
    answered, asked = threading.Event(), threading.Event()

    def hold(_target: str) -> bytes:
        asked.set()
        answered.wait(10)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    webhook.origin.answer = hold
    park(a_rule())
    open_ones: list[tuple[str, ...]] = []

    def look() -> list[Delivery]:
        asked.wait(10)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() "
                "AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
            )
            open_ones.extend(cursor.fetchall())
        answered.set()
        return []

    _, [delivery] = at_once(look, notify_targets)
    assert delivery.accepted_by == ("JSON",)
    assert open_ones == []


def test_news_that_can_not_be_sent_is_sent_later_even_if_it_is_over_by_then(
    target: NotificationTarget, webhook: Webhook
) -> None:
    webhook.origin.answers(b"", status="500 Internal Server Error")
    park(a_rule("photos"))
    park(a_rule("scans"))
    [failed] = notify_targets()
    assert "500" in failed.error
    target.refresh_from_db()
    assert (target.errors_in_a_row, target.last_told_at) == (1, None)
    assert "500" in target.last_error
    assert SECRET not in target.last_error
    resume("photos")
    [waits] = notify_targets()
    assert (webhook.calls, waits.title) == (1, ""), "the service is not tried again at once"
    webhook.origin.answers(b"{}")
    NotificationTarget.objects.update(try_again_at=Now())
    [delivery] = notify_targets()
    assert delivery.title == "s3sync: 1 wrong, 1 over"
    assert "WAS WRONG since" in webhook.last["message"]
    assert "Rule photos is no longer parked" in webhook.last["message"]
    assert "Rule scans was parked" in webhook.last["message"]
    target.refresh_from_db()
    assert (target.errors_in_a_row, target.last_error, target.try_again_at) == (0, "", None)
    assert notify_targets() == [Delivery("on-call")]


def test_a_hanging_target_does_not_keep_the_others_from_being_told(
    target: NotificationTarget,
    webhook: Webhook,
    addresses: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "send", partial(sender.send, seconds=1))
    hangs = NotificationTarget.objects.create(name="a-hanging-one", credential_profile="hangs")
    over = threading.Event()
    with http_origin() as silent:
        silent.answer = lambda _target: b"" * over.wait(10)
        addresses("hangs", f"json{silent.url[4:]}/?rto=60")
        park(a_rule())
        deliveries = {each.target: each for each in notify_targets()}
        over.set()
    assert deliveries["on-call"].accepted_by == ("JSON",)
    assert deliveries["a-hanging-one"].error
    hangs.refresh_from_db()
    assert hangs.try_again_at is not None
    assert hangs.claimed_until is None
    assert Condition.objects.filter(target=hangs, told_at=None).count() == 1


def test_the_status_page_and_doctor_report_a_failing_target(
    target: NotificationTarget, webhook: Webhook, addresses: Callable[..., None]
) -> None:
    assert [finding.found for finding in check_notification_targets()] == [
        "on-call is notified by JSON"
    ]
    addresses("oncall", f"jsno://{SECRET}")
    [finding] = check_notification_targets()
    assert finding.level is Level.WARN
    assert "on-call can't be notified: profile 'oncall', notify_urls: URL number 1" in finding.found
    park(a_rule())
    notify_targets()
    [problem] = [each for each in read_status().problems if each.code == "target_failing"]
    assert "Notification target on-call can't be notified" in problem.detail
    assert SECRET not in problem.detail + finding.found
    addresses("oncall", webhook.url)
    dispatch.send_test_messages([target])
    assert "target_failing" not in {each.code for each in read_status().problems}


def test_the_wait_doubles_while_a_target_fails(target: NotificationTarget) -> None:
    waits = []
    for errors in (0, 1, 2, 50):
        NotificationTarget.objects.update(errors_in_a_row=errors, credential_profile="nowhere")
        target.refresh_from_db()
        dispatch.send_test_messages([target])
        target.refresh_from_db()
        assert target.try_again_at and target.last_error_at
        waits.append(round((target.try_again_at - target.last_error_at).total_seconds()))
    assert waits == [60, 120, 240, 3600]
    assert "S3SYNC_PROFILE_NOWHERE_NOTIFY_URLS" in target.last_error


def test_the_claim_of_a_dead_process_delays_its_target_until_the_claim_expires(
    target: NotificationTarget, webhook: Webhook
) -> None:
    park(a_rule())
    NotificationTarget.objects.update(claimed_until=Now() + timedelta(seconds=60))
    assert notify_targets() == []
    NotificationTarget.objects.update(claimed_until=Now())
    notify_targets()
    assert webhook.calls == 1


def test_a_disabled_target_is_not_told(target: NotificationTarget, webhook: Webhook) -> None:
    NotificationTarget.objects.update(enabled=False)
    park(a_rule())
    assert notify_targets() == []
    assert webhook.calls == 0


def test_the_cluster_notifies_targets_by_itself(
    target: NotificationTarget, webhook: Webhook, tmp_path: Path
) -> None:
    park(a_rule())
    environment = {
        "S3SYNC_PROFILE_ONCALL_NOTIFY_URLS": webhook.url,
        "S3SYNC_LANES": "1",
        "S3SYNC_LANE_SECONDS": "1",
        "S3SYNC_POLL_IN_CLUSTER": "false",
    }
    with manage("qcluster", directory=tmp_path, **environment) as cluster:
        eventually(lambda: webhook.calls, unless_ended=cluster)
        eventually(
            lambda: Condition.objects.filter(told_at__isnull=False).exists(), unless_ended=cluster
        )
        log = cluster.log_tail()
    assert "rule photos is parked" in webhook.last["title"]
    assert SECRET not in log


def test_conditions_that_ended_long_ago_are_pruned(
    target: NotificationTarget, limits: Callable[..., None]
) -> None:
    limits(keep_failures_days=14)
    for name, days in (("old", 15), ("new", 13)):
        Condition.objects.create(
            target=target, kind="parked", rule=name, began_at=Now(), closed_at=Now()
        )
        Condition.objects.filter(rule=name).update(closed_at=Now() - timedelta(days=days))
    Condition.objects.create(target=target, kind="parked", rule="open", began_at=Now())
    let_pass(timedelta(days=99))
    retention.prune(seconds=5)
    assert {each.rule for each in Condition.objects.all()} == {"new", "open"}


def test_the_command_sends_a_test_message_and_reports_the_result(
    target: NotificationTarget, webhook: Webhook
) -> None:
    out, err = StringIO(), StringIO()
    call_command("notify", "--test", stdout=out, stderr=err)
    assert out.getvalue() == "on-call: 's3sync: a test message' was accepted by JSON\n"
    assert "S3SYNC_PUBLIC_URL is not set" in err.getvalue()
    assert webhook.last["title"] == "s3sync: a test message"
    assert AuditEntry.objects.get().action == "targets_tested"
    with pytest.raises(CommandError, match="there is no target named 'x'; there are: on-call"):
        call_command("notify", "--test", "x")
    NotificationTarget.objects.update(credential_profile="nowhere")
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("notify", "--test", "on-call", stdout=out, stderr=err)
    assert "on-call: FAILED: profile 'nowhere' needs" in out.getvalue()


def test_the_command_notifies_as_the_cluster_does(
    target: NotificationTarget, webhook: Webhook
) -> None:
    out = StringIO()
    call_command("notify", stdout=out)
    park(a_rule())
    call_command("notify", stdout=out)
    assert out.getvalue() == (
        "on-call: nothing new\non-call: 's3sync: rule photos is parked' was accepted by JSON\n"
    )
