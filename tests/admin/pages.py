"""The addresses of the admin's pages, and the messages in its responses."""

from typing import Any

from django.test import Client
from django.urls import reverse

LISTS = [
    *("transferjob", "failedjob", "replicationrule", "source", "destination"),
    *("eventqueue", "deadletter", "heartbeat", "apitoken", "auditentry"),
    "configurationchange",
    *("notificationtarget", "condition", "uploadtoabort", "sweep", "sweepfinding"),
    "clustertask",
]
FORMS = [
    *("replicationrule", "source", "destination", "eventqueue", "apitoken"),
    "notificationtarget",
]


def list_url(model: str) -> str:
    return reverse(f"admin:replication_{model}_changelist")


def add_url(model: str) -> str:
    return reverse(f"admin:replication_{model}_add")


def change_url(model: str, pk: object) -> str:
    return reverse(f"admin:replication_{model}_change", args=[pk])


def run_action(client: Client, model: str, action: str, pks: list[int]) -> Any:
    return client.post(list_url(model), {"action": action, "_selected_action": pks}, follow=True)


def messages_of(response: Any) -> str:
    """The messages of a response, as one text."""
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])
