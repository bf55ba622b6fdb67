"""System checks for the django-q settings that the engine relies on."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

# docs/decisions/lanes-and-jobs.md gives the reasons.
_REQUIRED = {
    "orm": ("default", "tasks and jobs are committed together"),
    "broker_class": (
        "replication.cluster.broker.PatientBroker",
        "django-q's own broker pauses for 10 s after a short database outage",
    ),
    "scheduler": (False, "it runs any function that its table names"),
    "poll": (0, "the broker itself waits for loop requests"),
    "max_attempts": (1, "retries are done in replication/jobs/ only"),
    "ack_failures": (True, "retries are done in replication/jobs/ only"),
    "queue_limit": (1, "no other cluster can take a task that waits in one cluster's memory"),
    "bulk": (1, "no other cluster can take a task that waits in one cluster's memory"),
    "save_limit": (-1, "each saved success would read all earlier ones"),
}


@register()
def check_cluster(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that Q_CLUSTER leaves retries to the job queue and holds no tasks back."""
    cluster: dict[str, Any] = settings.Q_CLUSTER
    errors: list[CheckMessage] = [
        Error(
            f"Q_CLUSTER[{name!r}] is {cluster.get(name)!r} and must be {value!r}: {reason}.",
            id="replication.E001",
        )
        for name, (value, reason) in _REQUIRED.items()
        if cluster.get(name) != value
    ]
    if not 0 < cluster.get("timeout", 0) < cluster.get("retry", 0):
        errors.append(
            Error(
                "Q_CLUSTER: 'timeout' must be set and smaller than 'retry'; otherwise django-q "
                "starts a loop a second time while it still runs.",
                id="replication.E002",
            )
        )
    return errors
