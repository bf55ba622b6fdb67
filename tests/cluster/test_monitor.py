"""A failed task leaves a log line and plain text, and finished tasks leave the queue."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from replication.cluster.broker import PatientBroker
from replication.cluster.ipc import Mailbox
from replication.cluster.monitor import MAX_FAILURE_CHARACTERS, monitor
from replication.models import ClusterTask
from tests.support.processes import eventually, manage
from tests.support.road import Log

pytestmark = pytest.mark.django_db(transaction=True)

PRUNE = "replication.tasks.prune"


def failed(text: str) -> dict[str, Any]:
    """What a worker reports of a task that waits in the queue."""
    async_task(PRUNE)
    number = OrmQ.objects.latest("pk").pk
    return {"func": PRUNE, "success": False, "result": text, "ack_id": number}


def report(*results: dict[str, Any]) -> None:
    mailbox = Mailbox()
    for result in results:
        mailbox.put(result)
    mailbox.put("STOP")
    monitor(mailbox, PatientBroker(list_key="s3sync"))


def test_a_failed_task_is_shown_to_an_operator(admin_client: Client, tmp_path: Path) -> None:
    async_task("replication.tasks.run_lane")  # an argument is missing
    environment = {"S3SYNC_POLL_IN_CLUSTER": "false", "S3SYNC_HOST": "the host"}
    failure = ClusterTask.objects.filter(failed_at__isnull=False)
    with manage("qcluster", directory=tmp_path, **environment) as cluster:
        eventually(failure.exists, unless_ended=cluster)
        log = cluster.log.read_text()
    error = "run_lane() missing 1 required positional argument: 'loop_id'"
    [line] = [line for line in log.splitlines() if "cluster.task_failed" in line]
    assert f'"reason": "{error}"' in line
    task = failure.get()
    assert (task.name, task.failed_on) == ("replication.tasks.run_lane", "the host")
    assert task.failure.startswith(f"{error} : Traceback (most recent call last):")
    assert not Task.objects.exists()

    page = admin_client.get(reverse("admin:replication_clustertask_changelist")).content.decode()
    assert "run_lane() missing 1 required positional argument" in page
    assert "Traceback" not in page
    address = reverse("admin:replication_clustertask_change", args=[task.name])
    page = admin_client.get(address).content.decode()
    assert "Traceback (most recent call last):" in page


def test_the_last_failure_of_each_task_is_kept() -> None:
    report(failed("first"), failed("second\0 : Traceback (most recent call last):\n…"))
    assert ClusterTask.objects.get().failure.startswith("second : Traceback")
    report({**failed(""), "success": True, "result": None})
    assert ClusterTask.objects.get().failure.startswith("second : Traceback")
    report(failed("x" * MAX_FAILURE_CHARACTERS + "the end"))
    assert ClusterTask.objects.get().failure.endswith("the end")
    assert len(ClusterTask.objects.get().failure) == MAX_FAILURE_CHARACTERS
    assert not OrmQ.objects.exists()


def test_a_lost_connection_does_not_end_the_monitor(logged: Log) -> None:
    lost, kept = failed("while the database is away"), failed("when it is back")
    broker, mailbox = PatientBroker(list_key="s3sync"), Mailbox()
    is_listening = threading.Event()
    pids: list[int] = []

    def run() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pids.extend(cursor.fetchone())
            is_listening.set()
            monitor(mailbox, broker)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert is_listening.wait(90)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", pids)
    for message in (lost, kept, "STOP"):
        mailbox.put(message)
    thread.join(90)
    assert not thread.is_alive()
    assert "cluster.task_not_acknowledged" in logged.text
    assert ClusterTask.objects.get().failure == "when it is back"
    assert OrmQ.objects.get().pk == lost["ack_id"]
