"""Notification targets in the admin: the form reports mistakes, and pages show the history."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from replication.models import AuditEntry, Condition, ConditionKind, NotificationTarget
from replication.models.notifications import usual_kinds
from tests.admin.pages import add_url, change_url, list_url, messages_of, run_action
from tests.monitoring.notifications.conftest import SECRET, Webhook, addresses, webhook
from tests.support.groups import client_of_group
from tests.support.story import Service, make_notifications

__all__ = ["addresses", "webhook"]

FORM = {
    "name": "on-call",
    "enabled": "on",
    "credential_profile": "oncall",
    "kinds": ["parked", "lag"],
    "failures_at_least": "10",
    "failures_minutes": "5",
    "lag_seconds": "900",
    "lag_minutes": "5",
    "silence_hours": "24",
    "remind_hours": "6",
}


@pytest.fixture
def on_call_client(db: None) -> Client:
    return client_of_group("Operator")


def test_an_operator_adds_a_target_and_sends_a_test_message(
    on_call_client: Client, webhook: Webhook, addresses: Callable[..., None]
) -> None:
    addresses("oncall", webhook.url)
    form = on_call_client.get(add_url("notificationtarget")).content.decode()
    assert form.count("checked") == 1 + len(usual_kinds())
    answer = on_call_client.post(add_url("notificationtarget"), FORM)
    assert answer.status_code == 302, answer.content.decode()
    target = NotificationTarget.objects.get()
    assert target.kinds == ["parked", "lag"]
    assert AuditEntry.objects.get().about == "notification target on-call"
    page = run_action(on_call_client, "notificationtarget", "send_test", [target.pk])
    assert messages_of(page).endswith("on-call: the test message was accepted by JSON.")
    assert webhook.calls == 1
    assert SECRET not in page.content.decode()


def test_the_form_says_what_is_wrong_with_the_addresses(
    on_call_client: Client, addresses: Callable[..., None]
) -> None:
    page = on_call_client.post(add_url("notificationtarget"), FORM).content.decode()
    assert "S3SYNC_PROFILE_ONCALL_NOTIFY_URLS in the environment" in page
    addresses("oncall", f"salck://{SECRET}/B/C")
    page = on_call_client.post(add_url("notificationtarget"), FORM).content.decode()
    assert "URL number 1: no service accepts it" in page
    assert SECRET not in page
    assert not NotificationTarget.objects.exists()
    without_kinds = {name: value for name, value in FORM.items() if name != "kinds"}
    page = on_call_client.post(add_url("notificationtarget"), without_kinds).content.decode()
    assert "This field is required." in page


def test_a_disabled_target_may_have_no_addresses_yet(on_call_client: Client) -> None:
    disabled = {name: value for name, value in FORM.items() if name != "enabled"}
    assert on_call_client.post(add_url("notificationtarget"), disabled).status_code == 302


def test_a_failed_test_message_is_reported_and_shown_in_the_list(on_call_client: Client) -> None:
    target = NotificationTarget.objects.create(name="on-call", credential_profile="oncall")
    page = run_action(on_call_client, "notificationtarget", "send_test", [target.pk])
    assert "on-call: sending the test message failed. profile" in messages_of(page)
    assert ">failing<" in page.content.decode()


def test_a_viewer_sees_targets_and_conditions_but_can_not_test_or_change_them(
    viewer_client: Client, service: Service
) -> None:
    make_notifications(service.rule, service.queue)
    target = NotificationTarget.objects.get(name="on-call")
    run_action(viewer_client, "notificationtarget", "send_test", [target.pk])
    assert not AuditEntry.objects.exists()
    page = viewer_client.get(change_url("notificationtarget", target.pk)).content.decode()
    assert "many jobs fail · a rule is behind" in page
    assert "_save" not in page
    page = viewer_client.get(list_url("condition") + "?state=open").content.decode()
    assert str(ConditionKind.PARKED.label) in page
    assert page.count("<tr>") - page.count("<thead>") <= 2
    for condition in Condition.objects.all():
        page = viewer_client.get(change_url("condition", condition.pk)).content.decode()
        assert condition.detail.split(".")[0] in page
        assert "<script>alert" not in page


def test_a_target_is_deleted_with_its_conditions(on_call_client: Client, service: Service) -> None:
    make_notifications(service.rule, service.queue)
    target = NotificationTarget.objects.get(name="on-call")
    url = reverse("admin:replication_notificationtarget_delete", args=[target.pk])
    assert on_call_client.post(url, {"post": "yes"}).status_code == 302
    assert not Condition.objects.exists()
