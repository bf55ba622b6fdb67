"""Takes finished tasks from the queue, and records failures as plain text.

This replaces django-q's monitor. That one keeps results as pickles, reads them back unsigned, and
calls the function that a row names as its hook.
"""

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models.functions import Now

from replication.cluster.broker import PatientBroker
from replication.cluster.ipc import Mailbox
from replication.models import ClusterTask

log = structlog.get_logger(__name__)

MAX_FAILURE_CHARACTERS = 10_000
# django-q's worker reports a failure as the error, this, and the traceback.
_TRACEBACK = " : Traceback (most recent call last)"


def monitor(results: Mailbox, broker: PatientBroker) -> None:
    """Take the results as they come, until one is django-q's order to end."""
    for task in iter(results.get, "STOP"):
        failure = "" if task["success"] else f"{task['result']}".replace("\0", "")
        if failure:
            log.error(
                "cluster.task_failed",
                task=task["func"],
                reason=error_of(failure),
                traceback=failure,
            )
        try:
            if failure:
                _record(task["func"], failure)
            broker.acknowledge(task["ack_id"])
        except (DatabaseError, InterfaceError) as error:
            # The task is run once more after Q_CLUSTER["retry"]. Loops then find their id unknown,
            # and the other tasks may run at any time.
            log.warning("cluster.task_not_acknowledged", task=task["func"], reason=str(error))
            connection.close()


def error_of(failure: str) -> str:
    """The failure without its traceback."""
    return failure.partition(_TRACEBACK)[0] or failure


def _record(name: str, failure: str) -> None:
    ClusterTask.objects.update_or_create(
        name=name,
        defaults={
            "failed_at": Now(),
            "failed_on": settings.S3SYNC.host_name,
            # The end: of a traceback, it says most.
            "failure": failure[-MAX_FAILURE_CHARACTERS:],
        },
    )
